"""The figure shows every case, every mean and every loss."""

from __future__ import annotations

from nnunet_ext.shifts.figure import fragility_figure
from nnunet_ext.shifts.shift_scores import shift_scores


def test_a_row_for_each_shift() -> None:
    dices = {
        name: {"unshifted": {"x": dice}, "blur 2": {"x": dice - 0.2}} for name, dice in {"a": 0.9, "b": 0.7}.items()
    }
    (axes,) = fragility_figure(shift_scores(dices), "Dataset/model").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["unshifted", "blur 2"]
    lines = [[round(float(value), 6) for value in line.get_xdata()] for line in axes.lines]
    assert lines == [[0.9, 0.7], [0.8, 0.8], [0.8], [0.7, 0.5], [0.6, 0.8], [0.6], [0.8, 0.8]]
    assert axes.get_title() == "How fragile is this model?\nDataset/model"
