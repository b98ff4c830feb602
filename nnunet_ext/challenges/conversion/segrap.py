"""SegRap2023: 45 overlapping organs as 54 labels, or two gross tumor volumes, on CT without and with contrast agent."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
from nnunet_ext.challenges.conversion.conversion import Conversion, SourceCase
from nnunet_ext.challenges.conversion.merged_label import MergedLabel
from nnunet_ext.challenges.conversion.partition import Partition
from nnunet_ext.challenges.conversion.segrap_organs import ORGAN_PARTITION, TUMOR_PARTITION
from nnunet_ext.challenges.conversion.source_tree import SourceTree
from nnunet_ext.challenges.segrap2023 import ORGANS, TUMORS
from nnunet_ext.data.folds import Folds, default_folds

INSIDE = ("", "SegRap2023_Training_Set_120cases")
CASE = r"(segrap_\d{4})(_.+)?"  # what follows the patient: several images, or blocks, of one patient
CHANNELS = {"non_contrast": "image.nii.gz", "contrast": "image_contrast.nii.gz"}
# nnU-Net: a channel named CT is normalized by the whole dataset's intensities, one of any other name by its own image's
CHANNEL_NAMES = {
    "ct": {"non_contrast": "CT", "contrast": "CT"},
    "zscore": {"non_contrast": "non_contrast_CT", "contrast": "contrast_CT"},
}


def read_segrap_oar(source: Path, channels: Sequence[str] = tuple(CHANNELS), normalization: str = "ct") -> Conversion:
    """Find the cases of task 1, organs at risk. All cases of a patient share a fold.

    Args:
        source: The training set, folders ``segrap_0000``; or the folder that it is in.
        channels: Which images, in this order: ``non_contrast``, ``contrast``.
        normalization: ``ct``, or ``zscore`` as in the challenge's baseline.

    Raises:
        UserError: There are no cases, or files of some are missing.
    """
    return _read("oar", tuple(ORGANS), ORGAN_PARTITION, source, channels, normalization)


def read_segrap_gtv(source: Path, channels: Sequence[str] = tuple(CHANNELS), normalization: str = "ct") -> Conversion:
    """Find the cases of task 2, tumor volumes; see :func:`read_segrap_oar`."""
    return _read("gtv", tuple(TUMORS), TUMOR_PARTITION, source, channels, normalization)


def patient_folds(cases: Iterable[str]) -> Folds:
    """Return nnU-Net's folds of the patients, with all cases of each.

    Args:
        cases: ``segrap_0000``, ``segrap_0000_b``, ...
    """
    of_patient: dict[str, list[str]] = defaultdict(list)
    for case in sorted(cases):
        match = re.fullmatch(CASE, case)
        of_patient[match[1] if match else case].append(case)
    return [
        {key: [case for patient in patients for case in of_patient[patient]] for key, patients in fold.items()}
        for fold in default_folds(of_patient)
    ]


def _read(
    task: str,
    structures: Sequence[str],
    partition: Partition,
    source: Path,
    channels: Sequence[str],
    normalization: str,
) -> Conversion:
    tree = SourceTree.find(source, INSIDE, CASE, "folders named segrap_0000, segrap_0001, ...")
    cases = []
    folders = [path for path in tree.cases(CASE) if path.is_dir()]
    if not folders:
        tree.note(tree.root / "segrap_0000", "nor any other folder")
    for folder in folders:
        images = tuple(tree.need(folder / CHANNELS[channel]) for channel in channels)
        masks = {name: tree.need(folder / f"{name}.nii.gz") for name in structures}
        cases.append(SourceCase(folder.name, images, MergedLabel(images[0], masks, partition)))
    tree.check()
    return Conversion(
        record=ChallengeRecord(f"segrap2023_{task}", partition.labels_of(structures), {}, tuple(channels)),
        dataset=f"SegRap2023_{task.upper()}",
        channel_names=tuple(CHANNEL_NAMES[normalization][channel] for channel in channels),
        labels={name: label for label, name in enumerate(partition.names, start=1)},
        cases=tuple(cases),
        of_challenge=120,
        folds=patient_folds(case.name for case in cases),
        options={"channels": list(channels), "normalization": normalization},
    )
