"""The table of chosen cases."""

from __future__ import annotations

from nnunet_ext.next_cases.choice import Choice
from nnunet_ext.next_cases.next_case import NextCase, next_cases_table
from nnunet_ext.next_cases.uncertain_box import Box
from nnunet_ext.quality.case_quality import CaseQuality
from nnunet_ext.quality.reason import Reason


def test_the_table():
    strong = CaseQuality("b", [Reason("volume", "organ: 2 ml", 0.6), Reason("border", "organ, at the top", 0.3)])
    weak = CaseQuality("a", [Reason("disagreement", "low", 0.1), Reason("place", "a bit", 0.2)])
    usual = CaseQuality("c", [Reason("disagreement", "equal", 0.0)])
    cases = [
        NextCase("b", strong, Choice(4, 0.3, 0.5), Box((1, 2, 3), (4, 5, 6))),
        NextCase("a", weak, Choice(0, 0.02, 0.1)),
        NextCase("c", usual, Choice(1, 0.0, 0.1)),
        NextCase("r"),
    ]
    assert next_cases_table(cases).splitlines() == [
        "rank,case,score,suspicion,distance,x_first,x_last,y_first,y_last,z_first,z_last,reasons",
        '1,b,0.3000,0.6000,0.5000,1,4,2,5,3,6,"volume: organ: 2 ml | border: organ, at the top"',
        "2,a,0.0200,0.2000,0.1000,,,,,,,place: a bit",
        '3,c,0.0000,0.0000,0.1000,,,,,,,"nothing unusual, but unlike the others"',
        "4,r,,,,,,,,,,chosen at random",
    ]
