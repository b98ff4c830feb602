"""The network of a source model: whether it can be built here, what divides its patches, how many samples fit."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from nnunet_ext import sockets
from nnunet_ext.errors import UserError, one_line
from nnunet_ext.fine_tuning.own_plans import OwnPlans
from nnunet_ext.fine_tuning.source.source_model import SourceModel
from nnunet_ext.nnssl.encoder_weights import KEY


class SourceNetwork:
    """The network that a source's plans describe, for other data.

    Args:
        source: The model.

    Raises:
        UserError: Its class is not installed or takes other arguments, or none of the weights are in such a network, or
            not all of an encoder that was pre-trained.
    """

    def __init__(self, source: SourceModel) -> None:
        self.source = source
        self.network = self._built()
        own, weights = self.network.state_dict(), source.weights
        fits = any(name in weights and weights[name].shape == tensor.shape for name, tensor in own.items())
        if not fits and source.trainer not in sockets.names("trainers"):  # ours map their names when they are loaded
            raise UserError(
                f"{source.file}: expected weights of the network in its plans, "
                f"{source.architecture['network_class_name']}, found none of its tensors: trainer "
                f"{source.trainer or 'unknown'} builds another network. Take a model whose plans describe its network."
            )
        if source.pretraining is not None:
            self._check_encoder()

    def _check_encoder(self) -> None:
        """Refuse weights that are not those of the whole encoder: what was pre-trained would not work in another."""
        own, weights = self.network.state_dict(), self.source.weights
        lacking = [name for name in self.misfits if name.startswith("encoder.")]
        if odd := lacking + [name for name in weights if name not in own]:
            shapes = ", ".join(
                f"{tuple(there[odd[0]].shape) if odd[0] in there else 'nothing'} in {where}"
                for there, where in ((weights, "the file"), (own, "the network"))
            )
            raise UserError(
                f"{self.source.file}: expected the encoder of the network that {KEY} describes, found {odd[0]} with "
                f"{shapes}. Take the checkpoint as nnssl wrote it."
            )

    @property
    def misfits(self) -> list[str]:
        """Names of the network's tensors that the weights do not have in their shape.

        Without heads and first convolution, which depend on the data, and without second names of a tensor. Networks of
        our trainers map their names when they are loaded; for them nothing is said.
        """
        if self.source.trainer in sockets.names("trainers"):
            return []
        once = dict(self.network.named_parameters()) | dict(self.network.named_buffers())
        return [
            name for name, tensor in once.items() if "seg_layers" not in name.split(".") and not self._has(name, tensor)
        ]

    def _has(self, name: str, own: torch.Tensor) -> bool:
        """Whether the weights have a tensor, with any number of channels if it sees the image."""
        theirs = self.source.weights.get(name)
        if theirs is None or theirs.ndim != own.ndim:
            return False
        sees_image = own.ndim > 2 and own.shape[1] == 1  # built for one channel
        differ = [axis for axis in range(own.ndim) if own.shape[axis] != theirs.shape[axis]]
        return differ == ([1] if sees_image and 1 in differ else [])

    def _built(self) -> nn.Module:
        """Build it without weights; the numbers of channels and classes do not matter."""
        source, architecture = self.source, self.source.architecture
        name = architecture.get("network_class_name")
        try:
            # nnU-Net warns and prints while it looks for a class that was moved
            with torch.device("meta"), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                network: nn.Module = get_network_from_plans(*self._arguments, 1, 2, allow_init=False)
        except ImportError as error:
            raise UserError(
                f"{source.file}: expected the network class {name} of its plans, found none. Install the package that "
                f"it belongs to."
            ) from error
        except (TypeError, KeyError, AssertionError, ValueError) as error:
            raise UserError(
                f"{source.file}: expected a network that {name} can build from arch_kwargs of the plans, got "
                f"{type(error).__name__}: {one_line(error)}. Install the version that the model was trained with, or "
                f"correct its plans."
            ) from error
        return network

    @property
    def _arguments(self) -> tuple[str, dict[str, Any], Sequence[str]]:
        architecture = self.source.architecture
        return architecture["network_class_name"], architecture["arch_kwargs"], architecture["_kw_requires_import"]

    @property
    def divisor(self) -> tuple[int, ...] | None:
        """What divides a patch, along each axis: the product of the strides; None where the plans name no strides."""
        strides = self.source.architecture["arch_kwargs"].get("strides")
        if strides is None:
            return None
        each = [[stride] * self.source.dimensions if isinstance(stride, int) else stride for stride in strides]
        return tuple(int(product) for product in np.prod(each, axis=0))

    @property
    def can_be_counted(self) -> bool:
        """Whether the network can tell how large its feature maps are."""
        return hasattr(self.network, "compute_conv_feature_map_size")

    def samples(self, patch_size: Sequence[int], own: OwnPlans) -> float:
        """Return how many samples fit into the memory that a planner plans for, by its own estimate.

        Args:
            patch_size: Voxels in the order of the plans.
            own: Of the planner; its data say how many channels and classes there are.
        """
        key = tuple(int(size) for size in patch_size)
        planner = own.planner
        if key not in self._estimates:
            self._estimates[key] = float(
                planner.static_estimate_VRAM_usage(key, len(own.channels), len(own.labels), *self._arguments)
            )
        flat = self.source.dimensions == 2
        reference = planner.UNet_reference_val_2d if flat else planner.UNet_reference_val_3d
        at_once = planner.UNet_reference_val_corresp_bs_2d if flat else planner.UNet_reference_val_corresp_bs_3d
        budget = reference * planner.UNet_vram_target_GB / planner.UNet_reference_val_corresp_GB
        return float(budget / self._estimates[key] * at_once)

    @cached_property
    def _estimates(self) -> dict[tuple[int, ...], float]:
        return {}
