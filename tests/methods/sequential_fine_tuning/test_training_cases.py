"""Which cases a retention stage trains on: none that it validates on."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.methods.sequential_fine_tuning.buffer import Cases, write_buffer
from nnunet_ext.methods.sequential_fine_tuning.training_cases import TrainingCases


def test_validation_cases_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a buffer with other plans, and of new data that are the earlier data with another fold."""
    own = tmp_path / "Dataset001_X"
    other_plans = own / "Others_3d"
    other_plans.mkdir(parents=True)
    for name in "abc":
        (other_plans / f"{name}.b2nd").touch()
    write_buffer(tmp_path / "buffer.json", other_plans, [("a", 0.0), ("c", 1.0), ("b", 2.0)], 2, {})
    monkeypatch.setenv("BUFFERS", str(tmp_path))
    training, validation = Cases(own / "Plans_3d", ("a", "b")), Cases(own / "Plans_3d", ("c",))
    task = Cases(own / "New_3d", ("b", "c"))
    found = TrainingCases.choose(task, ["$BUFFERS/buffer.json"], training, validation)
    assert found.new == [Cases(own / "New_3d", ("b",))]
    assert found.buffer == [Cases(other_plans, ("a",))]
    assert found.lines() == [
        f"New data: 1 case of {own / 'New_3d'}",
        "New data: 1 case left out, on which this fold validates",
        f"Buffer: 1 case of {other_plans}",
        "Buffer: 1 case left out, on which this fold validates",
    ]
    of_other_dataset = Cases(tmp_path / "Dataset002_Y" / "New_3d", ("b", "c"))
    found = TrainingCases.choose(of_other_dataset, None, training, validation)
    assert (found.new, found.buffer, found.left_out) == ([of_other_dataset], [training], (0, 0))
    with pytest.raises(UserError, match="expected new data that the fold does not validate on, found none"):
        TrainingCases.choose(Cases(own / "New_3d", ("c",)), None, training, validation)


def test_the_fold_all_validates_on_what_it_trains_on(tmp_path: Path) -> None:
    cases = Cases(tmp_path / "Dataset001_X" / "Plans_3d", ("a", "b"))
    found = TrainingCases.choose(cases, None, cases, cases)
    assert (found.new, found.buffer, found.left_out) == ([cases], [cases], (0, 0))


def test_the_hash_is_that_of_the_cases_wherever_they_are() -> None:
    def digest(place: str, *names: str) -> str:
        cases = Cases(Path(place), names)
        return TrainingCases([cases], [Cases(Path("Dataset001_X/Plans_3d"), ("z",))], (0, 0)).digest()

    here = digest("/here/Dataset002_Y/Plans_3d", "a", "b")
    assert digest("/there/Dataset002_Y/Plans_3d", "b", "a") == here
    assert digest("/here/Dataset002_Y/Plans_3d", "a") != here
    assert digest("/here/Dataset003_Y/Plans_3d", "a", "b") != here
