"""Seeded phantom datasets that each label other parts of one anatomy: what collections are tested on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

BODY, LIVER, LESION, KIDNEY, LUNG = range(5)  # the lesion lies in the liver

# centre and radii along D, H, W; the volume reaches from -1 to 1
ELLIPSOIDS: Mapping[int, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    LUNG: ((0.0, -0.60, 0.0), (0.45, 0.28, 0.60)),
    KIDNEY: ((0.0, 0.25, -0.55), (0.45, 0.38, 0.30)),
    LIVER: ((0.0, 0.25, 0.38), (0.65, 0.50, 0.48)),
    LESION: ((0.0, 0.25, 0.38), (0.35, 0.35, 0.35)),
}

# mean of body, liver, lesion, kidney, lung
CT = (0.0, 200.0, 300.0, 100.0, -400.0)
CT_NATIVE = (0.0, 200.0, 200.0, 100.0, -400.0)  # without contrast agent: no lesion visible
PET = (10.0, 20.0, 80.0, 80.0, 0.0)
T1 = (300.0, 200.0, 150.0, 250.0, 50.0)
T1_CONTRAST = (300.0, 200.0, 450.0, 350.0, 50.0)
T2 = (150.0, 350.0, 300.0, 450.0, 20.0)
FLAIR = (150.0, 350.0, 250.0, 100.0, 20.0)
NOISE = 0.05  # of the range of a channel


@dataclass(frozen=True)
class _Kind:
    """What a member labels, on which images.

    ``labels`` has the tissues of each label, 1 first; ``spacing`` is that of D, H, W in mm; ``axes`` is the order in
    which files store right/left, anterior/posterior and superior/inferior.
    """

    name: str
    channels: Mapping[str, tuple[float, ...]]
    labels: Mapping[str, tuple[int, ...]]
    spacing: tuple[float, float, float]
    axes: str
    regions: bool = False
    ignore: bool = False
    max_cases: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


KINDS = (
    _Kind("Organs", {"CT": CT}, {"liver": (LIVER, LESION), "kidney": (KIDNEY,)}, (1.0, 1.0, 1.0), "RAS"),
    _Kind("Lesion", {"CT": CT_NATIVE, "PET": PET}, {"lesion": (LESION,)}, (1.5, 1.0, 1.0), "LPS"),
    _Kind(
        "Tumour",
        {"T1": T1, "T1 contrast": T1_CONTRAST, "T2": T2, "FLAIR": FLAIR},
        {"whole": (LIVER,), "core": (LESION,)},
        (1.0, 1.4, 1.2),
        "ASL",
        regions=True,
        extra={"overwrite_image_reader_writer": "NibabelIOWithReorient"},
    ),
    _Kind("Lung", {"CT": CT}, {"lung": (LUNG,)}, (1.0, 1.0, 1.5), "RSP", ignore=True),
    _Kind("Kidney", {"T2": T2}, {"kidney": (KIDNEY,)}, (1.2, 1.2, 1.2), "PIR", max_cases=3),
)


def write_phantom_collection(
    raw: Path,
    *,
    first: int = 901,
    members: int = 5,
    cases: int = 10,
    unseen: int = 2,
    seed: int = 0,
    shape: tuple[int, int, int] = (28, 28, 28),
) -> list[Path]:
    """Write raw nnU-Net datasets that can be the members of one collection.

    All show the same anatomy and label other parts of it: Organs (CT: liver and kidney), Lesion (2 channels, PET/CT: a
    lesion in the liver), Tumour (4 channels, MR: the regions whole > core), Lung (CT with an ignore label), Kidney (MR,
    3 training cases). Spacings differ, and so does the order and direction of the axes in the files; one member
    is read by nnU-Net's reader that reorients. Contrasts are clear: a small network learns all of it in minutes.

    Args:
        raw: The folder ``nnUNet_raw``.
        first: Number of the first dataset; the others follow.
        members: How many; after the fifth the same kinds repeat, with other cases, as Organs2 and so on.
        cases: Training cases of each member; Kidney has at most 3.
        unseen: Further cases of each member in ``imagesTs`` and ``labelsTs``.
        seed: Equal seeds write equal data.
        shape: Extent (D, H, W) of the first cases in mm, so their voxels at a spacing of 1; others are up to a tenth
            smaller.

    Returns:
        The datasets' folders.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from nnunet_ext import write_phantom_collection
        >>> with TemporaryDirectory() as raw:
        ...     [folder.name for folder in write_phantom_collection(Path(raw), members=2, cases=2)]
        ['Dataset901_Organs', 'Dataset902_Lesion']
    """
    folders = []
    for index in range(members):
        kind, again = KINDS[index % len(KINDS)], index // len(KINDS)
        folder = raw / f"Dataset{first + index:03d}_{kind.name}{again + 1 if again else ''}"
        training = min(cases, kind.max_cases or cases)
        for part, prefix, number in (("Tr", "case", training), ("Ts", "unseen", unseen)):
            for case in range(number):
                rng = np.random.default_rng((seed, index, part == "Ts", case))
                smaller = rng.uniform(0.9, 1, 3) if case else np.ones(3)
                image, label = _draw(rng, kind, np.asarray(shape) * smaller)
                if kind.ignore and part == "Tr":
                    label[: len(label) // 5] = len(kind.labels) + 1
                _write_case(folder, part, f"{prefix}_{case:03d}", kind, image, label)
        (folder / "dataset.json").write_text(json.dumps(_description(kind, training), indent=2))
        folders.append(folder)
    return folders


def _draw(rng: np.random.Generator, kind: _Kind, extent: NDArray) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Draw image (C, D, H, W) and label map (D, H, W) of a volume of ``extent`` mm."""
    size = np.maximum(np.rint(extent / kind.spacing), 1).astype(int)
    place = np.stack(np.meshgrid(*((2 * np.arange(n) + 1) / n - 1 for n in size), indexing="ij"), -1)
    shift = {tissue: rng.uniform(-0.08, 0.08, 3) for tissue in ELLIPSOIDS}
    shift[LESION] += shift[LIVER]
    tissues = np.full(size, BODY)
    for tissue, (centre, radius) in ELLIPSOIDS.items():
        radii = np.asarray(radius) * rng.uniform(0.9, 1.1, 3)
        tissues[(((place - centre - shift[tissue]) / radii) ** 2).sum(-1) < 1] = tissue
    image = np.empty((len(kind.channels), *size), np.float32)
    for channel, means in zip(image, kind.channels.values(), strict=True):
        channel[:] = np.asarray(means)[tissues] + rng.normal(0, NOISE * np.ptp(means), size)
    label = np.zeros(size, np.uint8)
    for value, labelled in enumerate(kind.labels.values(), 1):
        label[np.isin(tissues, labelled)] = value
    return image, label


