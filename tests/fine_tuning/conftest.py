"""Source models with small networks, and data that exist as fingerprints only."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nnssl_checkpoint import adaptation_plan, network_of, write_nnssl
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from small_model import LINEAR
from small_unet import planned_unet

from nnunet_ext.fine_tuning.own_plans import OwnPlans
from nnunet_ext.fine_tuning.source.read_source import read_source
from nnunet_ext.fine_tuning.source.source_model import SourceModel

STRIDES = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]]  # divisor 4 x 8 x 8
ALL = (-1,)  # axes of mirroring
INTENSITIES = {"mean": 50.0, "std": 20.0, "percentile_00_5": -100.0, "percentile_99_5": 300.0}


def planned(
    *,
    configuration: str = "3d_fullres",
    spacing: tuple[float, ...] = (3.0, 1.0, 1.0),
    transpose: tuple[int, ...] = (0, 1, 2),
    features: tuple[int, ...] = (2, 2, 2, 2),
    schemes: tuple[str, ...] = ("CTNormalization",),
    masks: tuple[bool, ...] | None = None,
    median: float = 3.0,
    **entries: Any,
) -> dict[str, Any]:
    """Plans of a source."""
    axes = len(spacing)
    steps = [step[-axes:] for step in STRIDES]
    architecture = planned_unet(steps, features=features)
    kwargs = architecture["arch_kwargs"]
    kwargs["kernel_sizes"] = [[3] * axes] * len(steps)
    if axes == 2:
        kwargs.update(conv_op="torch.nn.modules.conv.Conv2d", norm_op="torch.nn.modules.instancenorm.InstanceNorm2d")
    entry = {
        "data_identifier": "data",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 5,
        "batch_dice": False,
        "patch_size": [16, 32, 32][-axes:],
        "spacing": list(spacing),
        "normalization_schemes": list(schemes),
        "use_mask_for_norm": list(masks or [False] * len(schemes)),
        "architecture": architecture,
    }
    for kind in ("data", "seg", "probabilities"):
        entry |= {f"resampling_fn_{kind}": "resample_data_or_seg_to_shape", f"resampling_fn_{kind}_kwargs": LINEAR}
    return {
        "dataset_name": "Dataset777_Elsewhere",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "NibabelIO",
        "label_manager": "LabelManager",
        "transpose_forward": list(transpose),
        "transpose_backward": [transpose.index(axis) for axis in range(3)],
        "original_median_spacing_after_transp": [median, *spacing[-2:]],
        "foreground_intensity_properties_per_channel": {str(n): dict(INTENSITIES) for n in range(len(schemes))},
        "configurations": {configuration: copy.deepcopy(entry | entries)},
    }


def weights_of(plans: dict[str, Any], channels: int = 1, heads: int = 3) -> dict[str, torch.Tensor]:
    """Random weights of the network of plans with one configuration."""
    architecture = next(iter(plans["configurations"].values()))["architecture"]
    arguments = (architecture["network_class_name"], architecture["arch_kwargs"], architecture["_kw_requires_import"])
    torch.manual_seed(0)
    return get_network_from_plans(*arguments, channels, heads).state_dict()


@pytest.fixture
def source() -> Callable[..., SourceModel]:
    """Make a source of CT with classes organ and vessel; arguments are those of :func:`planned` or the model's."""

    def make(
        *,
        channels: tuple[str, ...] | None = ("CT",),
        trainer: str = "nnUNetTrainer",
        weights: Any = None,
        mirroring: tuple[int, ...] | None = ALL,
        **settings: Any,
    ) -> SourceModel:
        plans = planned(**settings)
        name = settings.get("configuration", "3d_fullres")
        description = None
        if channels is not None:
            description = {
                "channel_names": {str(number): channel for number, channel in enumerate(channels)},
                "labels": {"background": 0, "organ": 1, "vessel": 2},
                "numTraining": 9,
                "file_ending": ".mha",
            }
        tensors = weights_of(plans, len(channels or (1,))) if weights is None else weights
        axes = tuple(range(len(plans["configurations"][name]["patch_size"]))) if mirroring is ALL else mirroring
        return SourceModel(Path("source.pth"), plans, name, description, tensors, trainer, axes)

    return make


@pytest.fixture
def pretrained(tmp_path: Path) -> Callable[..., SourceModel]:
    """Make a source of an encoder that nnssl pre-trained; arguments change its adaptation plan."""

    def make(network: Any = None, **changes: Any) -> SourceModel:
        network = network or network_of()
        return read_source(
            [write_nnssl(tmp_path / "nnssl.pth", network, adaptation_plan(network, **changes))], tmp_path
        )

    return make


@pytest.fixture
def own(fingerprinted: Callable[..., Path]) -> Callable[..., OwnPlans]:
    """Make the own plans of data that exist as a fingerprint only; ``spacing``, ``shape`` and so on describe it."""

    def make(planner: type = ExperimentPlanner, memory: float | None = None, **settings: Any) -> OwnPlans:
        fingerprinted({"Target": {"spacing": (2.5, 1.0, 1.0), "shape": (24, 60, 50)} | settings})
        options = {} if memory is None else {"gpu_memory_target_in_gb": memory}
        return OwnPlans("Dataset001_Target", planner, "FineTunePlans", **options)

    return make
