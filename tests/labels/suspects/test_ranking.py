"""z-scores by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.labels.suspects.case_measures import CaseMeasures
from nnunet_ext.labels.suspects.class_measures import ClassMeasures, Untouched
from nnunet_ext.labels.suspects.ranking import rank
from nnunet_ext.labels.suspects.repairs import Repair

ONE = {"labels": {"background": 0, "organ": 1}}


def case(name, dice=0.9, volume=1000, repairs=(), **changes):
    measures = ClassMeasures(volume, volume, 1.0, dice, 0.9, **({"distance": 0.0} | changes))
    return CaseMeasures(name, 0, {"organ": measures}, repairs)


def names(found):
    return [each.measures.name for each in found]


def kinds(found):
    return {each.measures.name: [reason.kind for reason in each.reasons] for each in found if each.reasons}


def test_the_z_score_of_dice():
    # median 0.1, deviations of 0, 0, .05, .05, .4 around it: 1.4826 * 0.05
    cases = [case(*each) for each in zip("abcde", (0.9, 0.9, 0.95, 0.85, 0.5), strict=True)]
    found = rank(cases, ONE)
    assert found[0].dice_z["organ"] == pytest.approx(0.4 / (1.4826 * 0.05))
    assert found[0].rank == pytest.approx(0.4 / (1.4826 * 0.05))
    assert found[0].reasons[0].text == "label 1 (organ): Dice of label and prediction is 0.50, low for its volume"
    assert names(found)[0] == "e"


def test_equal_cases_are_ranked_by_name_and_small_differences_do_not_count():
    cases = [case(name, dice) for name, dice in zip("dbcae", (0.9, 0.9, 0.9, 0.9, 0.85), strict=True)]
    found = rank(cases, ONE)
    assert names(found) == ["e", "a", "b", "c", "d"]
    assert found[0].rank == pytest.approx(0.05 / 0.02)
    assert kinds(found) == {}


def test_small_structures_are_expected_to_be_worse():
    volumes = np.geomspace(10, 10_000, 21)
    cases = [case(f"{n:02d}", 0.6 + 0.05 * np.log(v / 10), round(v)) for n, v in enumerate(volumes)]
    assert kinds(rank(cases, ONE)) == {}
    cases[20] = case("20", 0.7, 10_000)  # as good as the small ones
    assert kinds(rank(cases, ONE)) == {"20": ["dice"]}


def test_a_shift_counts_from_the_gain_of_the_sheet_on():
    def shifted(gain):
        return rank([*map(case, "abcd"), case("e", repairs=(Repair("shifted", gain, 0.95, (0, 0, 3)),))], ONE)

    assert kinds(shifted(0.049)) == {}
    assert kinds(shifted(0.051)) == {"e": ["shifted"]}
    assert shifted(0.051)[0].reasons[0].text == "the label is shifted by (3, 0, 0) voxels"


def test_a_flip_counts_from_the_gain_of_the_sheet_on():
    def mirrored(gain):
        return rank([*map(case, "abcd"), case("e", repairs=(Repair("mirrored", gain, 0.95, (0,)),))], ONE)

    assert kinds(mirrored(0.099)) == {}
    assert kinds(mirrored(0.101)) == {"e": ["mirrored"]}


def test_the_movement_that_helps_most_explains_everything():
    repairs = (Repair("shifted", 0.3, 0.6, (1, 0, 0)), Repair("mirrored", 0.2, 0.9, (2,)))
    found = rank([*map(case, "abcd"), case("e", 0.3, repairs=repairs, missed=Untouched(1, 500, 500, (1, 2, 3)))], ONE)
    assert kinds(found) == {"e": ["mirrored"]}
    assert found[0].rank == pytest.approx(30)  # that of Dice
    assert found[0].suspicion == pytest.approx(30 / 33.5)
    assert found[0].classes == ("organ",)


def test_no_movement_explains_a_class_that_is_missing():
    repairs = (Repair("shifted", 0.3, 0.9, (1, 0, 0)),)
    empty = ClassMeasures(0, 1000, 0.0, 0.0, 0.0)
    found = rank([*map(case, "abcd"), CaseMeasures("e", 0, {"organ": empty}, repairs)], ONE)
    assert kinds(found) == {"e": ["lacking"]}


def test_a_component_counts_by_the_usual_volume():
    def missed(voxels):
        return kinds(rank([*map(case, "abcd"), case("e", missed=Untouched(1, 200, voxels, (1, 2, 3)))], ONE))

    assert missed(69) == {}
    assert missed(71) == {"e": ["missed"]}


def test_a_rater_of_all_cases_is_no_outlier():
    assert kinds(rank([case(name, distance=-3.0) for name in "abcde"], ONE)) == {}
    found = rank([*(case(name, distance=-0.1) for name in "abcd"), case("e", distance=2.0)], ONE)
    assert found[0].reasons[0].text == (
        "label 1 (organ) is drawn too large: its surface lies 2 mm outside the prediction's on average"
    )


def test_cases_that_could_not_be_measured_are_on_top():
    found = rank([case("a"), CaseMeasures("b", 0, problem="damaged")], ONE)
    assert names(found) == ["b", "a"]
    assert found[0].as_quality().failed
    assert found[0].reasons[0].text == "damaged"


def test_nothing_to_rank():
    assert rank([], ONE) == []
    assert kinds(rank([CaseMeasures("a", 0)], ONE)) == {}
