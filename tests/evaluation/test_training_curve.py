"""What the curves show."""

import numpy as np
import pytest

from nnunet_ext.evaluation.training_curve import training_curve

LOG = {"mean_fg_dice": [0.1, 0.4], "train_losses": [1.0, 0.5], "val_losses": [0.9, 0.6]}


@pytest.fixture
def panels():
    parts = {"segmentation_loss": [0.7, 0.3], "boundary_loss": [0.3, 0.2]}
    return training_curve({"BANetTrainer": LOG | parts, "Control": LOG}).axes


def curves(axes):
    return {line.get_label(): list(line.get_ydata()) for line in axes.lines}


def test_pseudo_dice_of_each_trainer(panels):
    assert curves(panels[0]) == {"BANetTrainer": [0.1, 0.4], "Control": [0.1, 0.4]}
    assert panels[0].get_ylim() == (0, 1)


def test_losses_that_compare_with_each_other(panels):
    assert curves(panels[1]) == {
        "BANetTrainer, training": [0.7, 0.3],
        "BANetTrainer, validation": [0.9, 0.6],
        "BANetTrainer, boundary loss": [0.3, 0.2],
        "Control, training": [1.0, 0.5],
        "Control, validation": [0.9, 0.6],
    }


def test_epochs_count_from_one(panels):
    assert all(np.array_equal(line.get_xdata(), [1, 2]) for axes in panels for line in axes.lines)
