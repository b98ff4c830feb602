"""KiTS21 and KiTS23: kidney, tumor and cyst as the regions that the challenge scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
from nnunet_ext.challenges.conversion.conversion import Conversion, LabelRecipe, SourceCase
from nnunet_ext.challenges.conversion.majority_label import MajorityLabel
from nnunet_ext.challenges.conversion.source_tree import SourceTree
from nnunet_ext.challenges.kits21 import CLASSES, MAJORITY
from nnunet_ext.challenges.kits21_samples import CASE, FOLDERS, annotations_of, sampled_annotations
from nnunet_ext.errors import UserError

INSIDE = ("", "data", "kits21/data", "dataset", "kits23/dataset")
CASES_OF_2021 = 300  # case_00000 to case_00299; KiTS23 goes on at case_00400
VALUES = {"kidney": 1, "tumor": 2, "cyst": 3}
# painted in this order, the regions give back kidney 1, cyst 3, tumor 2
REGIONS_CLASS_ORDER = (1, 3, 2)
READER = "SimpleITKIOWithReorient"  # the arrays' axes are slices, rows, columns; this one reads .mha as well


def read_kits(source: Path, year: int, raters: int = 0) -> Conversion:
    """Find the cases of KiTS.

    The label is the aggregated one of the challenge or, where it is missing, the majority of the annotators
    (:class:`nnunet_ext.challenges.conversion.majority_label.MajorityLabel`).

    Args:
        source: The repository of KiTS21 or KiTS23, or its folder with ``case_00000``. Images are in the case's folder
            (``imaging.nii.gz``), or all in one beside, ``images/case_00000.nii.gz``.
        year: 2021 takes the cases below 300 only, 2023 all of them.
        raters: How many of the challenge's samples of the annotations, 15 for most cases, become the maps of raters
            ``sample_01``, ``sample_02``, ...; a case with fewer samples has them all.

    Raises:
        UserError: There are no cases, files of some are missing, or raters are wanted and no case has annotations.
    """
    tree = SourceTree.find(source, INSIDE, CASE.pattern, "folders named case_00000, case_00001, ...")
    folders = tree.cases(CASE.pattern)
    if year == 2021:
        folders = [folder for folder in folders if int(folder.name[5:]) < CASES_OF_2021]
    if not folders:
        tree.note(tree.root / "case_00000", "nor any other of KiTS21, which has those below 300")
    cases = []
    for folder in folders:
        images = [place / "images" / f"{folder.name}.nii.gz" for place in (tree.root, tree.root.parent, source)]
        image = tree.need(folder / "imaging.nii.gz", *images)
        label = _label(folder)
        if label is None:
            tree.note(folder / MAJORITY[year == 2023], f"nor annotations in {' or '.join(FOLDERS)}")
        cases.append(SourceCase(folder.name, (image,), label, _samples(folder, raters)))
    tree.check()
    if raters and not any(case.raters for case in cases):
        raise UserError(
            f"--raters: expected files such as {tree.root / 'case_00000' / FOLDERS[0]}/kidney_instance-1_annotation-1"
            f".nii.gz, found none. Add them, or leave --raters away."
        )
    name = f"kits{year % 100}"
    structures = {structure: (value,) for structure, value in VALUES.items()}
    return Conversion(
        record=ChallengeRecord(name, structures, VALUES, ("CT",)),
        dataset=f"KiTS{year}",
        channel_names=("CT",),
        labels={name: list(labels) for name, (_, labels, _) in CLASSES.items()},
        regions_class_order=REGIONS_CLASS_ORDER,
        reader=READER,
        cases=tuple(cases),
        of_challenge={2021: CASES_OF_2021, 2023: 489}[year],
        options={"raters": raters} if raters else {},
    )


def _label(folder: Path) -> Path | LabelRecipe | None:
    """The aggregated label of a case, else its annotations, else None."""
    ready = next((folder / name for name in MAJORITY if (folder / name).is_file()), None)
    return MajorityLabel.find(folder) if ready is None else ready


def _samples(folder: Path, number: int) -> dict[str, MajorityLabel]:
    """The first samples of a case; in each, one annotation of each kidney, tumor and cyst."""
    if not number or MajorityLabel.find(folder) is None:
        return {}
    instances = annotations_of(folder)
    chosen = sampled_annotations(int(folder.name[5:]), [len(instance.files) for instance in instances])[:number]
    return {
        f"sample_{sample:02d}": MajorityLabel(
            tuple(replace(each, files=(each.files[pick],)) for each, pick in zip(instances, picks, strict=True))
        )
        for sample, picks in enumerate(chosen, 1)
    }
