"""nnU-Net's fingerprint of datasets whose images are all unlabelled."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.preprocessing.cropping.cropping import create_nonzero_mask

from nnunet_ext.data.image_case import Case
from nnunet_ext.data.image_reader import find_reader
from nnunet_ext.data.preprocessed.workers import write_all
from nnunet_ext.semi_supervised.images_alone.listed_cases import LABEL, ListedCases


class ImagesAloneFingerprintExtractor(ListedCases, DatasetFingerprintExtractor):
    """Stock extraction from unlabelled images, whose non-zero voxels are taken for the foreground.

    nnU-Net samples intensities within the labels. Here it gets, as label, what it crops an image to: the voxels in
    which a channel is not zero, and the holes in between. These masks are written to a folder that is gone at the end.
    So clipping, mean and standard deviation of CT are those of whole images, air included where it is not zero.
    """

    dataset: dict[str, dict[str, Any]]

    def run(self, overwrite_existing: bool = False) -> dict[str, Any]:
        """Return the fingerprint, from an existing file or from the images.

        Args:
            overwrite_existing: Extract it again.
        """
        place = Path(str(nnUNet_preprocessed)) / self.dataset_name
        if (place / "dataset_fingerprint.json").is_file() and not overwrite_existing:
            return super().run()
        cases = [Case(name, tuple(map(Path, entry["images"]))) for name, entry in self.dataset.items()]
        reader = find_reader(self.dataset_json, cases[0].images[0])
        with TemporaryDirectory() as masks:
            write = partial(_write_mask, reader, Path(masks), self.dataset_json["file_ending"])
            write_all(write, cases, self.num_processes, "masks", place, progress=self.show_progress_bar)
            for case in cases:
                self.dataset[case.name][LABEL] = str(Path(masks) / f"{case.name}{self.dataset_json['file_ending']}")
            return super().run(overwrite_existing)


def _write_mask(reader: Any, folder: Path, ending: str, case: Case) -> None:
    images, properties = reader.read_images(list(map(str, case.images)))
    reader.write_seg(create_nonzero_mask(images).astype(np.uint8), str(folder / f"{case.name}{ending}"), properties)
