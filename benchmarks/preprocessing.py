"""Preprocessing of synthetic CT scans by nnU-Net's command and by ours: wall time, reading and writing included.

    python benchmarks/preprocessing.py --cases 20 --size 160 512 512 --processes 2

Both preprocess the same cases in turn, with the same number of processes, 0.8 x 0.8 x 1.5 mm to --target; then their
data are compared. CPU seconds are those of all processes: on a busy machine, they tell more than wall time. ``--steps``
shows where the time of one case goes, in this process. ``--small`` takes seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import json
import os
import pstats
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import torch
from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from scipy import ndimage

from nnunet_ext.data.preprocessed.fast_configuration import FastConfiguration
from nnunet_ext.data.preprocessed.preprocessing import preprocess_missing
from nnunet_ext.data.preprocessed.state import PreprocessedState
from nnunet_ext.phantoms.dataset import write_nifti

NAME, PLANS, CONFIGURATION = "Dataset990_SyntheticCT", "BenchmarkPlans", "3d_fullres"
SPACING = (1.5, 0.8, 0.8)  # mm, D, H, W
ORGANS = 4
STEPS = {  # functions of nnU-Net and ours, by name
    "reading": ("read_images",),  # read_seg calls it
    "cropping": ("crop_to_nonzero",),
    "normalization": ("_normalize",),
    "resampling": ("resample_data_or_seg_to_shape", "_resample"),
    "class locations": ("_sample_foreground_locations",),
    "writing": ("save_case",),
}


def write_dataset(root: Path, cases: int, size: list[int], target: list[float], patch: list[int]) -> PreprocessedState:
    """Write cases and plans; return the state of their data, of which there are none."""
    raw, folder = root / "nnUNet_raw" / NAME, root / "nnUNet_preprocessed" / NAME
    for place in (raw / "imagesTr", raw / "labelsTr", folder, root / "nnUNet_results"):
        place.mkdir(parents=True)
    for number in range(cases):
        image, label = synthetic_ct(np.random.default_rng(number), tuple(size))
        write_nifti(raw / "imagesTr" / f"case_{number:03d}_0000.nii.gz", image, SPACING)
        write_nifti(raw / "labelsTr" / f"case_{number:03d}.nii.gz", label, SPACING)
    labels = {"background": 0} | {f"organ{index}": index for index in range(1, ORGANS + 1)}
    description = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": cases, "file_ending": ".nii.gz"}
    plans = make_plans(target, patch)
    for file, content in (
        (raw / "dataset.json", description),
        (folder / "dataset.json", description),
        (folder / f"{PLANS}.json", plans),
    ):
        file.write_text(json.dumps(content))
    return PreprocessedState(folder, plans, CONFIGURATION, raw)


def synthetic_ct(rng: np.random.Generator, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return image (D, H, W) in Hounsfield units and labels: organs in a body with smooth, noisy tissue."""
    coarse = [max(2, voxels // 16) for voxels in size]
    tissue = ndimage.zoom(rng.normal(0, 60, coarse), np.divide(size, coarse), order=1).astype(np.float32)
    axes = np.ogrid[tuple(slice(-1, 1, voxels * 1j) for voxels in size)]
    body = (axes[1] / 0.8) ** 2 + (axes[2] / 0.9) ** 2 + 0 * axes[0] < 1
    label = np.zeros(size, np.uint8)
    for organ in range(1, ORGANS + 1):
        centre, radius = rng.uniform(-0.4, 0.4, 3), rng.uniform(0.15, 0.35, 3)
        label[sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radius, strict=True)) < 1] = organ
    noise = rng.normal(0, 15, size).astype(np.float32)
    image = np.where(body, tissue + 40.0 * label + noise, -1000 + noise).astype(np.int16)
    return image, label * body


def make_plans(target: list[float], patch: list[int]) -> dict[str, Any]:
    """Return plans with all that preprocessing reads, resampling as nnU-Net plans it."""
    configuration: dict[str, Any] = {
        "data_identifier": f"{PLANS}_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": patch,
        "spacing": target,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {"network_class_name": "", "arch_kwargs": {}, "_kw_requires_import": []},
    }
    for kind, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        settings = {"is_seg": kind == "seg", "order": order, "order_z": 0, "force_separate_z": None}
        configuration[f"resampling_fn_{kind}"] = "resample_data_or_seg_to_shape"
        configuration[f"resampling_fn_{kind}_kwargs"] = settings
    intensities = {"mean": 100.0, "std": 70.0, "percentile_00_5": -100.0, "percentile_99_5": 300.0}
    return {
        "dataset_name": NAME,
        "plans_name": PLANS,
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "configurations": {CONFIGURATION: configuration},
    }


def by_nnunet(state: PreprocessedState, processes: int) -> None:
    """Preprocess all cases with nnU-Net's command."""
    preprocess([990], PLANS, [CONFIGURATION], [processes], False, False)


