"""Synthetic raters draw too much, right and too little."""

from pathlib import Path

import numpy as np

from nnunet_ext.phantoms.dataset import IGNORE, write_phantom_dataset
from nnunet_ext.phantoms.raters import drawn_by, write_phantom_raters

BALL = ((np.indices((15, 15, 15)) - 7.0) ** 2).sum(0) < 25


def test_without_noise_a_voxel_more_or_less():
    rng = np.random.default_rng(0)
    truth = BALL.astype(np.uint8)
    assert (drawn_by(truth, 0.0, 0.0, rng) == truth).all()
    more, less = drawn_by(truth, 1.0, 0.0, rng), drawn_by(truth, -1.0, 0.0, rng)
    assert more[7, 7, :].sum() == truth[7, 7, :].sum() + 2
    assert less[7, 7, :].sum() == truth[7, 7, :].sum() - 2
    assert (more >= truth).all() and (less <= truth).all()  # noqa: PT018


def test_what_grows_has_the_label_beside_it_and_ignored_voxels_stay():
    truth = np.where(BALL, np.where(np.arange(15) < 7, 1, 2), 0).astype(np.uint8)
    truth[:5] = IGNORE
    more = drawn_by(truth, 1.0, 0.0, np.random.default_rng(0), IGNORE)
    assert set(np.unique(more[7, 7, :7])) == {0, 1}
    assert ((more == IGNORE) == (truth == IGNORE)).all()


def test_noise_moves_the_boundary_both_ways():
    drawn = drawn_by(BALL.astype(np.uint8), 0.0, 0.7, np.random.default_rng(0))
    assert ((drawn > 0) & ~BALL).any()
    assert ((drawn == 0) & BALL).any()


def test_files(tmp_path: Path):
    folder = write_phantom_dataset(tmp_path, "Dataset007_P", cases=6, shape=(6, 12, 12))
    write_phantom_raters(folder, missing=1.0)
    found = [len(list((folder / "labelsTr_raters").glob(f"*/case_00{number}.nii.gz"))) for number in range(6)]
    assert found == [3, 2, 2, 2, 2, 2]
