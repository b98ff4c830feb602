"""Knobs: what is legal, what wins, what is carried over, what counts as changed."""

import math
from copy import deepcopy
from typing import ClassVar

import pytest

from nnunet_ext.base import knobs
from nnunet_ext.base.method import integer, methods, number, one_of, optional
from nnunet_ext.base.trained_on import of_methods
from nnunet_ext.errors import UserError

pytestmark = pytest.mark.smoke


def plans(top: object = None, **configurations: dict) -> dict:
    """Plans with these configurations; ``own`` is a configuration's block."""
    found: dict = {"plans_name": "P", "configurations": {}}
    if top is not None:
        found["nnunet_ext"] = top
    for name, entry in configurations.items():
        own = entry.pop("own", None)
        found["configurations"][name] = entry if own is None else entry | {"nnunet_ext": own}
    return found


class TestResolve:
    """Defaults < top level < ancestors < the configuration, key by key."""

    def test_defaults(self):
        found = knobs.resolve(plans(a={}), "a")
        assert found["num_epochs"] == 1000
        assert found["num_iterations_per_epoch"] == 250
        assert found["num_val_iterations_per_epoch"] == 50
        assert found["initial_lr"] == 0.01
        assert found["weight_decay"] == 3e-5
        assert found["optimizer"] == "SGD"
        assert found["warm_up"] == 0
        assert found["seed"] is None
        assert found["init_from"] is None
        assert found["save_every"] == 1
        assert found["baseline"] == {}
        assert found["ba_net"] == {"boundary_loss_weight": 1.0, "boundary_width": 3, "v1_decoder_kernels": False}

    def test_top_level(self):
        found = knobs.resolve(plans({"num_epochs": 7, "ba_net": {"boundary_width": 5}, "format": 1}, a={}), "a")
        assert found["num_epochs"] == 7
        assert found["ba_net"] == {"boundary_loss_weight": 1.0, "boundary_width": 5, "v1_decoder_kernels": False}
        assert "format" not in found

    def test_the_nearer_block_wins_key_by_key(self):
        p = plans(
            {"num_epochs": 1, "seed": 1, "initial_lr": 1, "ba_net": {"boundary_width": 5, "boundary_loss_weight": 0.1}},
            grandparent={"own": {"num_epochs": 2, "weight_decay": 2}},
            parent={"inherits_from": "grandparent", "own": {"seed": 3, "ba_net": {"boundary_loss_weight": 0.3}}},
            child={"inherits_from": "parent", "own": {"num_epochs": 4}},
            other={"own": {"num_epochs": 9, "seed": 9}},
        )
        found = knobs.resolve(p, "child")
        assert [found[key] for key in ("num_epochs", "seed", "initial_lr", "weight_decay")] == [4, 3, 1, 2]
        assert found["ba_net"] == {"boundary_width": 5, "boundary_loss_weight": 0.3, "v1_decoder_kernels": False}
        found = knobs.resolve(p, "parent")
        assert [found[key] for key in ("num_epochs", "seed", "initial_lr", "weight_decay")] == [2, 3, 1, 2]
        found = knobs.resolve(p, "grandparent")
        assert [found[key] for key in ("num_epochs", "seed", "initial_lr", "weight_decay")] == [2, 1, 1, 2]

    def test_nnunets_own_inheritance_does_not_matter(self):
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        p = plans(
            parent={"own": {"num_epochs": 2, "seed": 2}, "architecture": {}},
            child={"inherits_from": "parent", "own": {"seed": 3}, "architecture": {"b": 2}},
        )
        manager = PlansManager(p)
        child = manager.get_configuration("child")
        assert child.configuration["nnunet_ext"] == {"seed": 3}
        for name, epochs, seed in (("parent", 2, 2), ("child", 2, 3)):
            found = knobs.resolve_for(manager, manager.get_configuration(name))
            assert (found["num_epochs"], found["seed"]) == (epochs, seed)

    def test_inheritance_in_a_circle_ends(self):
        p = plans(a={"inherits_from": "b", "own": {"seed": 1}}, b={"inherits_from": "a", "own": {"seed": 2}})
        assert knobs.resolve(p, "a")["seed"] == 1

    def test_the_result_is_independent_of_the_plans(self):
        p = plans({"ba_net": {"boundary_width": 5}}, a={})
        knobs.resolve(p, "a")["ba_net"]["boundary_width"] = 7
        assert p["nnunet_ext"] == {"ba_net": {"boundary_width": 5}}
        assert knobs.resolve(p, "a")["ba_net"]["boundary_width"] == 5

    def test_another_configurations_manager(self):
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        stranger = PlansManager(plans(a={"architecture": {"b": 3}})).get_configuration("a")
        with pytest.raises(ValueError, match="expected a configuration of these plans"):
            knobs.resolve_for(PlansManager(plans(a={"architecture": {}})), stranger)

    @pytest.mark.parametrize(
        ("block", "text"),
        [
            ({"num_epoch": 1}, "plans 'P': unknown knob 'num_epoch'. Did you mean 'num_epochs'? Legal: "),
            ({"banet": {}}, "plans 'P': unknown knob 'banet'. Did you mean 'ba_net'? Legal: "),
            (
                {"ba_net": {"width": 5}},
                "plans 'P': unknown knob 'ba_net.width'. Did you mean 'boundary_width'? Legal: ",
            ),
            (
                {"ba_net": 5},
                "plans 'P': 'ba_net' is a method's block, got 5. Set its knobs one by one: ba_net.boundary_lo",
            ),
            (
                {"num_epochs": {"a": 1}},
                "plans 'P': knob 'num_epochs' expects an integer >= 1, got {'a': 1}. Correct it.",
            ),
            ({"num_epochs": 0}, "plans 'P': knob 'num_epochs' expects an integer >= 1, got 0. Correct it."),
            ({"initial_lr": "0.1"}, "plans 'P': knob 'initial_lr' expects a number > 0, got '0.1'. Correct it."),
            (
                {"optimizer": "Adam"},
                "plans 'P': knob 'optimizer' expects 'SGD', 'PlainSGD' or 'AdamW', got 'Adam'. Correct it.",
            ),
            ({"warm_up": 1}, "plans 'P': knob 'warm_up' expects a number >= 0 and < 1, got 1. Correct it."),
            ({"lr_schedule": "x"}, "plans 'P': knob 'lr_schedule' expects 'poly' or 'steps', got 'x'. Correct it."),
            (
                {"mirror_axes": [0, 3]},
                "plans 'P': knob 'mirror_axes' expects null, or a list of different axes from 0 to 2",
            ),
            ({"mirror_axes": [1, 1]}, "plans 'P': knob 'mirror_axes' expects null, or a list of different axes"),
            ({"mirror_axes": [True]}, "plans 'P': knob 'mirror_axes' expects null, or a list of different axes"),
            ({"mirror_axes": [[0]]}, "plans 'P': knob 'mirror_axes' expects null, or a list of different axes"),
            ({"mirror_axes": 1}, "plans 'P': knob 'mirror_axes' expects null, or a list of different axes"),
            ({"init_from": ""}, "plans 'P': knob 'init_from' expects a path, or null, got ''. Correct it."),
            ([], "plans 'P': the block 'nnunet_ext' must be an object, got []. Write {'num_epochs': 50}."),
            (None, "plans 'P': the block 'nnunet_ext' must be an object, got None. Write {'num_epochs': 50}."),
            (
                {"format": 2, "future": 1},
                "plans 'P': the block 'nnunet_ext' has format 2, this nnunet_ext reads up to 1: the plans come from a "
                "newer version. Install a newer nnunet_ext.",
            ),
            ({"format": "1"}, "plans 'P': the block 'nnunet_ext' has format '1', this nnunet_ext reads up to 1: "),
        ],
    )
    def test_illegal_blocks(self, block, text):
        with pytest.raises(UserError) as caught:
            knobs.resolve(plans(a={}) | {"nnunet_ext": block}, "a")
        assert str(caught.value).startswith(text)

    def test_the_configuration_of_an_illegal_block_is_named(self):
        with pytest.raises(
            UserError, match=r"^plans 'P', configuration 'a': unknown knob 'sed'\. Did you mean 'seed'\?"
        ):
            knobs.resolve(plans(a={"own": {"sed": 1}}, b={"inherits_from": "a"}), "b")


