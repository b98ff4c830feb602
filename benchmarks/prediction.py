"""Prediction of a CT with many classes by nnU-Net and by ours: seconds of each stage, and peak memory.

    python benchmarks/prediction.py --classes 55 --shape 126 512 512

A stub takes the place of the network: it makes logits of organs with noisy surfaces in a fraction of a second, so that
what is measured is reading, resampling, the sums of the sliding window and the export. Each side predicts in a process
of its own; its peak memory counts beyond what it used before it loaded the model. A side is left out if it would need
more memory than is free, since it would end other programs.

Spacing, patch: for CTs of 126 x 461 x 461 voxels with 3 x 1 x 1 mm, nnU-Net plans patches of 48 x 192 x 160 voxels.
``--target`` with the values of ``--spacing`` leaves out the resampling. ``--project`` adds two large images, which ours
predicts if there is enough memory, and for which it is else estimated. ``--small`` takes seconds.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from time import perf_counter
from typing import Any

import nibabel
import numpy as np
import torch
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from scipy import ndimage

from nnunet_ext.phantoms.dataset import write_nifti
from nnunet_ext.prediction import Predictor
from nnunet_ext.processes.process_memory import process_memory

GIB = 2**30
STAGES = ("reading", "resampling", "network", "export")  # resampling: all of preprocessing; export: writing as well
TRAINER = "BenchmarkStubTrainer"
STUB = f'''
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class Stub(torch.nn.Module):
    """Logits that are largest for the class whose number is nearest to a tenth of the intensity."""

    def __init__(self, heads):
        super().__init__()
        self.numbers = torch.nn.Parameter(torch.arange(float(heads)).view(-1, 1, 1, 1))

    def forward(self, image):
        logits = image / 10 - self.numbers  # one array of all classes, as a network returns it
        return logits.square_().mul_(-4).clamp_(min=-20)


class {TRAINER}(nnUNetTrainer):
    @staticmethod
    def build_network_architecture(plans_manager, configuration, channels, heads, enable_deep_supervision=True):
        return Stub(heads)
'''


@dataclass(frozen=True)
class Setting:
    """An image and a model; sizes in the order D, H, W, spacings in mm."""

    classes: int
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    target: tuple[float, ...]
    patch: tuple[int, ...]
    mirroring: bool = False

    @property
    def grid(self) -> list[int]:
        """Shape of the preprocessed image."""
        return [round(n * s / t) for n, s, t in zip(self.shape, self.spacing, self.target, strict=True)]

    @property
    def window(self) -> int:
        """Bytes of a window's logits, and of the copies that mirroring, or adding them to sums in fp16, makes."""
        return 3 * self.classes * int(np.prod(self.patch)) * 4

    @property
    def slab(self) -> int:
        """Bytes of the sums that ours keeps: a patch's depth of the image, padded to a patch."""
        depth, *plane = (max(size, patch) for size, patch in zip(self.grid, self.patch, strict=True))
        return self.classes * min(depth, self.patch[0]) * int(np.prod(plane)) * 2

    @property
    def voxels(self) -> int:
        """Voxels of the image or of the preprocessed one, whichever has more."""
        return max(int(np.prod(self.shape)), int(np.prod(self.grid)))

    def needed(self, side: str) -> int:
        """Estimate the bytes that a side needs: nnU-Net resamples in float64, with all classes at the image's size."""
        if side == "ours":
            return self.slab + self.window + 16 * self.voxels
        grid, image = (self.classes * int(np.prod(shape)) for shape in (self.grid, self.shape))
        return 2 * grid + (0 if self.grid == list(self.shape) else 8 * grid + 2 * image) + 16 * self.voxels


@dataclass(frozen=True)
class Measured:
    """Seconds of each stage, and peak memory in bytes beyond the start."""

    seconds: dict[str, float]
    memory: int


LARGE = (
    Setting(55, (126, 1023, 1023), (3.0, 0.45, 0.45), (3.0, 1.0, 1.0), (48, 192, 160)),
    Setting(55, (126, 1023, 1023), (3.0, 0.45, 0.45), (3.0, 0.45, 0.45), (48, 192, 160)),
    Setting(118, (531, 512, 512), (1.0, 0.8, 0.8), (1.5, 1.5, 1.5), (128, 112, 112)),
    Setting(118, (531, 512, 512), (1.5, 1.5, 1.5), (1.5, 1.5, 1.5), (128, 112, 112)),
)


