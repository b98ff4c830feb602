"""The planner's batch for the patch, fewer samples for a wider network, never fewer than two."""

import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

from nnunet_ext.fine_tuning.batch_size import decide_batch_size
from nnunet_ext.fine_tuning.source_network import SourceNetwork
from nnunet_ext.methods.baseline.planner import LitePlanner


def decide(source, own, patch=(16, 32, 32), wanted=None):
    return decide_batch_size(SourceNetwork(source), own, (2.5, 1.0, 1.0), (0, 1, 2), patch, wanted)


@pytest.mark.parametrize(("cases", "value"), [(20, 4), (2, 2)])
def test_5_percent_of_all_voxels(source, own, cases, value):
    """20 cases of 72,000 voxels: 5 % are 4.4 patches of 16 x 32 x 32."""
    decision = decide(source(), own(cases=cases, memory=1000.0))
    assert (decision.origin, decision.value) == ("target", value)


def test_a_planner_with_a_rule_of_its_own(source, own):
    assert decide(source(), own(LitePlanner, cases=1000)).value == 2


def test_a_wider_network_takes_fewer_samples(source, own):
    mine = own(ExperimentPlanner, cases=1000, memory=1.0)
    thin = decide(source(), mine)
    assert thin.why == "your planner takes it for a patch of this size"
    model = source(features=(256, 64, 64, 64))
    wide = decide(model, mine)
    assert 2 < wide.value < thin.value
    assert wide.value == round(SourceNetwork(model).samples((16, 32, 32), mine))
    assert f"fewer samples than the planner's {thin.value}" in wide.why
    assert decide(model, mine, patch=(32, 128, 128)).value == 2
    assert SourceNetwork(model).samples((32, 128, 128), mine) < 1.5


@pytest.mark.parametrize(("wanted", "warned"), [(2, False), (5, True)])
def test_what_the_user_says(source, own, wanted, warned):
    decision = decide(source(features=(32, 32, 32, 32)), own(memory=0.02), wanted=wanted)
    assert (decision.origin, decision.value, decision.warning != "") == ("flag", wanted, warned)


def test_a_network_whose_memory_is_unknown(source, own):
    network = SourceNetwork(source())
    network.network = object()
    decision = decide_batch_size(network, own(), (2.5, 1.0, 1.0), (0, 1, 2), (16, 32, 32))
    assert (decision.origin, decision.value) == ("source", 5)
