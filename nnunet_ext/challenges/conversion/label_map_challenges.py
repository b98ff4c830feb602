"""Challenges whose label maps nnU-Net takes as they are: KiPA22 and BTCV."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
from nnunet_ext.challenges.conversion.conversion import Conversion, SourceCase
from nnunet_ext.challenges.conversion.source_tree import SourceTree
from nnunet_ext.challenges.kipa22 import LABELS

BTCV_ORGANS = """
spleen right_kidney left_kidney gallbladder esophagus liver stomach aorta inferior_vena_cava portal_and_splenic_vein
pancreas right_adrenal_gland left_adrenal_gland
"""
BTCV = {name: value for value, name in enumerate(BTCV_ORGANS.split(), start=1)}
HU_UNKNOWN = (
    "intensities of KiPA22 are probably not in HU (one report says HU + 1024), so the channel is called CTA, which "
    "nnU-Net normalizes image by image"
)


def read_kipa22(source: Path) -> Conversion:
    """Find the cases of KiPA22: ``train/image/N.nii.gz`` and ``train/label/N.nii.gz``; case 7 becomes ``kipa_007``.

    Raises:
        UserError: There are no cases, or files of some are missing.
    """
    tree = SourceTree.find(source, ("train", "", "KiPA2022/train"), "image", "the folder image")
    cases = _pairs(tree, "image", "label", r"(\d+)\.nii\.gz", "{}.nii.gz", "{}.nii.gz", "kipa")
    return _conversion("kipa22", "KiPA2022", "CTA", LABELS, cases, 70, notes=(HU_UNKNOWN,))


def read_btcv(source: Path) -> Conversion:
    """Find the cases of BTCV (abdomen): ``RawData/Training/img/img0001.nii.gz`` and ``label/label0001.nii.gz``.

    Images of the test set, in ``Testing/img`` or ``Test/img`` beside, go to ``imagesTs``.

    Raises:
        UserError: There are no cases, or files of some are missing.
    """
    inside = ("RawData/Training", "Training", "", "Abdomen/RawData/Training")
    tree = SourceTree.find(source, inside, "img", "the folder img")
    cases = _pairs(tree, "img", "label", r"img(\d{4})\.nii\.gz", "img{}.nii.gz", "label{}.nii.gz", "btcv")
    test = []
    for folder in ("Testing", "Test"):
        files = SourceTree(tree.root.parent / folder / "img").cases(r"img\d{4}\.nii\.gz")
        test += [SourceCase(f"btcv_{file.name[3:7]}", (file,), None) for file in files]
    return _conversion("btcv", "BTCV", "CT", BTCV, cases, 30, tuple(test))


def _pairs(
    tree: SourceTree, images: str, labels: str, pattern: str, image: str, label: str, prefix: str
) -> tuple[SourceCase, ...]:
    """Pair images and labels by number; one without the other is missing."""
    numbers = set()
    for folder, name in ((images, image), (labels, label)):
        own = pattern if name == image else re.escape(label).replace(r"\{\}", r"(\d+)")
        numbers |= {re.sub(own, r"\1", path.name) for path in SourceTree(tree.root / folder).cases(own)}
    if not numbers:
        tree.note(tree.root / images / image.format("0001"), "nor any other image")
    cases = [
        SourceCase(
            f"{prefix}_{number:0>3}",
            (tree.need(tree.root / images / image.format(number)),),
            tree.need(tree.root / labels / label.format(number)),
        )
        for number in sorted(numbers, key=int)
    ]
    tree.check()
    return tuple(cases)


def _conversion(
    name: str,
    dataset: str,
    channel: str,
    values: Mapping[str, int],
    cases: tuple[SourceCase, ...],
    of_challenge: int,
    test_cases: tuple[SourceCase, ...] = (),
    notes: tuple[str, ...] = (),
) -> Conversion:
    structures = {structure: (value,) for structure, value in values.items()}
    return Conversion(
        record=ChallengeRecord(name, structures, values, (channel,)),
        dataset=dataset,
        channel_names=(channel,),
        labels=dict(values),
        cases=cases,
        of_challenge=of_challenge,
        test_cases=test_cases,
        notes=notes,
    )
