"""Preprocessing waits for no training and spoils none: it is refused, and so is a training on data in the making."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from data_holder import ALONE, HOLD, USE, data_holder

from nnunet_ext.data.preprocessed import use as module
from nnunet_ext.data.preprocessed.use import data_alone, release_data, use_data
from nnunet_ext.errors import UserError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "Dataset901_Phantom" / "nnUNetPlans_3d_fullres"


@pytest.fixture(autouse=True)
def _made(data: Path) -> None:
    data.mkdir(parents=True)


def left(data: Path) -> list[str]:
    return sorted(path.name for path in data.parent.iterdir() if path != data)


def test_no_preprocessing_under_a_training(data):
    with (
        data_holder(data, USE),
        pytest.raises(UserError, match=rf"^{data}: expected data that nobody uses, found a training on them"),
        data_alone(data),
    ):
        pass
    with data_alone(data):
        assert left(data) == [f".{data.name}.in_use"]
    assert left(data) == []


def test_no_training_while_data_are_made(data):
    with (
        data_holder(data, ALONE),
        pytest.raises(UserError, match=rf"^{data}: expected data that nobody changes, found"),
    ):
        use_data(data)
    assert left(data) == []


def test_a_lock_that_its_last_user_removes_just_now(data, monkeypatch):
    """Between opening the file and locking it: whoever comes later would make a new one."""
    file, lock, times = data.parent / f".{data.name}.in_use", module._try_lock, []

    def removed_before(descriptor: int, *, shared: bool) -> bool:
        times.append(shared)
        if len(times) == 1:
            file.unlink()
        return lock(descriptor, shared=shared)

    monkeypatch.setattr(module, "_try_lock", removed_before)
    with data_alone(data):
        assert times == [False, False]
        assert file.is_file()


def test_no_two_preprocessings(data):
    with data_holder(data, ALONE), pytest.raises(UserError), data_alone(data):
        pass


def test_trainings_share_data_and_the_last_one_tidies_up(data):
    with data_holder(data, USE), data_holder(data, USE):
        pass
    assert left(data) == []
    with data_holder(data, USE) as one:
        with data_holder(data, USE):
            pass
        assert left(data) == [f".{data.name}.in_use"]
        assert one.poll() is None
        with pytest.raises(UserError), data_alone(data):
            pass
    assert left(data) == []


@pytest.mark.parametrize("how", [USE, ALONE])
def test_a_killed_process_keeps_nobody_away(data, how):
    with data_holder(data, how) as process:
        process.kill()
        process.wait()
        assert left(data) == [f".{data.name}.in_use"]
        with data_alone(data), data_alone(data):  # also within itself
            pass
    assert left(data) == []


def test_what_a_killed_process_left_is_removed_by_the_next_one_in_the_folder(data):
    other, third = (data.with_name(f"{data.name}_{name}") for name in ("unlabelled", "others"))
    with data_holder(other, USE) as killed:
        killed.kill()
        killed.wait()
    with data_holder(third, USE), data_alone(data.with_name("2d")):
        use_data(data)
        assert len(left(data)) == 4
        release_data()
        assert left(data) == sorted(f".{name}.in_use" for name in ("2d", third.name))
    assert left(data) == []


def test_a_process_may_preprocess_what_it_trains_on(data):
    release_data()  # that of other tests
    use_data(data)
    with data_alone(data):
        pass
    with data_holder(data, USE):
        use_data(data)
    with pytest.raises(subprocess.CalledProcessError):  # still held
        subprocess.run([sys.executable, "-c", HOLD.format(ALONE), str(data)], check=True, stderr=subprocess.DEVNULL)
    release_data()
    with data_holder(data, ALONE):
        pass
    assert left(data) == []


def test_a_folder_that_is_not_there(data):
    use_data(data.parent / "gone" / "data")
    with data_alone(data.parent / "gone" / "data"):
        pass


def only_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files be opened to read only, as another user's are."""
    opened = os.open

    def refuse(file: Path, flags: int, *mode: int) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)


def test_two_users_share_data(data, monkeypatch):
    with data_holder(data, USE):
        assert (data.parent / f".{data.name}.in_use").stat().st_mode & 0o777 == 0o666
        only_read(monkeypatch)
        use_data(data)
        release_data()
        assert left(data) == [f".{data.name}.in_use"]  # the other user's
        use_data(data)
    monkeypatch.undo()
    with pytest.raises(subprocess.CalledProcessError):  # still held
        subprocess.run([sys.executable, "-c", HOLD.format(ALONE), str(data)], check=True, stderr=subprocess.DEVNULL)
    release_data()
    with data_alone(data):  # the file is still there, and keeps nobody away
        pass
    assert left(data) == []


def test_a_folder_that_can_only_be_read(data, monkeypatch):
    only_read(monkeypatch)
    use_data(data)
    with data_alone(data):
        pass
    assert left(data) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_holds_nothing(data):
    use_data(data)
    child = multiprocessing.get_context("fork").Process(target=use_data, args=(data,))
    child.start()
    child.join()
    assert child.exitcode == 0
    with pytest.raises(subprocess.CalledProcessError):  # the child's end has released nothing
        subprocess.run([sys.executable, "-c", HOLD.format(ALONE), str(data)], check=True, stderr=subprocess.DEVNULL)
    release_data()
    assert left(data) == []