class TestRecipe:
    """Of a method: where no block names an optimizer."""

    RECIPE: ClassVar[dict[str, object]] = {"optimizer": "AdamW", "initial_lr": 2e-4, "warm_up": 0.01}

    def taken(self, given: dict) -> list:
        found = knobs.resolve(given, "a", self.RECIPE)
        return [found[name] for name in ("optimizer", "initial_lr", "warm_up")]

    def test_in_the_place_of_the_defaults(self):
        assert self.taken(plans(a={})) == ["AdamW", 2e-4, 0.01]
        assert self.taken(plans({"num_epochs": 3}, a={})) == ["AdamW", 2e-4, 0.01]
        assert self.taken(plans({"initial_lr": 1e-3}, a={})) == ["AdamW", 1e-3, 0.01]

    def test_all_or_nothing(self):
        assert self.taken(plans({"optimizer": "SGD"}, a={})) == ["SGD", 1e-2, 0]
        assert self.taken(plans(a={"own": {"optimizer": "AdamW"}})) == ["AdamW", 1e-2, 0]
        parent = plans(a={"inherits_from": "b"}, b={"own": {"optimizer": "PlainSGD", "initial_lr": 0.1}})
        assert self.taken(parent) == ["PlainSGD", 0.1, 0]

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({}, ["AdamW", 2e-4, 0.01]),
            ({"optimizer": "SGD"}, ["SGD", 0.5, 0]),
            ({"optimizer": "SGD", "initial_lr": 0.7}, ["SGD", 0.7, 0]),
            ({"optimizer": "PlainSGD"}, ["PlainSGD", 1e-2, 0]),
        ],
    )
    def test_one_with_the_optimizer_that_is_named(self, given, expected):
        found = knobs.resolve(plans(given, a={}), "a", self.RECIPE, {"SGD": {"initial_lr": 0.5}})
        assert [found[name] for name in ("optimizer", "initial_lr", "warm_up")] == expected

    def test_the_optimizer_that_is_named_last_counts(self):
        given = plans({"optimizer": "PlainSGD"}, a={"own": {"optimizer": "SGD"}})
        assert knobs.resolve(given, "a", self.RECIPE, {"SGD": {"initial_lr": 0.5}})["initial_lr"] == 0.5

    def test_an_illegal_block_is_still_refused_first(self):
        with pytest.raises(UserError, match="must be an object, got None"):
            knobs.resolve(plans(a={}) | {"nnunet_ext": None}, "a", self.RECIPE)

    def test_written_into_plans(self):
        p = plans({"seed": 1, "initial_lr": 1e-3}, a={})
        knobs.recommend(p, self.RECIPE)
        assert p["nnunet_ext"] == {**self.RECIPE, "seed": 1, "initial_lr": 1e-3, "format": 1}
        p = plans(a={})
        knobs.recommend(p, self.RECIPE)
        assert p["nnunet_ext"] == {**self.RECIPE, "format": 1}

    @pytest.mark.parametrize(
        "given", [plans({"optimizer": "SGD"}, a={}), plans(a={}, b={"own": {"optimizer": "AdamW"}}), plans(a={})]
    )
    def test_not_beside_another_optimiser_and_not_if_there_is_none(self, given):
        before = deepcopy(given)
        knobs.recommend(given, self.RECIPE if "nnunet_ext" in str(given) else {})
        assert given == before

    def test_another_optimizer_replaces_all_of_a_methods_recipe(self):
        recipe = dict(methods()["transdodnet"].recipe)
        p = plans({**recipe, "seed": 1}, a={})
        knobs.put(p, {"optimizer": "SGD"})
        assert p["nnunet_ext"] == {"optimizer": "SGD", "seed": 1, "format": 1}
        p = plans({**recipe, "initial_lr": 1e-3}, a={})
        knobs.put(p, {"optimizer": "SGD"})  # the user's own rate stays
        assert p["nnunet_ext"] == {**recipe, "optimizer": "SGD", "initial_lr": 1e-3, "format": 1}
        p = plans(recipe, a={})
        knobs.put(p, {"optimizer": recipe["optimizer"], "num_epochs": 5})
        assert p["nnunet_ext"] == {**recipe, "num_epochs": 5, "format": 1}

    def test_those_of_methods_are_legal(self):
        for key, method in methods().items():
            knobs.put(plans(a={}), dict(method.recipe))
            assert "optimizer" in method.recipe or not method.recipe, key
            for optimizer, recipe in method.recipe_with.items():
                knobs.put(plans(a={}), {"optimizer": optimizer, **recipe})


