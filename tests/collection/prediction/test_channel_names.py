"""Tasks whose images are of another kind."""

import pytest

from nnunet_ext.collection.prediction.channel_names import differing_channel_names

CT, MRI = {"channel_names": {"0": "CT"}}, {"channel_names": {"0": "T1"}}


@pytest.mark.parametrize("descriptions", [{}, {"a": CT}, {"a": CT, "b": CT}, {"a": CT, "b": {"modality": {"0": "ct"}}}])
def test_one_kind(descriptions):
    assert differing_channel_names(descriptions) is None


def test_two_kinds():
    told = differing_channel_names({"liver": CT, "heart": MRI, "spleen": CT})
    assert told is not None
    assert told.startswith(
        "WARNING: the tasks expect images with different channels: CT for liver, spleen; T1 for heart."
    )
    assert "\n" not in told


def test_the_order_of_channels_counts():
    one, other = {"0": "T1", "1": "T2", "10": "FLAIR"}, {"0": "T2", "1": "T1", "10": "FLAIR"}
    told = differing_channel_names({"a": {"channel_names": one}, "b": {"channel_names": other}})
    assert told is not None
    assert "T1, T2, FLAIR for a; T2, T1, FLAIR for b" in told