def by_us(state: PreprocessedState, processes: int) -> None:
    """Preprocess all cases with ours."""
    fresh = PreprocessedState(state.folder, state.plans, state.configuration, state.raw)
    preprocess_missing(fresh, processes=processes, again=True, progress=False)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of ``work``, its workers included; what nnU-Net prints is dropped."""
    start, used = time.perf_counter(), cpu_seconds()
    with contextlib.redirect_stdout(io.StringIO()):
        work()
    return time.perf_counter() - start, cpu_seconds() - used


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its workers that have ended."""
    each = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in each)


def difference(place: Path, other: Path) -> tuple[float, float]:
    """Return the largest difference of images, relative to their range, and the share of labels that differ."""
    largest, differing, voxels = 0.0, 0, 0
    for file in sorted(place.glob("*.b2nd")):
        ours, theirs = (blosc2.open(str(folder / file.name), mode="r")[:] for folder in (place, other))
        if file.name.endswith("_seg.b2nd"):
            differing, voxels = differing + int((ours != theirs).sum()), voxels + theirs.size
        else:
            largest = max(largest, float(np.abs(ours - theirs).max() / np.ptp(theirs)))
    return largest, differing / voxels


def steps_of_a_case(state: PreprocessedState, folder: Path) -> dict[str, list[float]]:
    """Return the seconds of each step of one case: nnU-Net's, then ours; in this process."""
    manager, (name, case) = PlansManager(dict(state.plans)), next(iter((state.raw_cases or {}).items()))
    planned, found = manager.get_configuration(CONFIGURATION), {step: [] for step in (*STEPS, "the rest", "in all")}
    files = [str(image) for image in case.images], str(case.label)
    torch.set_num_threads(1)
    for configuration in (planned, FastConfiguration.of(planned)):
        preprocessor = configuration.preprocessor_class(verbose=False)
        place = str(folder / f"{type(configuration).__name__}_{name}")
        with cProfile.Profile() as profile:
            preprocessor.run_case_save(place, *files, manager, configuration, state.description)
        spent = {key[2]: values[3] for key, values in pstats.Stats(profile).stats.items()}  # cumulative
        for step, functions in STEPS.items():
            found[step].append(sum(spent.get(function, 0.0) for function in functions))
        found["in all"].append(spent["run_case_save"])
        found["the rest"].append(spent["run_case_save"] - sum(found[step][-1] for step in STEPS))
    return found


def parsed() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--size", nargs=3, type=int, default=[160, 512, 512], metavar=("D", "H", "W"))
    parser.add_argument("--target", nargs=3, type=float, default=[1.2, 1.2, 1.2], help="spacing in mm (D, H, W)")
    parser.add_argument("--patch", nargs=3, type=int, default=[128, 128, 128])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1, help="how often both preprocess all cases, in turn")
    parser.add_argument("--steps", action="store_true", help="also where the time of one case goes")
    parser.add_argument("--folder", type=Path, help="for the cases (default: a temporary one)")
    parser.add_argument("--small", action="store_true", help="two small cases, in one process")
    found = parser.parse_args()
    if found.small:
        found.cases, found.size, found.patch, found.processes, found.steps = 2, [16, 48, 48], [16, 16, 16], 1, True
    return found


def main() -> None:
    """Measure and print tables."""
    arguments = parsed()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        root = Path(scratch)
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            os.environ[name] = str(root / name)
        state = write_dataset(root, arguments.cases, arguments.size, arguments.target, arguments.patch)
        theirs, times = root / "stock", {by_nnunet: [], by_us: []}
        for _ in range(arguments.rounds):
            for work, taken in times.items():
                taken.append(seconds(lambda work=work: work(state, arguments.processes)))
                if work is by_nnunet:
                    shutil.rmtree(theirs, ignore_errors=True)
                    shutil.move(state.place, theirs)
        image, label = difference(state.place, theirs)
        size = " x ".join(map(str, arguments.size))
        print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
        print(f"{arguments.cases} cases of {size} voxels, {arguments.processes} processes\n")
        print("| time | nnU-Net, s | ours, s | ratio |\n|---|---|---|---|")
        for column, kind in enumerate(("wall", "CPU")):
            stock, ours = ([each[column] for each in taken] for taken in times.values())
            ratio = statistics.median(one / other for one, other in zip(stock, ours, strict=True))
            print(f"| {kind} | {statistics.median(stock):.1f} | {statistics.median(ours):.1f} | {ratio:.1f} |")
        print(f"\nimages differ by {image:.1e} of their range; {label:.1e} of the labels differ")
        if arguments.steps:
            print("\n| step, one case | nnU-Net, s | ours, s |\n|---|---|---|")
            for step, (one, other) in steps_of_a_case(state, root).items():
                print(f"| {step} | {one:.4f} | {other:.4f} |")


if __name__ == "__main__":
    main()
