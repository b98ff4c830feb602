"""Which rules are tried, and in which order."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_ext.challenges.challenge import Structure
from nnunet_ext.challenges.kits21 import kits21
from nnunet_ext.challenges.postprocessing.candidates import candidates
from nnunet_ext.challenges.postprocessing.case_components import CaseComponents
from nnunet_ext.challenges.postprocessing.rule import Rule

TUMOR, KIDNEY, VEIN = (Structure(name, (label,), ()) for label, name in enumerate(("tumor", "kidney", "vein"), 1))


def case(tumor: tuple[float, ...], kidney: tuple[float, ...] = (1000.0,), *, touches: bool = True) -> CaseComponents:
    contact = {"kidney": {}, "tumor": {"kidney": 4} if touches else {}}
    return CaseComponents({name: sizes for name, sizes in (("tumor", tumor), ("kidney", kidney)) if sizes}, contact)


def test_minimum_volumes_lie_between_the_smallest_and_the_median_of_the_largest() -> None:
    (found,) = candidates([TUMOR], [case((1000.0, 1.0)), case((10.0, 5.0)), case((1e6,))])
    volumes = [float(rule.value) for rule in found.rules if rule.kind == "minimum_volume"]
    assert volumes == pytest.approx(1000 ** (np.arange(1, 7) / 7), rel=5e-3)
    assert volumes[0] == 2.68, "rounded to three digits"


def test_largest_only_where_there_are_more() -> None:
    def kept(*sizes: tuple[float, ...]) -> list[object]:
        return [
            rule.value for each in candidates([TUMOR], [case(s) for s in sizes]) for rule in each.rules
            if rule.kind == "largest"
        ]  # fmt: skip

    assert kept((5.0,), (3.0, 3.0)) == [1]
    assert kept((5.0,), (3.0, 2.0, 1.0)) == [2, 1]
    assert kept((5.0,), (5.0,)) == []


def test_touching_what_most_cases_touch_if_half_of_them_do() -> None:
    def touching(*touches: bool) -> list[Rule]:
        found = candidates([TUMOR, KIDNEY, VEIN], [case((5.0,), touches=each) for each in touches])
        return [rule for each in found for rule in each.rules if rule.kind == "touching"]

    assert touching(True, False) == [Rule("tumor", "touching", "kidney")]
    assert touching(True, False, False) == []


def test_larger_structures_first() -> None:
    found = candidates([TUMOR, KIDNEY], [case((5.0, 1.0), (1000.0, 9.0))])
    assert [(each.structure.name, each.level) for each in found] == [("kidney", 0), ("tumor", 1)]
    found = candidates([TUMOR, KIDNEY], [case((5.0, 1.0), (1000.0, 9.0), touches=False)])
    assert [(each.structure.name, each.level) for each in found] == [("kidney", 0), ("tumor", 0)]


def test_regions_before_their_parts_even_of_equal_size() -> None:
    names = [each.name for each in kits21().structures]
    same = CaseComponents(dict.fromkeys(names, (9.0, 3.0)), {name: {} for name in names})
    found = candidates(kits21().structures[::-1], [same])
    assert [(each.structure.name, each.level) for each in found] == [
        ("kidney_and_mass", 0), ("mass", 1), ("tumor", 2)
    ]  # fmt: skip


def test_nothing_is_predicted() -> None:
    assert candidates([TUMOR, KIDNEY], [CaseComponents({}, {})]) == []