def write_case(root: Path, setting: Setting) -> None:
    """Write a model with the stub, and an image: nested organs in a background of more than half of the voxels."""
    model, images = root / "model", root / "images"
    for folder in (model / "fold_0", images, root / "trainers", root / "stock", root / "ours"):
        folder.mkdir(parents=True, exist_ok=True)
    (root / "trainers" / f"{TRAINER}.py").write_text(STUB)
    (model / "plans.json").write_text(json.dumps(make_plans(setting)))
    labels = {"background": 0} | {f"class{number}": number for number in range(1, setting.classes)}
    description = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    (model / "dataset.json").write_text(json.dumps(description))
    checkpoint = {
        "network_weights": {"numbers": torch.arange(float(setting.classes)).view(-1, 1, 1, 1)},
        "trainer_name": TRAINER,
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(checkpoint, model / "fold_0" / "checkpoint_final.pth")
    rng = np.random.default_rng(0)
    coarse = [max(2, round(size * step / 60)) for size, step in zip(setting.shape, setting.spacing, strict=True)]
    factors = np.divide(setting.shape, coarse)
    smooth = ndimage.zoom(rng.standard_normal(coarse).astype(np.float32), factors, order=1)
    image = np.empty(setting.shape, np.int16)
    for plane, values in zip(image, smooth, strict=True):
        number = np.clip((values - 0.3) * setting.classes / 1.5, 0, setting.classes - 1)
        plane[:] = 10 * number + rng.normal(0, 1.5, number.shape)
    write_nifti(images / "case_0000.nii.gz", image, setting.spacing)


def make_plans(setting: Setting) -> dict[str, Any]:
    """Return plans with all that prediction reads, resampling as nnU-Net plans it."""
    configuration: dict[str, Any] = {
        "data_identifier": "none",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": setting.patch,
        "spacing": setting.target,
        "normalization_schemes": ["NoNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {"network_class_name": "", "arch_kwargs": {}, "_kw_requires_import": []},
    }
    for kind, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        settings = {"is_seg": kind == "seg", "order": order, "order_z": 0, "force_separate_z": None}
        configuration[f"resampling_fn_{kind}"] = "resample_data_or_seg_to_shape"
        configuration[f"resampling_fn_{kind}_kwargs"] = settings
    return {
        "dataset_name": "Dataset990_Benchmark",
        "plans_name": "BenchmarkPlans",
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": {}},
        "configurations": {"3d_fullres": configuration},
    }


def predict(side: str, root: Path, mirroring: bool) -> Measured:
    """Predict the case; in a process that does nothing else."""
    start = process_memory()
    with redirect_stdout(StringIO()):
        seconds = (by_us if side == "ours" else by_nnunet)(root, mirroring)
    end = process_memory()
    assert start is not None
    assert end is not None
    return Measured(seconds, end.peak - start.now)


def by_us(root: Path, mirroring: bool) -> dict[str, float]:
    """Predict with ours, one stage after another; return the seconds of each."""
    predictor = Predictor(root / "model", (0,), device="cpu", mirroring=mirroring, trust=True)  # plans name no network
    words = {"read_ahead": False, "write_behind": False, "show_progress": False}
    (result,) = predictor.predict_folder(root / "images", root / "ours", **words)
    if result.problem is not None:
        raise RuntimeError(result.problem)
    return result.seconds


def by_nnunet(root: Path, mirroring: bool) -> dict[str, float]:
    """Predict with nnU-Net's functions; return the seconds of each stage."""
    predictor = nnUNetPredictor(use_mirroring=mirroring, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(root / "model"), (0,))
    plans, planned, description = predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json
    times = [perf_counter()]
    image, properties = plans.image_reader_writer_class().read_images([str(root / "images" / "case_0000.nii.gz")])
    times.append(perf_counter())
    preprocessor = planned.preprocessor_class(verbose=False)
    data, _, properties = preprocessor.run_case_npy(image, None, properties, plans, planned, description)
    times.append(perf_counter())
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu()
    times.append(perf_counter())
    export_prediction_from_logits(logits, properties, planned, plans, description, str(root / "stock" / "case"))
    times.append(perf_counter())
    return dict(zip(STAGES, np.diff(times).tolist(), strict=True))


def apart(side: str, root: Path, mirroring: bool) -> Measured:
    """Predict in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(predict, side, root, mirroring).result()


def free_memory() -> int:
    """Return the bytes that programs can still take."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("MemAvailable"))) * 1024


def differing(root: Path) -> str:
    """Return how many voxels the two label differently."""
    files = [root / side / "case.nii.gz" for side in ("stock", "ours")]
    if not all(file.is_file() for file in files):
        return ""
    one, other = (np.asarray(nibabel.load(file).dataobj) for file in files)
    return f"{int((one != other).sum())} of {one.size}"


def compare(
    setting: Setting, sides: list[str], pairs: int, folder: Path | None, say: Callable[[str], object]
) -> dict[str, list[Measured]]:
    """Predict with both in turn; print a row for each; return what ours took."""
    found: dict[str, list[Measured]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root = Path(scratch)
        os.environ["nnUNet_extTrainer"] = str(root / "trainers")
        write_case(root, setting)
        for _ in range(pairs):
            for side in sides:
                needed, free = setting.needed(side), free_memory()
                if 1.15 * needed > free:
                    print(f"{side} needs about {needed / GIB:.1f} GiB, {free / GIB:.1f} GiB are free", file=sys.stderr)
                    continue
                found[side].append(apart(side, root, setting.mirroring))
        labels = differing(root)
    for side, runs in found.items():
        if runs:
            spent = [statistics.median(run.seconds[stage] for run in runs) for stage in STAGES]
            cells = [f"{seconds:.2f}" for seconds in (*spent, sum(spent))]
            say(row(setting, side, [*cells, f"{statistics.median(run.memory for run in runs) / GIB:.2f}", labels]))
        else:
            say(row(setting, side, ["", "", "", "", "", f"about {setting.needed(side) / GIB:.1f}, not run", labels]))
    return found


def row(setting: Setting, side: str, cells: list[str]) -> str:
    """Return a row of the table."""
    shapes = [" x ".join(map(str, shape)) for shape in (setting.shape, setting.grid)]
    name = "nnU-Net" if side == "stock" else side
    return f"| {' | '.join([str(setting.classes), *shapes, name, *cells])} |"


def project(measured: Measured | None, setting: Setting, folder: Path | None, say: Callable[[str], object]) -> None:
    """Predict the large images with ours where there is memory, else estimate from the measured one; and nnU-Net's."""
    other = 16.0 if measured is None else (measured.memory - setting.slab - setting.window) / setting.voxels
    for large in LARGE:
        needed = large.slab + large.window + other * large.voxels
        if 2 * max(needed, large.needed("ours")) < free_memory():  # other programs may need some as well
            compare(large, ["ours"], 1, folder, say)
        else:
            words = f"{needed / GIB:.1f}, estimated: slab {large.slab / GIB:.1f}, window {large.window / GIB:.1f}, "
            say(row(large, "ours", [""] * 5 + [f"{words}{other:.0f} bytes for each voxel", ""]))
        say(row(large, "stock", [""] * 5 + [f"{large.needed('stock') / GIB:.1f}, estimated", ""]))


def parsed() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes, spacings = {"nargs": 3, "type": int}, {"nargs": 3, "type": float}
    parser.add_argument("--classes", type=int, default=55)
    parser.add_argument("--shape", **sizes, default=[126, 512, 512], help="voxels (D, H, W)")
    parser.add_argument("--spacing", **spacings, default=[3.0, 0.9, 0.9], help="mm (D, H, W)")
    parser.add_argument("--target", **spacings, default=[3.0, 1.0, 1.0], help="spacing of the plans")
    parser.add_argument("--patch", **sizes, default=[48, 192, 160])
    parser.add_argument("--mirroring", action="store_true", help="eight passes for each window")
    parser.add_argument("--pairs", type=int, default=1, help="how often both predict, in turn")
    parser.add_argument("--only", choices=("ours", "stock"))
    parser.add_argument("--project", action="store_true", help="also two large images")
    parser.add_argument("--folder", type=Path, help="for the files (default: the system's)")
    parser.add_argument("--small", action="store_true", help="a small image")
    found = parser.parse_args()
    if found.small and found.project:
        parser.error("--project estimates from an image of full size: leave out --small")
    if found.small:
        found.classes, found.shape, found.patch = 7, [20, 48, 40], [8, 24, 16]
    return found


def main() -> None:
    """Measure and print a table."""
    given = parsed()
    lists = (given.shape, given.spacing, given.target, given.patch)
    setting = Setting(given.classes, *map(tuple, lists), given.mirroring)
    sides = [given.only] if given.only else ["stock", "ours"]
    print(
        f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {torch.get_num_threads()} threads\n"
    )
    head = ["classes", "image", "network's grid", "by", *(f"{stage}, s" for stage in STAGES), "all, s"]
    print(f"| {' | '.join([*head, 'peak, GiB', 'differing voxels'])} |\n|{'---|' * 11}", flush=True)
    say = functools.partial(print, flush=True)
    found = compare(setting, sides, given.pairs, given.folder, say)
    if given.project:
        project(next(iter(found.get("ours", ())), None), setting, given.folder, say)


if __name__ == "__main__":
    main()
