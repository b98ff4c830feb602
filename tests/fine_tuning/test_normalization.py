"""Channels of the same name are normalized as the weights expect, others as the data's planner says."""

import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.normalization import decide_normalization, match_channels

CT, Z = "CTNormalization", "ZScoreNormalization"


def decide(source, own, wanted=None):
    found = decide_normalization(source, own, own.plans["configurations"]["3d_fullres"], wanted)
    assert [channel.decision.value["scheme"] for channel in found] == [channel.scheme for channel in found]
    return found


def summary(channels):
    return [(each.scheme, each.mask, each.intensities.get("mean"), each.decision.origin) for each in channels]


def test_ct_in_both_keeps_the_numbers_of_the_source(source, own):
    (channel,) = decide(source(), own(mean=777.0))
    assert summary([channel]) == [(CT, False, 50.0, "source")]
    assert channel.decision.shown == "CT -100 to 300, mean 50, std 20"
    assert channel.decision.value["intensities"]["std"] == 20.0


def test_channels_are_matched_by_name(source, own):
    model = source(channels=("T2", "ct"), schemes=(Z, CT))
    mine = own(channels=("CT", "PET", "T2"), mean=777.0)
    assert summary(decide(model, mine)) == [
        (CT, False, 50.0, "source"),
        (Z, False, 777.0, "target"),
        (Z, False, 777.0, "both"),
    ]


@pytest.mark.parametrize("name", ["MR", "T1"])
def test_another_modality_is_normalized_as_the_data(source, own, name):
    assert summary(decide(source(), own(channels=(name,), mean=777.0))) == [(Z, False, 777.0, "target")]
    assert summary(decide(source(channels=(name,), schemes=(Z,)), own_again(own))) == [(CT, False, 777.0, "target")]


def own_again(own):
    import shutil
    from pathlib import Path

    import nnunetv2.paths as paths

    for place in (paths.nnUNet_raw, paths.nnUNet_preprocessed):
        shutil.rmtree(Path(str(place)))
    return own(mean=777.0)


def test_channels_without_names_must_have_the_same_scheme(source, own):
    """A source of CT whose dataset.json is lost, and data of T2: no CT window for MR."""
    unnamed = source(channels=None)
    (channel,) = decide(unnamed, own(channels=("T2",), mean=777.0))
    assert summary([channel]) == [(Z, False, 777.0, "target")]
    why = "the source does not name its channels, and CTNormalization of its own is another scheme"
    assert channel.decision.why == why
    assert channel.decision.warning == f"normalization of 'T2': {why}; --normalization source takes it"
    mine = own_again(own)
    (channel,) = decide(unnamed, mine)
    assert (summary([channel]), channel.decision.warning) == ([(CT, False, 50.0, "source")], "")
    masked = source(channels=None, schemes=(CT,), masks=(True,))
    assert summary(decide(masked, mine)) == [(CT, True, 50.0, "source")]
    two = source(channels=None, schemes=(CT, CT))
    (channel,) = decide(two, mine)
    assert (channel.decision.origin, channel.decision.why) == ("target", "the source has another number of them")


@pytest.mark.parametrize(("wanted", "expected"), [("source", CT), ("target", Z)])
def test_channels_without_names_as_the_user_says(source, own, wanted, expected):
    (channel,) = decide(source(channels=None), own(channels=("T2",)), wanted)
    assert (channel.scheme, channel.decision.warning) == (expected, "")


def test_a_scheme_or_mask_of_its_own_is_kept(source, own):
    mine = own(channels=("T1",))
    assert summary(decide(source(channels=("T1",), schemes=("RescaleTo01Normalization",)), mine))[0][::3] == (
        "RescaleTo01Normalization",
        "source",
    )
    (channel,) = decide(source(channels=("T1",), schemes=(Z,), masks=(True,)), mine)
    assert (channel.mask, channel.decision.origin) == (True, "source")
    assert channel.decision.shown == "ZScore of voxels that are not zero"


def test_what_the_user_says(source, own):
    mine = own(channels=("CT", "T1"), mean=777.0)
    model = source(channels=("PET", "CT"), schemes=("RescaleTo01Normalization", CT))
    assert summary(decide(model, mine, "target")) == [(CT, False, 777.0, "flag"), (Z, False, 777.0, "flag")]
    assert summary(decide(model, mine, "source")) == [
        (CT, False, 50.0, "flag"),
        ("RescaleTo01Normalization", False, 50.0, "flag"),
    ]
    with pytest.raises(UserError, match=r"--normalization source: .* each of CT, T1, found 1 \(CT\)"):
        decide(source(), mine, "source")


@pytest.mark.parametrize(
    ("theirs", "mine", "number", "expected"),
    [
        (["CT", "CT"], ["CT", "ct", "CT"], 2, [0, 1, None]),
        (["a", "b"], ["b", "a"], 2, [1, 0]),
        (None, ["x", "y"], 2, [0, 1]),
        (None, ["x", "y"], 1, [None, None]),
    ],
)
def test_matches(theirs, mine, number, expected):
    assert match_channels(theirs, mine, number) == expected


def test_a_pre_training_of_one_channel_is_one_for_every_channel(pretrained, own):
    mine = own(channels=("T1", "CT"))
    one, ct = decide(pretrained(use_mask_for_norm=[True]), mine)
    assert summary([one, ct]) == [(Z, True, 100.0, "source"), (CT, False, 100.0, "target")]
    assert "ZScoreNormalization of its own is another scheme; --normalization source takes it" in ct.decision.warning
    assert [each.scheme for each in decide(pretrained(), mine, "source")] == [Z, Z]
    assert decide(pretrained(), mine)[0].decision.origin == "both"
