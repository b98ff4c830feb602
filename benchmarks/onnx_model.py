"""Prediction of an image by nnU-Net, by nnunet_ext predict, and in the ONNX format: seconds, memory of the process.

    python benchmarks/onnx_model.py

A U-Net with random weights as nnU-Net plans it (16 features, five stages), with reading, resampling, sliding window,
export and writing. The three predict in turn, each in a process of its own, with the same number of threads. Seconds
are medians over rounds; memory is the most that the whole process used. ``--small`` takes seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

GIB = 2**30
SIDES = {"stock": "nnU-Net", "ours": "nnunet_ext predict", "onnx": "nnunet_ext predict_onnx"}
SPACING = (1.5, 0.8, 0.8)


def make_plans(features: list[int], patch: list[int]) -> dict[str, Any]:
    """Return plans of a plain U-Net, which resamples as nnU-Net plans it."""
    stages = len(features)
    configuration: dict[str, Any] = {
        "data_identifier": "none",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": patch,
        "spacing": [1.5, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": features,
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": [[3, 3, 3]] * stages,
                "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
                "n_conv_per_stage": [2] * stages,
                "n_conv_per_stage_decoder": [2] * (stages - 1),
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    for kind, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        settings = {"is_seg": kind == "seg", "order": order, "order_z": 0, "force_separate_z": None}
        configuration[f"resampling_fn_{kind}"] = "resample_data_or_seg_to_shape"
        configuration[f"resampling_fn_{kind}_kwargs"] = settings
    return {
        "dataset_name": "Dataset990_Benchmark",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": {}},
        "configurations": {"3d_fullres": configuration},
    }


def write_case(root: Path, plans: dict[str, Any], shape: list[int], classes: int) -> float:
    """Write a model, its export and an image; return the seconds of the export."""
    import numpy as np
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
    from scipy import ndimage

    from nnunet_ext.export.onnx_model import export_onnx
    from nnunet_ext.phantoms.dataset import write_nifti

    model, images = root / "model", root / "images"
    for folder in (model / "fold_0", images, *(root / side for side in SIDES)):
        folder.mkdir(parents=True)
    labels = {"background": 0} | {f"class{number}": number for number in range(1, classes)}
    description = {"channel_names": {"0": "MR"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps(description))
    torch.manual_seed(0)
    manager = PlansManager(plans)
    planned = manager.get_configuration("3d_fullres")
    network = nnUNetTrainer.build_network_architecture(manager, planned, 1, classes, enable_deep_supervision=False)
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(checkpoint, model / "fold_0" / "checkpoint_final.pth")
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(shape), 4)
    write_nifti(images / "case_0000.nii.gz", (1000 * noise / noise.std()).astype(np.int16), SPACING)
    start = perf_counter()
    export_onnx(model, root / "exported", show_progress=False)
    return perf_counter() - start


def predict(side: str, root: Path, mirroring: bool, threads: int) -> dict[str, float]:
    """Predict the case, in a process that does nothing else; return the seconds of loading and of predicting."""
    start = perf_counter()
    images, output = root / "images", root / side
    if side == "onnx":
        from nnunet_ext.onnx_runner.predictor import OnnxPredictor

        runner = OnnxPredictor(root / "exported", mirroring=mirroring, threads=threads)
        loaded = perf_counter()
        _, problems = runner.predict_folder(images, output, show_progress=False)
        assert not problems, problems
        assert "torch" not in sys.modules
        return {"loading": loaded - start, "predicting": perf_counter() - loaded}
    import torch

    torch.set_num_threads(threads)
    if side == "ours":
        from nnunet_ext.prediction import Predictor

        predictor = Predictor(root / "model", device="cpu", mirroring=mirroring)
        loaded = perf_counter()
        (result,) = predictor.predict_folder(images, output, read_ahead=False, write_behind=False, show_progress=False)
        assert result.problem is None, result.problem
        return {"loading": loaded - start, "predicting": perf_counter() - loaded}
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    stock = nnUNetPredictor(use_mirroring=mirroring, device=torch.device("cpu"), allow_tqdm=False)
    stock.initialize_from_trained_model_folder(str(root / "model"), None)
    loaded = perf_counter()
    stock.predict_from_files_sequential([[str(images / "case_0000.nii.gz")]], [str(output / "case")])
    return {"loading": loaded - start, "predicting": perf_counter() - loaded}


def apart(side: str, root: Path, given: argparse.Namespace) -> dict[str, float]:
    """Predict in a new process; return its seconds and its peak memory in bytes."""
    words = [sys.executable, __file__, "--side", side, "--root", str(root), "--threads", str(given.threads)]
    words += ["--mirroring"] if given.mirroring else []
    environment = os.environ | {"OMP_NUM_THREADS": str(given.threads)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def differing(root: Path, side: str) -> int:
    """Return how many voxels a side labels otherwise than nnU-Net."""
    import nibabel
    import numpy as np

    one, other = (np.asarray(nibabel.load(root / name / "case.nii.gz").dataobj) for name in ("stock", side))
    return int((one != other).sum())


def compare(given: argparse.Namespace) -> None:
    """Predict with all in turn and print a table."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        seconds = write_case(root, make_plans(given.features, given.patch), given.shape, given.classes)
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(given.rounds):
            for side, found in runs.items():
                found.append(apart(side, root, given))
        load = os.getloadavg()[0]
        size = (root / "exported" / "fold_0.onnx").stat().st_size
        print(f"export: {seconds:.1f} s, {size / 2**20:.1f} MiB; load {load:.1f}; {given.threads} thread(s)\n")
        print("| | loading, s | predicting, s | peak memory of the process, GiB | voxels unlike nnU-Net's |")
        print("|---|---:|---:|---:|---:|")
        for side, found in runs.items():
            loading, predicting, memory = (
                statistics.median(run[name] for run in found) for name in ("loading", "predicting", "memory")
            )
            cells = f"{loading:.1f} | {predicting:.1f} | {memory / GIB:.2f} | {differing(root, side)}"
            print(f"| {SIDES[side]} | {cells} |")


def parsed() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", nargs="+", type=int, default=[16, 32, 64, 128, 256], help="of each stage")
    parser.add_argument("--patch", nargs=3, type=int, default=[64, 64, 64])
    parser.add_argument("--shape", nargs=3, type=int, default=[64, 120, 120], help="voxels (D, H, W)")
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--mirroring", action="store_true", help="eight passes for each window")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="a small image and network")
    parser.add_argument("--side", choices=tuple(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    found = parser.parse_args()
    if found.small:
        found.features, found.patch, found.shape, found.rounds = [4, 8, 8], [16, 16, 16], [16, 30, 30], 1
    return found


def main() -> None:
    """Measure, or be one of the measured processes."""
    given = parsed()
    if given.side is None:
        compare(given)
        return
    found = predict(given.side, given.root, given.mirroring, given.threads)
    from nnunet_ext.processes.process_memory import process_memory

    memory = process_memory()
    assert memory is not None
    print(json.dumps(found | {"memory": memory.peak}))


if __name__ == "__main__":
    main()