class TestParse:
    """Arguments of --set."""

    def test_values(self):
        words = ["num_epochs=50", "initial_lr=3e-3", "optimizer=AdamW", "seed=null", "init_from=/a=b/c.pth"]
        words += ["ba_net.boundary_width=5", "ba_net.boundary_loss_weight=0.5", "ba_net.v1_decoder_kernels=true"]
        assert knobs.parse(words) == {
            "num_epochs": 50,
            "initial_lr": 0.003,
            "optimizer": "AdamW",
            "seed": None,
            "init_from": "/a=b/c.pth",
            "ba_net": {"boundary_width": 5, "boundary_loss_weight": 0.5, "v1_decoder_kernels": True},
        }

    def test_nothing(self):
        assert knobs.parse([]) == {}

    def test_the_last_word_wins(self):
        assert knobs.parse(["seed=1", "seed=2"]) == {"seed": 2}

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (["num_epochs"], "--set expects key=value, got 'num_epochs'. Example: --set num_epochs=50."),
            (["=5"], "--set expects key=value, got '=5'."),
            (["num_epochs="], "--set: knob 'num_epochs' expects an integer >= 1, got ''."),
            (["num_epochs=2.0"], "--set: knob 'num_epochs' expects an integer >= 1, got 2.0."),
            (["num_epochs=true"], "--set: knob 'num_epochs' expects an integer >= 1, got True."),
            (["initial_lr=NaN"], "--set: knob 'initial_lr' expects a number > 0, got nan."),
            (["initial_lr=Infinity"], "--set: knob 'initial_lr' expects a number > 0, got inf."),
            (["ba_net.boundary_width=4"], "--set: knob 'ba_net.boundary_width' expects an odd integer >= 3, got 4."),
            (["ba_net.a.b=4"], "--set: unknown knob 'ba_net.a.b'. "),
            (["ba_net.boundary_width=5", "ba_net=5"], "--set: 'ba_net' is a method's block, got 5."),
            (["ba_net=5", "ba_net.boundary_width=5"], "--set: 'ba_net' is a method's block, got 5."),
            (["num_epochs=5", "num_epochs.x=5"], "--set: knob 'num_epochs' expects an integer >= 1, got {'x': 5}."),
            (["bn_net.boundary_width=4"], "--set: unknown knob 'bn_net'. Did you mean 'ba_net'?"),
            (["format=1"], "--set format: expected a knob, got the number of the block's format. Drop it."),
        ],
    )
    def test_illegal_words(self, words, text):
        with pytest.raises(UserError) as caught:
            knobs.parse(words)
        assert str(caught.value).startswith(text)


