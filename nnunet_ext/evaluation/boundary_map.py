"""Boundary maps from a trained network that finds boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from numpy.typing import NDArray
from torch import Tensor, nn

from nnunet_ext.base.checkpoints import read_trained
from nnunet_ext.files.json_file import read_object
from nnunet_ext.foreign.class_names import check_class_names
from nnunet_ext.sockets import open_door


class _Boundary(nn.Module):
    """Hand nnU-Net's predictor the boundary probability in place of the logits, once for each head it expects."""

    def __init__(self, network: nn.Module, heads: int) -> None:
        super().__init__()
        self.network = network
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, heads, D, H, W) from images (B, C, D, H, W)."""
        # boundaries are returned in train mode only; norms and dropout stay in the eval mode that the predictor set
        self.network.training = True
        probability = self.network(x).boundary.softmax(1)[:, 1:]
        return probability.repeat(1, self.heads, *[1] * (x.ndim - 2))


@torch.inference_mode()
def boundary_maps(
    model: Path, cases: Sequence[Sequence[Path]], *, fold: int = 0, device: str = "cpu"
) -> list[NDArray[np.float32]] | None:
    """Find the boundaries in images with nnU-Net's own preprocessing, sliding window and mirroring.

    Args:
        model: Trained model, ``<trainer>__<plans>__<configuration>``.
        cases: For each case the files of its channels.
        fold: The fold whose final checkpoint is used.
        device: ``cpu`` or ``cuda``.

    Returns:
        For each case a map (D, H, W) of values 0 to 1 in the image's own geometry; None if the network finds none.

    Raises:
        UserError: The checkpoint or the plans are damaged, or ask for what may run code.
    """
    open_door()
    # the Gaussian's small weights in half precision would round probabilities at the image's corners to 0 or 1
    predictor = nnUNetPredictor(use_gaussian=False, device=torch.device(device), allow_tqdm=False)
    # refused: what may run code, which nnU-Net would let
    read_trained(model / f"fold_{fold}" / "checkpoint_final.pth")
    check_class_names(read_object(model / "plans.json"), model / "plans.json")
    predictor.initialize_from_trained_model_folder(str(model), (fold,))
    if not hasattr(predictor.network, "boundary_decoder"):
        return None
    predictor.network = _Boundary(predictor.network, predictor.label_manager.num_segmentation_heads)
    return [_one_map(predictor, [str(file) for file in files]) for files in cases]


def _one_map(predictor: nnUNetPredictor, files: list[str]) -> NDArray[np.float32]:
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    preprocessor = configuration.preprocessor_class(verbose=False)
    data, _, properties = preprocessor.run_case(files, None, plans, configuration, predictor.dataset_json)
    found = predictor.predict_sliding_window_return_logits(torch.as_tensor(data, dtype=torch.float32))[:1].float().cpu()
    target = [properties["spacing"][axis] for axis in plans.transpose_forward]
    current = [*target[: len(target) - len(configuration.spacing)], *configuration.spacing]
    shape = properties["shape_after_cropping_and_before_resampling"]
    found = np.asarray(configuration.resampling_fn_probabilities(found, shape, current, target))[0]
    whole = np.zeros(properties["shape_before_cropping"], np.float32)
    whole[tuple(slice(*bounds) for bounds in properties["bbox_used_for_cropping"])] = found
    return whole.transpose(plans.transpose_backward).clip(0, 1)
