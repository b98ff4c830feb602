"""``nnunet_ext next_cases``."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nnunet_ext import __version__
from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.output import shown_logs
from nnunet_ext.errors import UserError
from nnunet_ext.processes.run_lock import run_lock
from nnunet_ext.sockets import open_door
from nnunet_ext.stock.folders import check_writable

if TYPE_CHECKING:
    from nnunet_ext.data.image_case import Case
    from nnunet_ext.next_cases.output_folder import OutputFolder
    from nnunet_ext.next_cases.search import Found
    from nnunet_ext.quality.model_files import ModelFiles

logger = logging.getLogger(__name__)
REFERENCE = "qa_reference.json"


@dataclass
class NextCases(Command):
    """Choose the images to annotate next: suspicious ones, unlike each other and unlike annotated ones.

    nnunet_ext next_cases Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres imagesUn -k 10 -o next

    OUT gets a table with reasons, a page, the images, and predicted label maps as drafts to correct.
    Exit code 1 if an image could not be used, because a file of it is damaged or has nothing in it.
    """

    name: ClassVar[str] = "next_cases"
    after_interruption: ClassVar[str] = "Run the same command again; training labels that were measured are kept."

    model: Path
    images: Path
    k: int
    o: Path
    annotated: Path | None
    random: bool
    seed: int
    f: list[str]
    chk: str
    step_size: float
    device: str
    trust: bool

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("model", type=Path, metavar="MODEL", help="TRAINER__PLANS__CONFIGURATION, or a model's zip file")
        add("images", type=options.folder, metavar="IMAGES", help="folder of images, named CASE_0000 ...")
        add("-k", type=options.whole(1), default=10, metavar="K", help="how many to choose [10]")
        add("-o", required=True, type=options.folder_or_new, metavar="OUT", help="folder for table, drafts and images")
        add(
            "--annotated",
            type=options.folder,
            metavar="IMAGES",
            help="images that are annotated already [the model's training cases in nnUNet_raw]",
        )
        add("--random", action="store_true", help="choose at random, as a control")
        add("--seed", type=options.whole(0), default=0, help="seed of the choice with --random [0]")
        add("-f", nargs="+", type=options.fold, default=[], metavar="FOLD", help="folds to predict by [all]")
        add("-chk", default="checkpoint_final.pth", help="checkpoint [checkpoint_final.pth]")
        add("-step_size", type=options.real(0, 1), default=0.5, help="step of the sliding window, in patches [0.5]")
        add("-device", type=options.device, default="cuda", help="cpu, cuda or mps [cuda]")
        add("--trust", action="store_true", help=options.TRUST)

    def run(self) -> int:
        """Choose, and write the folder; 1 if a case failed."""
        from nnunet_ext.stock.entry_points import check_device

        check_device(self.device)
        open_door()
        with shown_logs():
            return self._run()

    def _run(self) -> int:
        from nnunet_ext.data.raw_dataset import list_images
        from nnunet_ext.next_cases.annotated import annotated_cases, not_among
        from nnunet_ext.next_cases.output_folder import OutputFolder
        from nnunet_ext.quality.model_files import ModelFiles

        if self.images.resolve().is_relative_to(self.o.resolve()):
            raise UserError(f"-o {self.o}: expected another folder than that of the images, got {self.images} in it.")
        files = ModelFiles.read(self.model)
        every = list_images(self.images, files.file_ending, files.channels)
        annotated = annotated_cases(files, self.annotated)
        cases = not_among(every, annotated)
        output = OutputFolder(self.o, files.file_ending)
        output.check()
        check_writable(self.o, f"-o {self.o}")
        if not cases:
            raise UserError(
                f"{self.images}: expected images to choose from, found {len(every)} that are annotated already. Put "
                f"others there."
            )
        with run_lock(self.o, "choosing images"), output.scratch() as scratch:
            found = self._search(scratch, cases, annotated, files)
            if found.cases:
                self._write(output, found, {case.name: case for case in cases}, files)
        if left_out := len(every) - len(cases):
            logger.info("%s: %d of %d are annotated already and left out", self.images, left_out, len(every))
        if self.k > len(cases):
            all_of = "is 1 image to choose from" if len(cases) == 1 else f"are {len(cases)} images to choose from"
            logger.info("-k %d: there %s; each is taken", self.k, all_of)
        return self._report(found, len(cases))

    def _search(self, scratch: Path, cases: list[Case], annotated: list[Case], files: ModelFiles) -> Found:
        from nnunet_ext.next_cases.search import Search
        from nnunet_ext.prediction.model_zip import unpack_model

        model = self.model
        if model.is_file():
            (scratch / "model").mkdir()
            model = unpack_model(model, scratch / "model", self.chk)
        search = Search(model, self.images, scratch, self.f, self.chk, self.device, self.step_size, self.trust)
        if self.random:
            return search.at_random(cases, self.k, self.seed)
        return search.suspicious(cases, self.k, files, self.o / REFERENCE, annotated)

    def _write(self, output: OutputFolder, found: Found, cases: dict[str, Case], files: ModelFiles) -> None:
        from nnunet_ext.data.classes import map_names
        from nnunet_ext.next_cases.next_case import next_cases_table
        from nnunet_ext.quality.page import page

        texts = {"next_cases.csv": next_cases_table(found.cases)}
        qualities = [case.quality for case in found.cases if case.quality is not None]
        if qualities:
            facts = {
                "order": ", ".join(case.name for case in found.cases),
                "images": str(self.images),
                "model": str(self.model),
                "written by": f"nnunet_ext {__version__}",
            }
            names = map_names(files.dataset_json)
            texts["next_cases.html"] = page(qualities, names, title="Cases to annotate next", facts=facts)
        output.write([cases[case.name] for case in found.cases], found.drafts, texts)

    def _report(self, found: Found, number: int) -> int:
        from nnunet_ext.evaluation.markdown_table import markdown_table

        if found.cases:
            rows = [
                [str(rank), case.name, "" if case.choice is None else f"{case.choice.score:.2f}", case.reasons()[0]]
                for rank, case in enumerate(found.cases, 1)
            ]
            print(markdown_table([["rank", "case", "score", "strongest reason"], *rows]))
        print(f"{len(found.cases)} of {number} images to annotate next" + (f" in {self.o}" if found.cases else ""))
        if found.cases:
            print(f"{self.o / 'labelsTr'} has drafts as the model predicts them: correct each, they are not truth")
        if found.failed:
            several = "s" * (len(found.failed) > 1)
            print(f"{len(found.failed)} case{several} could not be used: {', '.join(found.failed)}", file=sys.stderr)
        return 1 if found.failed else 0
