"""``nnunet_ext leave_one_site_out``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.stock import folders


@dataclass
class LeaveOneSiteOut(Command):
    """Write folds that validate on one site and train on all others: how does a model do on a scanner it never saw?

    nnunet_ext leave_one_site_out -d 4 --sites sites.json

    sites.json names the site of every case: {"case_1": "Bern", "case_2": "Oslo"}. The folds, one for each site in the
    order of their names, are nnU-Net's splits_final.json in nnUNet_preprocessed; earlier ones are kept beside it.
    """

    name: ClassVar[str] = "leave_one_site_out"

    d: str
    sites: Path
    dry_run: bool = False
    replace: bool = False

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-d", required=True, help="dataset, number or name, which has been planned")
        add("--sites", required=True, type=options.file, metavar="FILE", help="JSON file with the site of each case")
        add("--dry_run", action="store_true", help="show the folds, write nothing")
        add("--replace", action="store_true", help="also if models were trained on other folds; they still predict")

    def run(self) -> int:
        """Check the sites, show the folds and write them."""
        from nnunet_ext.data.folds import FILE, unused_cases
        from nnunet_ext.data.raw_dataset import RawDataset
        from nnunet_ext.evaluation.markdown_table import markdown_table
        from nnunet_ext.sites.site_folds import site_folds, write_site_folds
        from nnunet_ext.sites.site_table import read_sites

        raw = RawDataset.read(folders.dataset("nnUNet_raw", self.d))
        name = raw.folder.name
        preprocessed = folders.dataset("nnUNet_preprocessed", name)
        unused = unused_cases(preprocessed)
        cases = [case.name for case in raw.cases() if case.name not in unused]
        folds = site_folds(read_sites(self.sites, cases, name, unused), unused)
        if unused:
            print(f"Cases that stay unused, as {preprocessed / FILE} says: {len(unused)}, such as {min(unused)}.")
        rows = [["site left out", "fold", "cases to train", "to validate"]]
        rows += [
            [fold["site"], str(number), str(len(fold["train"])), str(len(fold["val"]))]
            for number, fold in enumerate(folds)
        ]
        print(markdown_table(rows))
        if self.dry_run:
            print("Nothing was written (--dry_run).")
            return 0
        results = folders.if_there("nnUNet_results")
        models = None if results is None else results / name
        copy = write_site_folds(folds, preprocessed, raw=raw.folder, results=models, replace=self.replace)
        print(f"{preprocessed / FILE} has these folds.{'' if copy is None else f' The earlier ones: {copy}'}")
        numbers = " ".join(str(number) for number in range(len(folds)))
        plans, configuration = _planned(preprocessed)
        print(
            f"Next: nnunet_ext compare -d {self.d} -f {numbers} -p {plans} -c {configuration} -o comparison "
            f"-tr NNUNetBaselineTrainer"
        )
        return 0


def _planned(preprocessed: Path) -> tuple[str, str]:
    """Plans and a configuration to go on with: nnU-Net's default ones, if they are there."""
    from nnunet_ext.files.json_file import read_json

    for file in [preprocessed / "nnUNetPlans.json", *sorted(preprocessed.glob("*Plans*.json"))]:
        content = read_json(file) if file.is_file() else None
        if isinstance(content, dict) and content.get("configurations"):
            names = list(content["configurations"])
            return file.stem, "3d_fullres" if "3d_fullres" in names else names[0]
    return "nnUNetPlans", "3d_fullres"