class TestPut:
    """Into the top-level block."""

    def test_new_block(self):
        p = plans(a={})
        knobs.put(p, {"seed": 1, "ba_net": {"boundary_width": 5}})
        assert p["nnunet_ext"] == {"seed": 1, "ba_net": {"boundary_width": 5}, "format": 1}

    def test_old_block_is_merged_key_by_key(self):
        p = plans({"seed": 1, "num_epochs": 2, "ba_net": {"boundary_width": 5}}, a={})
        knobs.put(p, {"seed": 3, "ba_net": {"boundary_loss_weight": 0.5}})
        expected = {
            "seed": 3,
            "num_epochs": 2,
            "ba_net": {"boundary_width": 5, "boundary_loss_weight": 0.5},
            "format": 1,
        }
        assert p["nnunet_ext"] == expected

    def test_nothing_into_nothing(self):
        p = plans(a={})
        knobs.put(p, {})
        assert "nnunet_ext" not in p

    def test_the_plans_do_not_share_the_given_block(self):
        p, block = plans(a={}), {"ba_net": {"boundary_width": 5}}
        knobs.put(p, block)
        p["nnunet_ext"]["ba_net"]["boundary_width"] = 7
        assert block == {"ba_net": {"boundary_width": 5}}

    @pytest.mark.parametrize("block", [{}, {"seed": 1}])
    def test_a_newer_block_is_never_relabelled(self, block):
        p = plans({"format": 2, "future": 1}, a={})
        with pytest.raises(UserError, match="has format 2"):
            knobs.put(p, block)
        assert p["nnunet_ext"] == {"format": 2, "future": 1}