def _write_case(folder: Path, part: str, case: str, kind: _Kind, image: NDArray, label: NDArray) -> None:
    files = {folder / f"images{part}" / f"{case}_{channel:04d}.nii.gz": array for channel, array in enumerate(image)}
    files[folder / f"labels{part}" / f"{case}.nii.gz"] = label
    turn = nibabel.orientations.ornt_transform(*map(nibabel.orientations.axcodes2ornt, ("RAS", kind.axes)))
    for file, array in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        upright = nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([*reversed(kind.spacing), 1.0]))
        nibabel.save(upright.as_reoriented(turn), file)


def _description(kind: _Kind, cases: int) -> dict:
    values: dict[str, int | list[int]] = {name: value for value, name in enumerate(kind.labels, 1)}
    description: dict = {
        "channel_names": {str(channel): name for channel, name in enumerate(kind.channels)},
        "labels": values,
        "numTraining": cases,
        "file_ending": ".nii.gz",
        **kind.extra,
    }
    if kind.regions:  # each region holds all later ones
        numbers = list(range(1, len(values) + 1))
        values.update({name: numbers[index:] for index, name in enumerate(kind.labels)})
        description["regions_class_order"] = numbers
    if kind.ignore:
        values["ignore"] = len(kind.labels) + 1
    return description | {"labels": {"background": 0, **values}}
