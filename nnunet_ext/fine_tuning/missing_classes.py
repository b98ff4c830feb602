"""Classes that a source knows, that dataset.json names, and that nobody annotated: training would forget them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_ext.base.knobs import resolve
from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.fine_tuning.source.source_model import SourceModel
from nnunet_ext.strategies.unannotated import unannotated_in
from nnunet_ext.weights.class_matching import FRESH, matched_roles
from nnunet_ext.weights.roles import roles_in


def missing_classes(
    source: SourceModel, plans: dict[str, Any], configuration: str, dataset_json: Mapping[str, Any], folder: Path
) -> list[str]:
    """Return the names of these classes, in the order of the data.

    Args:
        source: The model.
        plans: Of the data, with knobs. If they say ``fine_tune.keep_unannotated``, or that no class of the source is
            taken, none is missing; nor if classes are labels on one side and regions on the other.
        configuration: That of the data.
        dataset_json: That of the data.
        folder: The preprocessed cases.

    Raises:
        UserError: ``annotated`` in dataset.json, or the knob ``init_from_classes``, names an unknown case or class.
    """
    knobs = resolve(plans, configuration)
    matching = knobs["init_from_classes"]
    if matching == FRESH or knobs["fine_tune"]["keep_unannotated"]:
        return []
    given = {"plans": source.plans, "configuration": source.configuration_name, "dataset_json": source.dataset_json}
    target = {"plans": plans, "configuration": configuration, "dataset_json": dataset_json}
    ours = roles_in(target)
    theirs = matched_roles(roles_in(given), ours, matching, "knob 'init_from_classes'")
    if theirs.are_regions != ours.are_regions:  # a softmax tells nothing of a sigmoid: no row of the heads is taken
        return []
    known = {name.casefold() for name in theirs.outputs or ()}
    classes = foreground_classes(dataset_json)
    candidates = [name for name in classes if name.casefold() in known]
    cases = sorted(file.stem for file in folder.glob("*.pkl"))
    found = unannotated_in(candidates, classes, dataset_json, folder, cases)
    return [name for name in classes if name in found.names]
