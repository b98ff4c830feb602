"""Rules are taken only if they gain on cases that they were not chosen by; by the metric that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from killing_challenge import KillingChallenge
from written_map import write_map

from nnunet_ext.challenges.challenge import Challenge
from nnunet_ext.challenges.kits21 import kits21
from nnunet_ext.challenges.own_dataset import own_dataset
from nnunet_ext.challenges.postprocessing.learning import Learned, learn
from nnunet_ext.challenges.postprocessing.rule import Rule
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.mask_metrics import parse_metrics

PLAIN = {"background": 0, "kidney": 1, "tumor": 2}
Row = Sequence[int]


def custom(labels: Mapping[str, Any] = PLAIN, metrics: str = "dice") -> Challenge:
    return own_dataset({"labels": labels, "file_ending": ".nii.gz"}, parse_metrics(metrics), count_both_empty=False)


def learned(
    folder: Path, challenge: Challenge, rows: Sequence[tuple[Row, Row]], *, repeated: bool = False, **options: Any
) -> Learned:
    """Learn from rows of voxels of 1 mm3, in a wide image or repeated: prediction and reference of each case."""
    for number, pair in enumerate(rows):
        for name, row in zip(("predicted", "truth"), pair, strict=True):
            values = np.zeros((3, 3, 30), np.uint8)
            values[(slice(None), slice(None)) if repeated else (1, 1)][..., : len(row)] = row
            write_map(folder / name / f"case_{number:05}.nii.gz", values, (1.0, 1.0, 1.0))
    return learn(challenge, folder / "predicted", folder / "truth", show_progress=False, **options)


def test_a_false_positive_is_removed(tmp_path: Path) -> None:
    """Dice is 2 * 8 / (9 + 8) with a voxel too much, 1 without it."""
    found = learned(tmp_path, custom(), [([1] * 8 + [0, 0, 1], [1] * 8)] * 3 + [([1] * 8, [1] * 8)])
    (decision,) = found.decisions
    assert decision.rule == Rule("kidney", "minimum_volume", 1.35)
    assert decision.taken
    assert decision.held_out == decision.all_cases == pytest.approx(3 / 4 * (1 - 16 / 17), abs=1e-12)
    assert list(decision.fold_gains) == ["part 1", "part 2", "part 3", "part 4"]
    assert list(decision.fold_gains.values()) == pytest.approx([1 / 17, 1 / 17, 1 / 17, 0], abs=1e-12)
    assert set(decision.fold_rules.values()) == {decision.rule}
    assert found.rules == (decision.rule,)
    assert found.before["kidney dice"] == pytest.approx((3 * 16 / 17 + 1) / 4, abs=1e-12)
    assert found.held_out == found.after == {"kidney dice": 1.0, "tumor dice": None}
    assert found.total_gain(found.after) == pytest.approx(3 / 4 / 17, abs=1e-12)


def test_a_component_that_belongs_there_is_kept(tmp_path: Path) -> None:
    row = [1] * 8 + [0, 1, 1]
    found = learned(tmp_path, custom(), [(row, row)] * 4)
    assert [(each.rule, each.taken) for each in found.decisions] == [(None, False)]
    assert (found.rules, found.after) == ((), found.before)


def test_a_gain_on_all_cases_that_is_none_on_others_is_no_rule(tmp_path: Path) -> None:
    """One case gains much by a rule that all others lose a little by: they do not choose it for that case."""
    false, true = [1] * 4 + [0] + [1] * 4, [1] * 8 + [0, 1]
    found = learned(tmp_path, custom(), [(false, [1] * 4)] + [(true, true)] * 3)
    (decision,) = found.decisions
    assert decision.rule == Rule("kidney", "largest", 1)
    assert decision.all_cases == pytest.approx((1 / 3 - 3 * (1 - 16 / 17)) / 4, abs=1e-12)
    assert decision.fold_rules["part 1"] is None
    assert decision.fold_gains["part 1"] == 0
    assert decision.fold_gains["part 2"] == pytest.approx(16 / 17 - 1, abs=1e-12)
    assert decision.held_out == pytest.approx(-3 / 4 * (1 - 16 / 17), abs=1e-12)
    assert not decision.taken
    assert (found.rules, found.after, found.held_out) == ((), found.before, found.before)


def test_the_metric_decides(tmp_path: Path) -> None:
    """A far component that is a voxel off: Dice is better without it, the distance much worse."""
    rows = [([1] * 9 + [0] * 18 + [1], [1] * 9 + [0] * 17 + [1])] * 4
    assert learned(tmp_path, custom(metrics="dice"), rows).rules == (Rule("kidney", "minimum_volume", 1.37),)
    assert learned(tmp_path, custom(metrics="hd95"), rows).rules == ()
    assert learned(tmp_path, custom(metrics="nsd@1mm"), rows).rules == ()


def test_what_is_removed_in_a_kidney_becomes_kidney(tmp_path: Path) -> None:
    rows = [([1, 1, 2, 1, 1, 1, 2, 2, 2], [1] * 6 + [2] * 3)] * 3
    found = learned(tmp_path, kits21(majority=True), rows, repeated=True)
    assert [rule.structure for rule in found.rules] == ["mass"]
    assert found.after == dict.fromkeys(kits21().columns, 1.0)


def test_touching_is_tried(tmp_path: Path) -> None:
    predicted = [1] * 9 + [2] * 3 + [0, 0, 2, 2, 2, 2]
    other = [1] * 9 + [2] * 7
    rows = [(predicted, [1] * 9 + [2] * 3), (other, other)] * 2
    assert learned(tmp_path, custom(), rows).rules == (Rule("tumor", "touching", "kidney"),)


def test_two_rules_for_one_structure(tmp_path: Path) -> None:
    """A voxel in contact, which only the volume tells apart, and a large component without contact."""
    predicted = [2] + [1] * 12 + [2] * 4 + [0] + [2] * 6
    true = [0] + [1] * 12 + [2] * 4
    other = [1] * 12 + [2] * 7
    found = learned(tmp_path, custom(), [(predicted, true), (other, other)] * 2)
    assert {rule.kind for rule in found.rules} == {"minimum_volume", "touching"}
    assert found.after["tumor dice"] == 1.0


def test_a_structure_that_is_not_there_at_all(tmp_path: Path) -> None:
    """Where the reference is empty too, what is left after the rule is not counted."""
    found = learned(tmp_path, custom(), [([1] * 8, [1] * 8), ([1], []), ([1] * 8, [1] * 8), ([1], [])])
    assert found.before["kidney dice"] == 0.5
    assert found.after["kidney dice"] == 1.0
    assert [rule.kind for rule in found.rules] == ["minimum_volume"]
    assert learned(tmp_path / "empty", custom(), [([], [1]), ([], [])]).decisions == []


def test_folds_and_processes_find_the_same(tmp_path: Path) -> None:
    rows = [([1] * 8 + [0, 0, 1], [1] * 8)] * 3 + [([1] * 8, [1] * 8)]
    one = learned(tmp_path, custom(), rows)
    assert learned(tmp_path, custom(), rows, processes=2) == one
    for number in range(4):
        folder = tmp_path / "model" / f"fold_{number % 2}" / "validation"
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / "predicted" / f"case_{number:05}.nii.gz").rename(folder / f"case_{number:05}.nii.gz")
    found = learn(custom(), tmp_path / "model", tmp_path / "truth", show_progress=False)
    assert found.folds == {"fold 0": ["case_00000", "case_00002"], "fold 1": ["case_00001", "case_00003"]}
    assert found.rules == one.rules


def test_a_worker_that_is_killed(tmp_path: Path) -> None:
    challenge = KillingChallenge(**vars(custom()))
    with pytest.raises(UserError, match=r"with 2 processes, one was killed: .*Run it again with -np 1"):
        learned(tmp_path, challenge, [([1], [1])] * 2, processes=2)


def test_another_grid(tmp_path: Path) -> None:
    write_map(tmp_path / "predicted" / "a.nii.gz", np.ones((2, 2, 2), np.uint8))
    write_map(tmp_path / "truth" / "a.nii.gz", np.ones((2, 2, 3), np.uint8))
    for folder in ("predicted", "truth"):
        write_map(tmp_path / folder / "b.nii.gz", np.ones((2, 2, 2), np.uint8))
    with pytest.raises(UserError, match=r"a\.nii\.gz: expected the voxel grid of"):
        learn(custom(), tmp_path / "predicted", tmp_path / "truth", show_progress=False)
