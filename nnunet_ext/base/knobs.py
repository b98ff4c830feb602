"""Knobs: the settings that a plans file carries in its block ``"nnunet_ext"``.

The block may be at the top level of the plans and in any configuration::

    "nnunet_ext": {"format": 1, "num_epochs": 50, "optimizer": "AdamW", "ba_net": {"boundary_loss_weight": 0.5}}

Blocks are merged by one rule, in :func:`resolve`: defaults, then the top level, then the configurations from the
farthest ancestor (``inherits_from``) down to the one that is trained; key by key, also inside a method's sub-block; the
later wins. nnU-Net's own ``inherits_from`` would replace the whole block, and is not used. If no block names an
optimizer, the recipe of the trained method replaces the defaults; if one does, the method's recipe with that optimizer,
if it has one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from nnunet_ext.base.method import Knob, distinct, integer, methods, number, one_of, optional
from nnunet_ext.errors import UserError, nearest
from nnunet_ext.weights.class_matching import BY_NAME, EXPECTED, is_class_matching

if TYPE_CHECKING:
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

BLOCK = "nnunet_ext"
FORMAT = 1

GENERAL = (
    Knob("num_epochs", 1000, "length of the training, in epochs", integer(1), "an integer >= 1"),
    Knob(
        "num_iterations_per_epoch",
        250,
        "training steps per epoch; if it is not set, collections take 50 per task",
        integer(1),
        "an integer >= 1",
    ),
    Knob("num_val_iterations_per_epoch", 50, "validation steps per epoch", integer(1), "an integer >= 1"),
    Knob("initial_lr", 1e-2, "initial learning rate, before its decay", number(0, exclusive=True), "a number > 0"),
    Knob("weight_decay", 3e-5, "weight decay of the optimizer", number(0), "a number >= 0"),
    Knob(
        "optimizer",
        "SGD",
        "SGD is nnU-Net's own (Nesterov momentum 0.99), PlainSGD has momentum 0.9; short runs need AdamW with "
        "initial_lr 3e-3",
        one_of("SGD", "PlainSGD", "AdamW"),
        "'SGD', 'PlainSGD' or 'AdamW'",
    ),
    Knob(
        "lr_schedule",
        "poly",
        "poly is nnU-Net's own decay; with steps, the rate drops to a tenth after each sixth of the training",
        one_of("poly", "steps"),
        "'poly' or 'steps'",
    ),
    Knob(
        "warm_up",
        0.0,
        "share of the epochs, rounded to whole ones, in which the rate rises linearly from 1 % of the scheduled "
        "value; 0.01 is ten of 1000 epochs",
        number(0, below=1),
        "a number >= 0 and < 1",
    ),
    Knob(
        "seed",
        None,
        "seed for weights, batches, dropout and noise; runs, including resumed ones, are exactly reproducible on "
        "one CPU or deterministic GPU",
        optional(integer(0)),
        "an integer >= 0, or null",
    ),
    Knob(
        "init_from",
        None,
        "checkpoint (stock or ours) that initializes the network: takes what fits, channels and classes by name; the "
        "log reports what happened to each tensor",
        optional(lambda value: isinstance(value, str) and value != ""),
        "a path, or null",
    ),
    Knob(
        "init_from_classes",
        BY_NAME,
        "with init_from: which rows of its segmentation heads are taken: by_name, fresh (none), or the source's names "
        'by yours, as {"Leber": "liver"}; classes that are not mentioned go by name',
        is_class_matching,
        EXPECTED,
    ),
    Knob(
        "mirror_axes",
        None,
        "axes along which training and prediction mirror, of a patch in the order of the plans; [] is none, null is "
        "nnU-Net's own: all",
        optional(distinct(lambda axis: integer(0)(axis) and axis <= 2)),
        "null, or a list of different axes from 0 to 2",
    ),
    Knob(
        "channel_dropout",
        0.0,
        "probability with which a training sample loses a channel, drawn for each channel, never all; a lost one is 0",
        number(0, below=1),
        "a number >= 0 and < 1",
    ),
    Knob(
        "save_every",
        1,
        "epochs between two saves of checkpoint_latest.pth; you may change it when you resume a training",
        integer(1),
        "an integer >= 1",
        may_change=True,
    ),
)


def resolve(
    plans: dict,
    configuration: str,
    recipe: Mapping[str, Any] | None = None,
    recipe_with: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return every knob's value for one configuration: general ones by name, a method's in a sub-dict by its key.

    Args:
        plans: A plans file's content.
        configuration: Name of one of its configurations.
        recipe: General knobs that replace the defaults if no block names an ``optimizer``.
        recipe_with: By optimizer, general knobs that replace the defaults if it is the one that the blocks name.

    Raises:
        UserError: Unknown key, illegal value, or a block written by a newer nnunet_ext.
    """
    knobs: dict[str, Any] = {knob.name: knob.default for knob in GENERAL}
    knobs.update({key: {knob.name: knob.default for knob in method.knobs} for key, method in methods().items()})
    found = list(blocks(plans, configuration))
    for place, block in found:
        _check(block, place)
    named = [block["optimizer"] for _, block in found if "optimizer" in block]
    knobs.update((recipe_with or {}).get(named[-1], {}) if named else recipe or {})
    for _, block in found:
        _merge(knobs, block)
    return deepcopy({key: value for key, value in knobs.items() if key != "format"})


