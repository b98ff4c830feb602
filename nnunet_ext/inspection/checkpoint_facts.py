"""What a checkpoint says about itself: of nnU-Net v2, v1 or nnssl, or weights alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from nnunet_ext import sockets
from nnunet_ext.base.method import methods
from nnunet_ext.base.trained_on import KEY as DATA
from nnunet_ext.foreign.pickle_file import read_foreign_pickle
from nnunet_ext.inspection.nnssl_facts import nnssl_facts
from nnunet_ext.inspection.plain_values import at, known, plain
from nnunet_ext.inspection.plans_facts import plans_facts
from nnunet_ext.nnssl.encoder_weights import KEY
from nnunet_ext.stock.lookup import trainer_names
from nnunet_ext.weights.roles import restores_images

V2, V1, NNSSL, WEIGHTS = "nnU-Net v2 checkpoint", "nnU-Net v1 checkpoint", "nnssl checkpoint", "weights"
PRETRAINING = "pre-training: it restores hidden parts of images and segments nothing; start from it with init_from"
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def checkpoint_facts(content: Any, file: Path, *, trust: bool = False) -> dict[str, Any]:
    """Return what a checkpoint says, as JSON has it; what it does not say is left out.

    Args:
        content: What the file holds.
        file: The file; of v1, the ``.pkl`` beside it is read as well.
        trust: Unpickle everything that the ``.pkl`` asks for.

    Returns:
        ``kind``, ``trainer``, ``parameters`` (each tensor once, in millions) and so on; and what
        :func:`plans_facts` says of the plans in it. A file with no weights has the kind ``"no checkpoint"``.

    Raises:
        UserError: The ``.pkl`` is damaged or asks for what may run code.
    """
    kind, weights = _kind(content)
    facts: dict[str, Any] = {"kind": kind}
    if kind == V1:
        facts |= _of_v1(content, file, trust)
    elif kind == V2:
        facts |= _of_v2(content)
    elif kind == NNSSL:
        facts |= _of_v2(content) | nnssl_facts(content)
        facts.pop("trainer_is_installed", None)  # nnssl's trainers are not nnU-Net's, whatever their names
    return known(plain(facts | {"parameters_in_millions": _millions(weights)}))


def trainer_facts(name: Any) -> dict[str, Any]:
    """Return which method a trainer belongs to, and whether this installation has it."""
    if not isinstance(name, str):
        return {}
    found = next((method for method in methods().values() if name in method.trainers), None)
    return {
        "trainer": name,
        "method": None if found is None else found.title,
        "trainer_is_installed": name in _installed(os.environ.get(sockets.VARIABLE, "")),
    }


@lru_cache(maxsize=1)
def _installed(folders: str) -> frozenset[str]:
    """Return the trainers of this installation and of nnUNet_extTrainer, found by reading many files."""
    return frozenset(trainer_names())


def _kind(content: Any) -> tuple[str, Any]:
    if not isinstance(content, Mapping):
        return "no checkpoint", None
    if "network_weights" in content:
        of_nnssl = KEY in content and not restores_images(content.get("init_args"))
        return NNSSL if of_nnssl else V2, content["network_weights"]
    if isinstance(content.get("state_dict"), Mapping):
        is_v1 = "plot_stuff" in content or "optimizer_state_dict" in content
        return V1 if is_v1 else WEIGHTS, content["state_dict"]
    return WEIGHTS if any(isinstance(value, Tensor) for value in content.values()) else "no checkpoint", content


def _of_v2(content: Mapping[str, Any]) -> dict[str, Any]:
    arguments = content.get("init_args")
    origin = content.get("stripped_from") or content.get("exported_from")
    facts = trainer_facts(content.get("trainer_name"))
    facts |= {"purpose": PRETRAINING} if restores_images(arguments) else {}
    facts |= plans_facts(at(arguments, "plans"), at(arguments, "dataset_json"), at(arguments, "configuration"))
    return facts | {
        "fold": at(arguments, "fold"),
        "epochs": content.get("current_epoch"),
        "mirroring_axes": content.get("inference_allowed_mirroring_axes"),
        "made_from": origin,
        "records_its_data": True if at(arguments, DATA) is not None else None,
        "resumable": "optimizer_state" in content,
    }


def _of_v1(content: Mapping[str, Any], file: Path, trust: bool) -> dict[str, Any]:
    beside = file.with_name(f"{file.name}.pkl")
    described = read_foreign_pickle(beside, trust=trust) if beside.is_file() else None
    plans = at(described, "plans")
    stages = at(plans, "plans_per_stage")
    last = stages[max(stages)] if isinstance(stages, Mapping) and stages else None
    facts = trainer_facts(at(described, "name"))
    facts.pop("trainer_is_installed", None)  # v1's trainers are not v2's, whatever their names
    return facts | {
        "classes": at(plans, "all_classes"),
        "channels": at(plans, "modalities"),
        "spacing": at(last, "current_spacing"),
        "patch_size": at(last, "patch_size"),
        "batch_size": at(last, "batch_size"),
        "architecture": known(
            {"features": at(plans, "base_num_features"), "pooling_per_axis": plain(at(last, "num_pool_per_axis"))}
        ),
        "epochs": content.get("epoch"),
    }


def _millions(weights: Any) -> float | None:
    """Count the numbers of all tensors that training changes; one with several names counts once."""
    if not isinstance(weights, Mapping):
        return None
    distinct = {
        (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tuple(tensor.shape)): tensor.numel()
        for name, tensor in weights.items()
        if isinstance(tensor, Tensor) and not str(name).endswith(BUFFERS)
    }
    return round(sum(distinct.values()) / 1e6, 6) if distinct else None
