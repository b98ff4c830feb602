"""VerSemi's plans: labelled samples and the mixed ones beside them fit the budget of the stock planner."""

from __future__ import annotations

from small_unet import planned_unet

from nnunet_ext.methods.dodnet.planner import DoDNetPlanner
from nnunet_ext.methods.versemi.planner import VerSemiPlanner

LIVER = {"cases": 40, "spacing": (3.0, 0.8, 0.8), "shape": (80, 280, 280)}


def test_the_estimate_counts_two_and_a_half_samples_for_each_labelled_one(fingerprinted):
    fingerprinted({"liver": LIVER, "kidney": LIVER})
    architecture = planned_unet([[1, 1, 1], [1, 2, 2], [2, 2, 2]], features=[32, 64, 128], convolutions=2)
    ours, theirs = (
        planner("Dataset900_Planned").static_estimate_VRAM_usage((16, 32, 64), 1, 3, *architecture.values())
        for planner in (VerSemiPlanner, DoDNetPlanner)
    )
    assert ours == 2.5 * theirs