def blocks(plans: dict, configuration: str) -> Iterator[tuple[str, dict]]:
    """Yield (place, block) of all blocks that apply to a configuration, the weakest first."""
    if BLOCK in plans:
        yield f"plans {plans.get('plans_name', '')!r}", plans[BLOCK]
    lineage: list[str] = []
    name: str | None = configuration
    while name is not None and name in plans["configurations"] and name not in lineage:
        lineage.append(name)
        name = plans["configurations"][name].get("inherits_from")
    for name in reversed(lineage):
        if BLOCK in plans["configurations"][name]:
            yield f"plans {plans.get('plans_name', '')!r}, configuration {name!r}", plans["configurations"][name][BLOCK]


def is_set(plans: dict, configuration: str, name: str) -> bool:
    """Tell whether the plans say anything about a general knob."""
    return any(name in block for _, block in blocks(plans, configuration))


def resolve_for(plans_manager: PlansManager, configuration_manager: ConfigurationManager) -> dict[str, Any]:
    """Like :func:`resolve`, for ``build_network_architecture``, which is not told the configuration's name."""
    for name in plans_manager.available_configurations:
        if plans_manager.get_configuration(name).configuration == configuration_manager.configuration:
            return resolve(plans_manager.plans, name)
    raise ValueError("expected a configuration of these plans, got another; take it from plans_manager")


def parse(assignments: Iterable[str]) -> dict[str, Any]:
    """Turn ``--set`` arguments (``num_epochs=50``, ``ba_net.boundary_width=5``) into a checked block.

    A value is read as JSON, or as a string if it is not JSON.
    """
    block: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise UserError(f"--set expects key=value, got {assignment!r}. Example: --set num_epochs=50.")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        outer, dot, inner = key.partition(".")
        knob = {outer: {inner: value}} if dot else {key: value}
        if "format" in knob:
            raise UserError("--set format: expected a knob, got the number of the block's format. Drop it.")
        _check(knob, "--set")
        _merge(block, knob)
    return block


def put(plans: dict, block: dict[str, Any]) -> None:
    """Merge ``block`` into the top-level block of ``plans``, in place; an empty block adds nothing.

    Another optimizer replaces a method's whole recipe, never part of it.

    Raises:
        UserError: The plans hold an illegal block, or one written by a newer nnunet_ext.
    """
    if not block and BLOCK not in plans:
        return
    _check(plans.get(BLOCK, {}), f"plans {plans.get('plans_name', '')!r}")
    target = plans.setdefault(BLOCK, {})
    if block.get("optimizer", target.get("optimizer")) != target.get("optimizer"):
        _drop_recipe(target)
    _merge(target, block | {"format": FORMAT})


