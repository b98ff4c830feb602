"""The table of lost voxels."""

from __future__ import annotations

from nnunet_ext.challenges.conversion.lost_voxels import lost_voxels


def test_sums_over_cases() -> None:
    first = {"voxels": {"eye": 30, "lens": 5, "brain": 100}, "lost": {"eye": 3}, "gained": {}}
    second = {"voxels": {"eye": 10, "lens": 0, "brain": 100}, "lost": {"eye": 1}, "gained": {"lens": 2}}
    table = lost_voxels([first, second, {"instances_by_annotations": {"3": 1}}]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert cells[0] == ["structure", "voxels", "lost", "lost %", "added", "cases"]
    assert cells[2:] == [["eye", "40", "4", "10.00", "0", "2"], ["lens", "5", "0", "0.00", "2", "1"]]


def test_nothing_lost() -> None:
    assert lost_voxels([{"voxels": {"eye": 3}, "lost": {}, "gained": {}}, {}]) == ""
