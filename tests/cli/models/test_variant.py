"""``nnunet_ext variant``: other knobs over the same preprocessed data."""

import json
import os
from pathlib import Path

import pytest

from nnunet_ext.cli.main import main

FOLDER = Path("preprocessed/Dataset901_Phantom")


def plans(root: Path, name: str) -> dict:
    return json.loads((root / FOLDER / f"{name}.json").read_text())


def variant(*words: str) -> int:
    return main(["variant", "-d", "901", "-p", "LitePlans", *words])


def test_only_name_and_knobs_differ(nnunet):
    assert variant("--as", "Wide", "--set", "ba_net.boundary_width=7", "num_epochs=2", "--set", "initial_lr=0.5") == 0
    old, new = plans(nnunet, "LitePlans"), plans(nnunet, "Wide")
    assert new.pop("plans_name") == "Wide"
    assert new.pop("nnunet_ext") == {
        "num_epochs": 2,
        "seed": 3,
        "initial_lr": 0.5,
        "ba_net": {"boundary_width": 7},
        "format": 1,
    }
    assert old.pop("plans_name") == "LitePlans"
    assert old.pop("nnunet_ext") == {"num_epochs": 7, "seed": 3, "ba_net": {"boundary_width": 5}, "format": 1}
    assert new == old
    assert new["configurations"]["3d_fullres"]["data_identifier"] == "LitePlans_3d_fullres"
    assert sorted(file.name for file in (nnunet / FOLDER).glob("*.partial")) == []


def test_the_data_set_may_be_named(nnunet):
    assert main(["variant", "-d", "Dataset901_Phantom", "-p", "LitePlans", "--as", "B", "--set", "seed=1"]) == 0
    assert plans(nnunet, "B")["nnunet_ext"]["seed"] == 1


def test_the_same_again_is_fine_and_another_is_refused(nnunet, mistake):
    assert variant("--as", "Wide", "--set", "seed=5") == 0
    assert variant("--as", "Wide", "--set", "seed=5") == 0
    text = mistake("variant -d 901 -p LitePlans --as Wide --set seed=6")
    assert text.startswith(f"{nnunet / FOLDER / 'Wide.json'}: expected no plans of that name, found different ones.")
    assert plans(nnunet, "Wide")["nnunet_ext"]["seed"] == 5


@pytest.mark.parametrize(
    "name",
    ["a__b", "_a", "a_", "", "a/b", "../a", "a b", ".a", "a.", "é", "a" * 101, "dataset", "splits_final", "a\n"],
)
def test_names_that_cannot_name_plans(nnunet, mistake, name):
    text = mistake(["variant", "-d", "901", "-p", "LitePlans", f"--as={name}", "--set", "seed=1"])
    assert text.startswith(f"--as {name!r}: expected letters, digits, single _, - and . between them")


@pytest.mark.parametrize("name", ["a", "A1", "nnUNetPlans_lr0.5-b"])
def test_names_that_can(nnunet, name):
    assert variant("--as", name, "--set", "seed=1") == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            "-d 901 -p LitePlans --as LitePlans --set seed=1",
            "--as LitePlans: expected a name that differs from -p, got the same",
        ),
        (
            "-d 901 -p LitePlan --as B --set seed=1",
            "LitePlan.json: expected plans, found no file. Did you mean 'LitePlans'?",
        ),
        ("-d 7 -p LitePlans --as B --set seed=1", "expected dataset '7', found none. Legal: Dataset901_Phantom."),
        ("-d 901 -p LitePlans --as B --set sed=1", "--set: unknown knob 'sed'. Did you mean 'seed'?"),
        ("-d 901 -p LitePlans --as B --set seed=x", "--set: knob 'seed' expects an integer >= 0, or null, got 'x'."),
    ],
)
def test_wrong_words(nnunet, mistake, words, text):
    assert text in mistake(f"variant {words}")
    assert not (nnunet / FOLDER / "B.json").exists()


def test_a_knob_that_would_have_no_effect(nnunet, mistake):
    changed = plans(nnunet, "LitePlans")
    changed["configurations"]["2d"]["nnunet_ext"] = {"ba_net": {"boundary_width": 3}}
    (nnunet / FOLDER / "LitePlans.json").write_text(json.dumps(changed))
    text = mistake("variant -d 901 -p LitePlans --as B --set ba_net.boundary_width=9")
    assert text == (
        "--set ba_net.boundary_width=9: expected to take effect, but configuration '2d' has a block of its own that "
        "keeps 3. Remove it there first."
    )
    assert variant("--as", "B", "--set", "ba_net.boundary_loss_weight=9") == 0


def test_a_folder_that_cannot_be_written(nnunet, mistake):
    (nnunet / FOLDER / f"B.json.{os.getpid()}.partial").mkdir()
    text = mistake("variant -d 901 -p LitePlans --as B --set seed=1")
    assert text.startswith(f"{nnunet / FOLDER / 'B.json'}: expected to write, got 'Is a directory'.")


PAIR = {
    "Dataset900_Pair": "{}",
    "Dataset901_Organs": "{}_Dataset900_Pair",
    "Dataset902_Lesion": "{}_Dataset900_Pair",
}


def pair_plans(root: Path, name: str) -> list[dict]:
    files = [root / "preprocessed" / dataset / f"{form.format(name)}.json" for dataset, form in PAIR.items()]
    return [json.loads(file.read_text()) for file in files]


def test_a_collections_members_get_theirs(pair):
    assert main(["variant", "-d", "900", "-p", "CollectionLitePlans", "--as", "Wide", "--set", "seed=1"]) == 0
    for old, new, form in zip(
        pair_plans(pair, "CollectionLitePlans"), pair_plans(pair, "Wide"), PAIR.values(), strict=True
    ):
        assert new.pop("plans_name") == form.format("Wide")
        assert new.pop("nnunet_ext") == {"num_epochs": 7, "seed": 1, "format": 1}
        assert old.pop("plans_name") == form.format("CollectionLitePlans")
        assert old.pop("nnunet_ext") == {"num_epochs": 7, "format": 1}
        assert new == old


def test_plans_of_one_member_refuse_the_whole_variant(pair, mistake):
    there = pair / "preprocessed/Dataset902_Lesion/Wide_Dataset900_Pair.json"
    there.write_text(json.dumps({"configurations": {}}))
    text = mistake("variant -d 900 -p CollectionLitePlans --as Wide --set seed=1")
    assert text.startswith(f"{there}: expected no plans of that name, found different ones.")
    assert sorted(file.name for file in pair.rglob("Wide*")) == [there.name]


def test_a_members_plans_have_a_variant_of_their_own(pair):
    words = "variant -d 901 -p CollectionLitePlans_Dataset900_Pair --as Alone --set seed=1"
    assert main(words.split()) == 0
    assert [str(file.relative_to(pair)) for file in pair.rglob("Alone*")] == [
        "preprocessed/Dataset901_Organs/Alone.json"
    ]