def _merge(target: dict[str, Any], block: Mapping[str, Any]) -> None:
    for key, value in block.items():
        if key in methods():
            target.setdefault(key, {}).update(value)
        else:
            target[key] = value


def recommend(plans: dict, recipe: Mapping[str, Any]) -> None:
    """Add a method's recipe to the top-level block of ``plans``, in place, unless a block names an ``optimizer``.

    Values already in the block are kept. A recipe is an optimizer with its learning rate and related knobs, and works
    only as a whole.
    """
    blocks_there = [plans.get(BLOCK, {}), *(entry.get(BLOCK, {}) for entry in plans["configurations"].values())]
    if recipe and not any("optimizer" in block for block in blocks_there):
        put(plans, {**recipe, **plans.get(BLOCK, {})})


def _drop_recipe(block: dict[str, Any]) -> None:
    """Remove a method's recipe, in place, if the block holds all of it."""
    for method in methods().values():
        if method.recipe and all(block.get(name) == value for name, value in method.recipe.items()):
            for name in method.recipe:
                del block[name]
            return


def carry_over(old_plans: dict, new_plans: dict) -> None:
    """Copy the blocks of ``old_plans`` into ``new_plans``, in place: planning again drops them."""
    if BLOCK in old_plans:
        new_plans[BLOCK] = deepcopy(old_plans[BLOCK])
    for name, configuration in old_plans.get("configurations", {}).items():
        if BLOCK in configuration and name in new_plans["configurations"]:
            new_plans["configurations"][name][BLOCK] = deepcopy(configuration[BLOCK])


def changed(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Name the knobs that differ between two results of :func:`resolve` and change what is trained."""
    free = {knob.name for knob in GENERAL if knob.may_change}
    own_free = {key: {knob.name for knob in method.knobs if knob.may_change} for key, method in methods().items()}
    differences = []
    for key in sorted({*old, *new} - free):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            names = sorted({*before, *after} - own_free.get(key, set()))
            differences += [
                f"{key}.{name}: {before.get(name)!r} -> {after.get(name)!r}"
                for name in names
                if before.get(name) != after.get(name)
            ]
        elif before != after:
            differences.append(f"{key}: {before!r} -> {after!r}")
    return differences


def _check(block: Any, place: str) -> None:
    if not isinstance(block, dict):
        raise UserError(f"{place}: the block {BLOCK!r} must be an object, got {block!r}. Write {{'num_epochs': 50}}.")
    written_by = block.get("format", FORMAT)
    if not integer(1)(written_by) or written_by > FORMAT:
        raise UserError(
            f"{place}: the block {BLOCK!r} has format {written_by!r}, this nnunet_ext reads up to {FORMAT}: the plans "
            f"come from a newer version. Install a newer nnunet_ext."
        )
    own = {key: {knob.name: knob for knob in method.knobs} for key, method in methods().items()}
    general = {knob.name: knob for knob in GENERAL}
    for key, value in block.items():
        if key == "format":
            continue
        if key in own and isinstance(value, dict):
            for name, inner in value.items():
                _check_one(place, f"{key}.{name}", name, inner, own[key])
        elif key in own:
            raise UserError(
                f"{place}: {key!r} is a method's block, got {value!r}. Set its knobs one by one: "
                f"{', '.join(f'{key}.{name}=...' for name in own[key]) or 'it has none'}."
            )
        else:
            _check_one(place, key, key, value, general, also=[key for key, knobs in own.items() if knobs])


def _check_one(place: str, shown: str, name: str, value: Any, legal: dict[str, Knob], also: Iterable[str] = ()) -> None:
    if name not in legal:
        raise UserError(f"{place}: unknown knob {shown!r}. {nearest(name, {*legal, *also})}")
    if not legal[name].accepts(value):
        raise UserError(f"{place}: knob {shown!r} expects {legal[name].expected}, got {value!r}. Correct it.")
