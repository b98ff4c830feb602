"""Fingerprints of datasets, with or without labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnunet_ext.cli.planning.earlier_planning import read_whole, remove_broken_fingerprint
from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.processes.cores import usable_cores
from nnunet_ext.stock import folders


def fingerprint_file(place: Path) -> Path:
    """Return a dataset's fingerprint, which need not exist.

    Args:
        place: The dataset's folder in nnUNet_raw.
    """
    return folders.folder("nnUNet_preprocessed") / place.name / "dataset_fingerprint.json"


def is_of_other_cases(place: Path) -> bool:
    """Whether a dataset was planned without labels and has some now, or the other way round.

    Args:
        place: The dataset's folder in nnUNet_raw.
    """
    file = fingerprint_file(place).with_name("dataset.json")
    planned = read_whole(file) if file.is_file() else None
    if not isinstance(planned, dict):
        return False
    return (planned.get("numTraining") == 0) != RawDataset.read(place).has_images_alone


def extract(
    places: Sequence[Path], extractor: str, processes: int, *, verify: bool, again: bool, verbose: bool, progress: bool
) -> None:
    """Extract what is missing or broken.

    Args:
        places: The datasets' folders in nnUNet_raw.
        extractor: Name of nnU-Net's extractor; images alone have their own.
        processes: Worker processes.
        verify: Run nnU-Net's own check, which compares images with labels.
        again: Extract all.
        verbose: nnU-Net's.
        progress: Show progress bars.
    """
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset, extract_fingerprints

    from nnunet_ext.data.preprocessed.workers import stock_workers
    from nnunet_ext.semi_supervised.images_alone.fingerprint import ImagesAloneFingerprintExtractor

    for place in places:
        remove_broken_fingerprint(fingerprint_file(place))
    processes = min(processes, usable_cores())
    with stock_workers(folders.folder("nnUNet_preprocessed"), processes, "-npfp"):
        for place in places:
            number, options = dataset_number(place.name), (again or is_of_other_cases(place), verbose, progress)
            if not RawDataset.read(place).has_images_alone:
                extract_fingerprints([number], extractor, processes, verify, *options)
                continue
            if verify:
                print(f"{place.name}: nnU-Net's own check needs labels, so it is left out")
            extract_fingerprint_dataset(number, ImagesAloneFingerprintExtractor, processes, False, *options)
