"""The sentence under the table."""

from nnunet_ext.cli.setup.demo_report import verdict


def test_the_winner_is_named_whoever_it_is():
    summaries = {"BANetTrainer": {"foreground_mean": {"Dice": 0.7}}, "Control": {"foreground_mean": {"Dice": 0.75}}}
    assert verdict(summaries).startswith("Control is ahead of BANetTrainer by 0.050 mean foreground Dice.")


def test_one_trainer_wins_nothing():
    assert "ahead" not in verdict({"Control": {"foreground_mean": {"Dice": 0.7}}})
