"""Seeded phantom datasets in nnU-Net's raw format: what the tests and the demo train on when no scan is at hand."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

ORGAN, WALL, TUMOUR, IGNORE = 1, 2, 3, 4
INTENSITY = (0.5, 1.0, 1.2, 1.5)  # background, organ, wall, tumour; organ and wall are hard to tell apart in the noise
TEXTURE = 0.25  # of the background, which looks like organ in places
SHADING = 0.1
NOISE = 0.3


def phantom_case(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int, int] = (20, 48, 40),
    spacing: tuple[float, float, float] = (2.5, 1.0, 1.0),
    channels: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Draw one case: an organ with a thin wall around it and a small tumour inside.

    Args:
        rng: Source of all randomness.
        shape: Voxels (D, H, W).
        spacing: Voxel size in mm, same axis order; the wall is 1.2 to 2.8 mm thick, at least a voxel.
        channels: Image channels; each weights the tissues differently.

    Returns:
        Image (C, D, H, W) and label map (D, H, W) with 0 background, 1 organ, 2 wall, 3 tumour.
    """
    voxel = np.asarray(spacing).reshape(3, 1, 1, 1)
    position = np.indices(shape) * voxel
    extent = np.asarray(shape).reshape(3, 1, 1, 1) * voxel
    centre = extent * rng.uniform(0.45, 0.55, (3, 1, 1, 1))
    radius = extent * rng.uniform(0.30, 0.38, (3, 1, 1, 1))
    bumps = 0.08 * _smooth_noise(rng, shape, spacing, scale=8)
    organ = np.sqrt((((position - centre) / radius) ** 2).sum(0)) < 1 + np.clip(bumps, -0.2, 0.2)
    thickness = 2.0 + 0.4 * np.clip(_smooth_noise(rng, shape, spacing, scale=8), -2, 2)
    depth = ndimage.distance_transform_edt(organ, sampling=spacing)
    wall = organ & ((depth <= thickness) | ndimage.binary_dilation(~organ))
    tumour_centre = centre + radius * rng.uniform(-0.35, 0.35, (3, 1, 1, 1))
    tumour_radius = max(float(radius.min()) * rng.uniform(0.25, 0.35), 1.5 * max(spacing))
    tumour = (((position - tumour_centre) / tumour_radius) ** 2).sum(0) < 1
    label = np.zeros(shape, np.uint8)
    label[organ] = ORGAN
    label[tumour & organ] = TUMOUR
    label[wall] = WALL

    tissue = np.asarray(INTENSITY)[label]
    tissue[~organ] += TEXTURE * _smooth_noise(rng, shape, spacing, scale=4)[~organ]
    image = np.empty((channels, *shape), np.float32)
    for channel in range(channels):
        shading = SHADING * _smooth_noise(rng, shape, spacing, scale=12)
        contrast = 1.0 if channel == 0 else rng.uniform(0.6, 1.0)
        image[channel] = contrast * tissue + shading + rng.normal(0, NOISE, shape)
    return 100 * image, label


def _smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float], *, scale: float
) -> NDArray[np.float64]:
    """Noise of standard deviation 1 that varies over ``scale`` mm."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), [scale / step for step in spacing])
    return noise / max(float(noise.std()), 1e-6)


def write_phantom_dataset(
    raw: Path,
    name: str,
    *,
    cases: int = 10,
    unseen: int = 0,
    unlabelled: int = 0,
    seed: int = 0,
    shape: tuple[int, int, int] = (20, 48, 40),
    spacing: tuple[float, float, float] = (2.5, 1.0, 1.0),
    channels: int = 1,
    regions: bool = False,
    ignore: bool = False,
) -> Path:
    """Write a raw nnU-Net dataset of phantoms.

    Args:
        raw: The folder ``nnUNet_raw``.
        name: ``Dataset999_Phantom`` or the like.
        cases: Training cases.
        unseen: Further cases in ``imagesTs`` and ``labelsTs``.
        unlabelled: Further cases in ``imagesUn``, which have no label.
        seed: Equal seeds write equal data.
        shape: Voxels (D, H, W) of the first case; others are up to a tenth smaller along H and W.
        spacing: Voxel size in mm, same axis order.
        channels: Image channels.
        regions: Declare the overlapping regions organ > wall and tumour > tumour instead of labels.
        ignore: A slab of each training case is not annotated.

    Returns:
        The dataset's folder.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from nnunet_ext import write_phantom_dataset
        >>> with TemporaryDirectory() as raw:
        ...     folder = write_phantom_dataset(Path(raw), "Dataset999_Phantom", cases=2, shape=(12, 24, 24))
        ...     sorted(file.name for file in folder.rglob("*.nii.gz"))
        ['case_000.nii.gz', 'case_000_0000.nii.gz', 'case_001.nii.gz', 'case_001_0000.nii.gz']
    """
    folder = raw / name
    parts = (("Tr", "case", cases), ("Ts", "unseen", unseen), ("Un", "unlabelled", unlabelled))
    for stream, (part, prefix, number) in enumerate(parts):
        if number:
            (folder / f"images{part}").mkdir(parents=True, exist_ok=True)
        if number and part != "Un":
            (folder / f"labels{part}").mkdir(parents=True, exist_ok=True)
        for index in range(number):
            rng = np.random.default_rng((seed, stream, index))
            smaller = rng.integers(0, np.asarray(shape) // 10 + 1) if index else np.zeros(3, int)
            size = (shape[0], int(shape[1] - smaller[1]), int(shape[2] - smaller[2]))
            image, label = phantom_case(rng, shape=size, spacing=spacing, channels=channels)
            if ignore and part == "Tr":
                label[:, : shape[1] // 5] = IGNORE
            case = f"{prefix}_{index:03d}"
            for channel in range(channels):
                write_nifti(folder / f"images{part}" / f"{case}_{channel:04d}.nii.gz", image[channel], spacing)
            if part != "Un":
                write_nifti(folder / f"labels{part}" / f"{case}.nii.gz", label, spacing)
    (folder / "dataset.json").write_text(json.dumps(_description(cases, channels, regions, ignore), indent=2))
    return folder


def write_nifti(file: Path, array: NDArray, spacing: tuple[float, float, float]) -> None:
    """Write an array (D, H, W) with spacing in mm in the same axis order."""
    affine = np.diag([*reversed(spacing), 1.0])
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), affine), file)


def _description(cases: int, channels: int, regions: bool, ignore: bool) -> dict:
    labels: dict[str, int | list[int]] = {"background": 0, "organ": ORGAN, "wall": WALL, "tumour": TUMOUR}
    description: dict = {
        "channel_names": {str(channel): f"phantom{channel}" for channel in range(channels)},
        "labels": labels,
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    if regions:
        labels.update({"organ": [ORGAN, WALL, TUMOUR], "wall": [WALL, TUMOUR], "tumour": [TUMOUR]})
        description["regions_class_order"] = [ORGAN, WALL, TUMOUR]
    if ignore:
        labels["ignore"] = IGNORE
    return description
