"""The benchmark of prediction runs; both predict the same labels."""

from __future__ import annotations

from run_benchmark import run_benchmark


def test_both_predict_the_same_labels():
    text = run_benchmark("prediction.py", "--small")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert rows[0][4:9] == ["reading, s", "resampling, s", "network, s", "export, s", "all, s"]
    stock, ours = rows[2:]
    for row, side in ((stock, "nnU-Net"), (ours, "ours")):
        classes, image, grid, by, *seconds, memory, labels = row
        assert (classes, image, grid, by) == ("7", "20 x 48 x 40", "20 x 43 x 36", side)
        assert abs(sum(map(float, seconds[:4])) - float(seconds[4])) < 0.03
        assert 0 < float(memory) < 2
        differing, voxels = map(int, labels.split(" of "))
        assert voxels == 20 * 48 * 40
        assert differing <= voxels * 5e-5 + 1
