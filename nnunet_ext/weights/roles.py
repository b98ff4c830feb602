"""What the input channels and the segmentation heads of a network stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BACKGROUND = "background"
IGNORE = "ignore"
PREVIOUS = "previous stage: "  # a channel of a cascade: one label that the stage before has predicted
COLLECTION = "collection"  # key in plans: heads belong to tasks there, not to the labels of dataset.json
TASK = "task"  # key in that block: a view, whose channels and labels are those of dataset.json
OWN, RESTORES = "nnunet_ext", "restores_images"  # key in init_args, and in it: the outputs are restored images


@dataclass(frozen=True)
class Roles:
    """Names of a network's input channels and of the rows of its segmentation heads, both in order.

    Args:
        channels: Input channels, those of a cascade's previous stage too; None: not known.
        outputs: Labels, background first and without ignore, or regions; None: not known.
    """

    channels: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None

    @property
    def are_regions(self) -> bool:
        """Whether the outputs are regions (each with its own sigmoid): they have no background."""
        return self.outputs is not None and BACKGROUND not in self.outputs


def roles_of(dataset_json: Mapping[str, Any], *, cascade: bool = False) -> Roles:
    """Return the roles in a network that nnU-Net trains on a dataset; their order is that of its label manager.

    What is not in the form that nnU-Net requires is not known.

    Args:
        dataset_json: Content of dataset.json.
        cascade: Whether the configuration has a previous stage, whose labels are further input channels.

    Example:
        >>> from nnunet_ext.weights.roles import roles_of
        >>> labels = {"background": 0, "tumour": 2, "kidney": 1, "ignore": 3}
        >>> roles_of({"channel_names": {"0": "CT"}, "labels": labels})
        Roles(channels=('CT',), outputs=('background', 'kidney', 'tumour'))
    """
    labels = _labels(dataset_json.get("labels"))
    names = dataset_json.get("channel_names", dataset_json.get("modality"))
    channels = _channels(names)
    if cascade and channels is not None:
        channels = None if labels is None else (*channels, *(PREVIOUS + name for name in _label_names(labels)[1:]))
    return Roles(channels, None if labels is None else _outputs(labels))


def roles_in(init_args: Any) -> Roles:
    """Return the roles that the arguments of a trainer tell; what they do not tell is unknown.

    The outputs of a task's view are those of its task: see :func:`nnunet_ext.weights.task_heads.task_heads`.

    Args:
        init_args: As nnU-Net keeps them in a checkpoint, with ``plans``, ``configuration`` and ``dataset_json``.
    """
    arguments = init_args if isinstance(init_args, Mapping) else {}
    plans, dataset_json = arguments.get("plans"), arguments.get("dataset_json")
    if not isinstance(plans, Mapping) or not isinstance(dataset_json, Mapping):
        return Roles()
    roles = roles_of(dataset_json, cascade=_is_cascade(plans, arguments.get("configuration")))
    if restores_images(arguments):
        return Roles(channels=roles.channels)
    return Roles() if COLLECTION in plans and TASK not in plans[COLLECTION] else roles


def restores_images(init_args: Any) -> bool:
    """Whether a training learned to restore images, so that the network's outputs are no classes.

    Args:
        init_args: As nnU-Net keeps them in a checkpoint.
    """
    own = init_args.get(OWN) if isinstance(init_args, Mapping) else None
    return isinstance(own, Mapping) and own.get(RESTORES) is True


def _is_cascade(plans: Mapping[str, Any], configuration: Any) -> bool:
    """Whether a configuration, or one that it inherits from, has a previous stage."""
    configurations, seen = plans.get("configurations", {}), set()
    while configuration in configurations and configuration not in seen:
        seen.add(configuration)
        block = configurations[configuration]
        if "previous_stage" in block:
            return block["previous_stage"] is not None
        configuration = block.get("inherits_from")
    return False


def _channels(names: Any) -> tuple[str, ...] | None:
    """Return the names by channel number; nnU-Net takes them as they are listed if these are no numbers."""
    if not isinstance(names, Mapping):
        return None
    keys = list(names)
    if all(str(key).isdecimal() for key in keys):
        keys.sort(key=int)
    return tuple(str(names[key]) for key in keys)


def _labels(found: Any) -> dict[str, tuple[int, ...]] | None:
    """Return the values of each label or region, without ignore."""
    if not isinstance(found, Mapping) or BACKGROUND not in found:
        return None
    labels = {}
    for name, values in found.items():
        values = tuple(values) if isinstance(values, list | tuple) else (values,)
        if not values or not all(isinstance(value, int) for value in values):
            return None
        labels[str(name)] = values
    labels.pop(IGNORE, None)
    return labels


def _outputs(labels: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    if all(len(values) == 1 for values in labels.values()):
        return _label_names(labels)
    return tuple(name for name, values in labels.items() if set(values) != {0})


def _label_names(labels: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Return a name for each label value, ascending; a value that occurs only within regions has none of its own."""
    own = {values[0]: name for name, values in reversed(list(labels.items())) if len(values) == 1}
    return tuple(
        own.get(value, f"label {value}") for value in sorted({v for values in labels.values() for v in values})
    )
