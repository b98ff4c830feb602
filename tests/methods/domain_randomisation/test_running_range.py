"""The range of the styles that were seen."""

import torch

from nnunet_ext.methods.domain_randomisation.running_range import RunningRange
from nnunet_ext.methods.domain_randomisation.style import Style


def seen(*values: float) -> RunningRange:
    found = RunningRange()
    for value in values:
        means = torch.tensor([[value, value + 1.0]])
        found.see(Style(means, 10 * means))
    return found


def test_percentiles_of_all_steps_and_channels():
    expected = torch.tensor([[0.15, 1.5], [2.85, 28.5]])  # of 0, 1, 2, 3 and of ten times that
    torch.testing.assert_close(seen(0, 2).limits(), expected)


def test_only_the_last_hundred_steps_count():
    torch.testing.assert_close(seen(1000, *[0] * 99, 2).limits(), seen(*[0] * 99, 2).limits())
    assert seen(1000, *[0] * 98, 2).limits()[1, 0] < 1000
    assert len(seen(*range(150)).state()) == 100


def test_the_state_restores_it():
    before, after = seen(0, 2, 5), RunningRange()
    after.load_state(before.state())
    assert torch.equal(before.limits(), after.limits())