def test_carry_over():
    old = plans({"seed": 1}, a={"own": {"num_epochs": 2}}, gone={"own": {"num_epochs": 3}})
    new = plans(a={"batch_size": 2}, b={})
    knobs.carry_over(old, new)
    assert new == plans({"seed": 1}, a={"batch_size": 2, "own": {"num_epochs": 2}}, b={})
    new["nnunet_ext"]["seed"] = 5
    assert old["nnunet_ext"] == {"seed": 1}


def test_nothing_to_carry_over():
    new = plans(a={})
    knobs.carry_over({}, new)
    assert new == plans(a={})


def test_changed():
    old = knobs.resolve(plans({"seed": 1, "save_every": 1, "ba_net": {"boundary_width": 5}}, a={}), "a")
    new = knobs.resolve(plans({"seed": 2, "save_every": 9, "ba_net": {"boundary_width": 7}}, a={}), "a")
    assert knobs.changed(old, new) == ["ba_net.boundary_width: 5 -> 7", "seed: 1 -> 2"]
    assert knobs.changed(old, old) == []


@pytest.mark.parametrize(
    ("accepts", "legal", "illegal"),
    [
        (integer(1), [1, 5], [0, -1, 1.0, True, "1", None]),
        (number(0), [0, 0.5, 3], [-1e-9, math.nan, math.inf, -math.inf, True, "0", None]),
        (number(0, exclusive=True), [1e-9, 3], [0, 0.0, -1]),
        (one_of("SGD", "AdamW"), ["SGD"], ["sgd", None, [], 0]),
        (optional(integer(0)), [None, 0], [-1, "null"]),
    ],
)
def test_legal_values(accepts, legal, illegal):
    assert [value for value in legal if not accepts(value)] == []
    assert [value for value in illegal if accepts(value)] == []


def test_a_knob_whose_value_is_an_object_is_replaced_as_a_whole():
    """It is no method's block, whose knobs are merged."""
    p = plans(a={"nnunet_ext": {"init_from_classes": {"Leber": "liver"}}})
    assert knobs.resolve(p, "a")["init_from_classes"] == {"Leber": "liver"}
    p["nnunet_ext"] = {"init_from_classes": {"Milz": "spleen"}}
    assert knobs.resolve(p, "a")["init_from_classes"] == {"Leber": "liver"}
    knobs.put(p, {"init_from_classes": {"Niere": "kidney"}})
    assert p["nnunet_ext"]["init_from_classes"] == {"Niere": "kidney"}
    knobs.put(p, {"init_from_classes": "fresh"})
    assert p["nnunet_ext"]["init_from_classes"] == "fresh"
    assert of_methods({"init_from_classes": {"Leber": "liver"}, "ba_net": {}}) == {"ba_net": {}}
    found = knobs.parse(['init_from_classes={"Leber": "liver"}'])
    assert found == {"init_from_classes": {"Leber": "liver"}}
    with pytest.raises(UserError, match=r"knob 'init_from_classes' expects 'by_name', 'fresh', or names of the source"):
        knobs.parse(['init_from_classes={"Leber": 1}'])
