"""The classes of fine-tuning plans: which of them the source's segmentation heads know."""

from __future__ import annotations

import re

import torch

from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.fine_tuning.decision import Decision
from nnunet_ext.fine_tuning.own_plans import OwnPlans
from nnunet_ext.fine_tuning.source.source_model import SourceModel
from nnunet_ext.weights.class_matching import BY_NAME, FRESH, ClassMatching, matched_roles
from nnunet_ext.weights.heads import fitted_rows
from nnunet_ext.weights.roles import roles_in

HEAD = re.compile(r"(.+\.)?decoder\.seg_layers\.(\d+)\.weight")


def decide_classes(source: SourceModel, own: OwnPlans, base: str, classes: ClassMatching = BY_NAME) -> Decision:
    """Say which rows of the source's segmentation head will be taken, by the rules of the transfer itself.

    Args:
        source: The model.
        own: The data's own plans, whose classes are trained.
        base: Their configuration.
        classes: Value of the knob ``init_from_classes``.

    Returns:
        The decision; it warns if no head is taken although one was wanted.

    Raises:
        UserError: ``classes`` names an unknown class.
    """
    description = own.planner.dataset_json
    mine = list(foreground_classes(description))
    target = {"plans": own.plans, "configuration": base, "dataset_json": description}
    given = {"plans": source.plans, "configuration": source.configuration_name, "dataset_json": source.dataset_json}
    if classes == FRESH:
        return Decision("classes", mine, "flag", "no row of the source's heads is taken", ", ".join(mine))
    ours = roles_in(target)
    theirs = matched_roles(roles_in(given), ours, classes, "--rename_classes")
    heads = [(int(match[2]), name) for name in source.weights if (match := HEAD.fullmatch(name))]
    taken, told = None, "the source has no segmentation heads of nnU-Net's"
    if heads and ours.outputs is not None:
        head = source.weights[max(heads)[1]]  # that of full resolution
        fresh = torch.empty((len(ours.outputs), *head.shape[1:]))
        taken, told = fitted_rows(fresh, head, theirs, ours)
    if taken is not None:
        told = told or f"rows by name: {', '.join(ours.outputs or ())}"
        if not isinstance(classes, str):
            told += f"; {', '.join(f'{name} is its {other}' for name, other in classes.items())}"
        return Decision("classes", mine, "target", f"labels have them; of the source's heads, {told}", ", ".join(mine))
    if source.pretraining is not None or source.classes == []:  # the row of the network says it
        why = "labels have them; a pre-training has no classes, so all heads start at random"
        return Decision("classes", mine, "target", why, ", ".join(mine))
    why = f"labels have them; none of the source's heads is taken: {told}"
    warning = f"classes: no segmentation head of the source is taken ({told}); all start at random"
    return Decision("classes", mine, "target", why, ", ".join(mine), warning)
