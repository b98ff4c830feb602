"""The card of sequential fine-tuning."""

from __future__ import annotations

from typing import Any

from nnunet_ext.base.method import Knob, Method, number, optional


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _are_paths(value: Any) -> bool:
    return _is_path(value) or (isinstance(value, list) and len(value) > 0 and all(map(_is_path, value)))


CARD = Method(
    key="sequential_fine_tuning",
    title="Sequential fine-tuning (our reading of MedSeqFT)",
    summary="A model takes over the features of one fine-tuned on new data, and keeps its own on earlier data",
    papers=(
        "Ye et al., MedSeqFT: sequential fine-tuning of foundation models for 3D medical image segmentation, "
        "https://arxiv.org/abs/2509.06096 (no public code: our reading of its abstract and of summaries)",
        "Hu et al., LoRA: low-rank adaptation of large language models, ICLR 2022, https://arxiv.org/abs/2106.09685",
    ),
    trainers=("SequentialFineTuningTrainer",),
    supports=("2d", "3d_fullres", "3d_lowres", "regions", "ignore label"),
    knobs=(
        Knob(
            "task_model",
            None,
            "checkpoint of the model that FineTuneTrainer trained on the new data, from the same start (init_from)",
            optional(_is_path),
            "a path, or null",
        ),
        Knob(
            "buffer",
            None,
            "file or list of files that nnunet_ext select_similar wrote: cases of earlier data, on which the features "
            "are kept; null: all training cases of this fold",
            optional(_are_paths),
            "a path, a list of paths, or null",
        ),
        Knob(
            "retention_weight",
            1.0,
            "weight of keeping the earlier features, relative to taking over the new ones",
            number(0),
            "a number >= 0",
        ),
    ),
    recipe={"optimizer": "AdamW", "initial_lr": 1e-3, "weight_decay": 0.0, "num_epochs": 30},
    recipe_with={"SGD": {"num_epochs": 30}, "PlainSGD": {"num_epochs": 30}, "AdamW": {"num_epochs": 30}},
)
