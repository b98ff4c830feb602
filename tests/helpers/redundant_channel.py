"""A dataset whose second channel shows what the first does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from nnunet_ext.phantoms.dataset import phantom_case, write_nifti

NAME, SPACING = "Dataset990_Redundant", (2.5, 1.0, 1.0)


def write_redundant_dataset(raw: Path, *, cases: int = 6, unseen: int = 3, unlabelled: int = 2) -> Path:
    """Write organs in two channels; the second has the opposite contrast and a tenth of the noise."""
    folder = raw / NAME
    for stream, (part, number) in enumerate((("Tr", cases), ("Ts", unseen), ("Un", unlabelled))):
        for kind in ("images", "labels")[: 1 if part == "Un" else 2]:
            (folder / f"{kind}{part}").mkdir(parents=True)
        for index in range(number):
            rng = np.random.default_rng((stream, index))
            organ = (phantom_case(rng, shape=(8, 32, 32), spacing=SPACING)[1] > 0).astype(np.uint8)
            case = f"{part}_{index}"
            for channel, (contrast, noise) in enumerate(((100.0, 50), (-100.0, 5))):
                values = 200 + contrast * organ + rng.normal(0, noise, organ.shape)
                write_nifti(folder / f"images{part}" / f"{case}_{channel:04d}.nii.gz", np.float32(values), SPACING)
            if part != "Un":
                write_nifti(folder / f"labels{part}" / f"{case}.nii.gz", organ, SPACING)
    names = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "organ": 1}}
    (folder / "dataset.json").write_text(json.dumps(names | {"numTraining": cases, "file_ending": ".nii.gz"}))
    return folder
