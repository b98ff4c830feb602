"""The methods on nnU-Net v1 whose weights can be imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor, nn

from nnunet_ext.errors import UserError, nearest
from nnunet_ext.import_v1 import plain_weights
from nnunet_ext.import_v1.v1_geometry import V1Geometry
from nnunet_ext.methods.ba_net import v1_weights as ba_net
from nnunet_ext.methods.ba_net.trainer import BANetTrainer
from nnunet_ext.methods.uniseg import v1_weights as uniseg
from nnunet_ext.methods.uniseg.trainer import UniSegTrainer

PLAIN = ("conv_blocks_context", "conv_blocks_localization", "tu", "seg_outputs")
Load = Callable[[Any, Mapping[str, Tensor]], None]


@dataclass(frozen=True)
class V1Method:
    """A method on nnU-Net v1.

    Args:
        key: Its name on the command line, and of its block of knobs.
        trainer: The trainer of v2 that predicts with the weights.
        modules: Names of v1's modules that hold tensors, up to the first dot.
        load: Fills v2's network with v1's weights.
    """

    key: str
    trainer: type[nnUNetTrainer]
    modules: Sequence[str]
    load: Load

    @classmethod
    def named(cls, key: str) -> V1Method:
        """Return a method.

        Raises:
            UserError: There is none of that name.
        """
        if key not in METHODS:
            raise UserError(f"--method: expected a method on nnU-Net v1, got {key!r}. {nearest(key, METHODS)}")
        return METHODS[key]

    def check(self, weights: Mapping[str, Tensor], file: Path) -> None:
        """Refuse the weights of another method.

        Args:
            weights: v1's state dict.
            file: The checkpoint, for messages.

        Raises:
            UserError: A tensor that the method does not have, or none where it has some.
        """
        found = {name.partition(".")[0] for name in weights}
        strange = next((name for name in weights if name.partition(".")[0] not in self.modules), None)
        missing = next((module for module in self.modules if module not in found), None)
        if strange is None and missing is None:
            return
        fitting = [key for key, other in METHODS.items() if set(other.modules) == found]
        remedy = f"Give --method {fitting[0]}" if fitting else f"Only {', '.join(METHODS)} can be imported"
        told = f"no tensor {missing}.*" if strange is None else f"the tensor {strange!r}, which it does not have"
        raise UserError(f"{file}: expected weights of {self.key}, found {told}. {remedy}.")

    def network_plans(self, geometry: V1Geometry) -> tuple[list[list[int]], dict[str, Any]]:
        """Return the encoder's kernel sizes for v2's plans, and the knobs with which the decoder's are v1's."""
        kernels = [list(kernel) for kernel in geometry.kernels]
        if not geometry.shifted:
            return kernels, {}
        if self.trainer is nnUNetTrainer:  # has no knobs
            return plain_weights.common_kernels(kernels), {}
        return kernels, {self.key: {"v1_decoder_kernels": True}}

    def v2_weights(
        self,
        weights: Mapping[str, Tensor],
        plans: Mapping[str, Any],
        configuration: str,
        dataset_json: Mapping[str, Any],
        file: Path,
    ) -> dict[str, Tensor]:
        """Return v1's weights as the state dict of v2's network.

        Args:
            weights: v1's state dict.
            plans: v2's plans.
            configuration: Name of the configuration.
            dataset_json: The model's dataset.json.
            file: The checkpoint, for messages.

        Raises:
            UserError: A tensor is missing, left over or of another shape.
        """
        manager = PlansManager(deepcopy(dict(plans)))
        planned = manager.get_configuration(configuration)
        description = dict(dataset_json)
        network: nn.Module = self.trainer.build_network_architecture(
            manager,
            planned,
            determine_num_input_channels(manager, planned, description),
            manager.get_label_manager(description).num_segmentation_heads,
            enable_deep_supervision=False,
        )
        try:
            self.load(network, weights)
        except ValueError as error:
            raise UserError(f"{file}: {error}.") from error
        return network.state_dict()


METHODS: dict[str, V1Method] = {
    method.key: method
    for method in (
        V1Method("nnunet", nnUNetTrainer, PLAIN, plain_weights.load_v1_weights),
        V1Method(
            "ba_net",
            BANetTrainer,
            (*PLAIN, "conv_blocks_boundary", "tb", "bdr_outputs"),
            ba_net.load_v1_weights,
        ),
        V1Method("uniseg", UniSegTrainer, (*PLAIN, "intermedia_prompt", "fusion_layer"), uniseg.load_v1_weights),
    )
}
