"""Checkpoints of somebody else: hostile ones are refused in one line, and those of nnU-Net are read."""

from __future__ import annotations

import pickle
import tracemalloc
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_files import PICKLES, lying, torch_legacy, torch_zip
from torch import nn

from nnunet_ext.errors import UserError
from nnunet_ext.foreign.checkpoint import read_foreign_checkpoint

PLAN = {"plans_name": "nnUNetPlans", "configurations": {"2d": {"spacing": [1.0, 0.5], "patch_size": [64, 64]}}}
V2 = {
    "network_weights": OrderedDict(w=torch.arange(6.0).reshape(2, 3)),
    "grad_scaler_state": {"scale": 65536.0, "growth_tracker": 0},
    "logging": {
        "mean_fg_dice": [np.float64(0.5), np.nan],
        "ema_fg_dice": [np.float64(0.5)],
        "dice_per_class_or_region": [[np.float32(0.25), np.float64(0.75)]],
        "train_losses": [np.float32(-0.5)],
        "lrs": [0.01],
        "epoch_end_timestamps": [1.5e9],
    },
    "_best_ema": np.float64(0.5),
    "current_epoch": 1,
    "init_args": {"plans": PLAN, "configuration": "2d", "fold": 0, "dataset_json": {}, "device": torch.device("cpu")},
    "trainer_name": "nnUNetTrainer",
    "inference_allowed_mirroring_axes": (0, 1),
    "nnunet_ext": {"teacher": OrderedDict(w=torch.zeros(3)), "predicted_by": None, "first_weights": {}},
}
V1 = {
    "epoch": 1000,
    "state_dict": OrderedDict(w=torch.arange(6.0)),
    "lr_scheduler_state_dict": None,
    "plot_stuff": ([np.float64(1.0)], [np.array(0.5)], [], [np.arange(3.0), np.array([], np.float32)]),
    "best_stuff": (np.float64(0.5), 0.5, None),
    "amp_grad_scaler": {"scale": 1.0},
}


def same(found: Any, expected: Any) -> bool:
    """Whether both hold the same, also in types, but that arrays are of a subclass."""
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list | tuple):
        return type(found) is type(expected) and all(map(same, found, expected)) and len(found) == len(expected)
    if isinstance(expected, torch.Tensor):
        return torch.equal(found, expected) and found.dtype == expected.dtype
    if isinstance(expected, np.ndarray):
        return isinstance(found, np.ndarray) and found.dtype == expected.dtype and np.array_equal(found, expected)
    return type(found) is type(expected) and (found == expected or (found != found and expected != expected))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """The file that hostile ones would write."""
    return tmp_path / "marker"


def refusal(file: Path) -> str:
    """The line of the refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError) as caught:
            read_foreign_checkpoint(file)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{file}: expected ")
    return line


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("content", [V2, V1], ids=["v2", "v1"])
def test_checkpoints_of_nnunet(tmp_path, content, legacy):
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    assert same(read_foreign_checkpoint(tmp_path / "a.pth"), content)
    assert same(read_foreign_checkpoint(tmp_path / "a.pth", trust=True), content)


def test_an_optimizer_and_shared_weights(tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.zeros(2, 1, 4, 4)).sum().backward()
    optimizer.step()
    weights = network.state_dict()
    content = {"network_weights": weights | {"alias": weights["0.weight"]}, "optimizer_state": optimizer.state_dict()}
    torch.save(content, tmp_path / "a.pth")
    found = read_foreign_checkpoint(tmp_path / "a.pth")
    assert same(found["optimizer_state"], content["optimizer_state"])
    assert found["network_weights"]["alias"].data_ptr() == found["network_weights"]["0.weight"].data_ptr()


def test_numpy_of_all_versions(tmp_path):
    """The module has been renamed in numpy 2, in pickles too."""
    values = {"a": np.float64(0.25), "b": np.arange(3, dtype=np.int16), "c": np.str_("text"), "d": np.bool_(True)}
    pickled = pickle.dumps(values, protocol=2)
    other = pickled.replace(b"numpy._core.", b"numpy.core.")
    assert other != pickled
    for each in (pickled, other):
        assert same(read_foreign_checkpoint(torch_zip(tmp_path / "a.pth", each)), values)


def test_an_array_that_was_read_is_saved_as_an_ordinary_one(tmp_path):
    torch.save({"a": np.asfortranarray(np.arange(6.0).reshape(2, 3))}, tmp_path / "a.pth")
    found = read_foreign_checkpoint(tmp_path / "a.pth")
    torch.save(found, tmp_path / "b.pth")
    again = torch.load(tmp_path / "b.pth", weights_only=False)["a"]
    assert type(again) is np.ndarray
    assert again.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert again.flags.f_contiguous


@pytest.mark.parametrize("name", PICKLES)
def test_payloads_work(marker, name):
    """Else no test here would show anything."""
    result = pickle.loads(PICKLES[name][1](marker))
    if name == "NEWOBJ":
        result.wait()
    assert marker.exists()


@pytest.mark.parametrize("wrap", [torch_zip, torch_legacy])
@pytest.mark.parametrize("name", PICKLES)
def test_hostile_pickles(tmp_path, marker, name, wrap):
    asked, pickled = PICKLES[name]
    line = refusal(wrap(tmp_path / "a.pth", pickled(marker)))
    assert f"expected only weights, numbers and text, but it asks for {asked}" in line
    assert "which may run code. Only if you know who made the file, add --trust" in line
    assert not marker.exists()


@pytest.mark.parametrize("wrap", [torch_zip, torch_legacy])
def test_trust(tmp_path, marker, wrap):
    read_foreign_checkpoint(wrap(tmp_path / "a.pth", PICKLES["eval"][1](marker)), trust=True)
    assert marker.exists()


def test_nothing_stays_admitted(tmp_path):
    torch.save({"a": np.float64(1)}, tmp_path / "a.pth")
    before = set(torch.serialization.get_safe_globals())
    read_foreign_checkpoint(tmp_path / "a.pth")
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError, match="scalar was not an allowed global"):
        torch.load(tmp_path / "a.pth", weights_only=True)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("size", "stride", "start"),
    [((1000,), (1,), 0), ((2,), (1,), 3), ((-1,), (1,), 0), ((2,), (-1,), 1), ((2**36,), (1,), 0), ((2**62,), (4,), 0)],
)
def test_a_tensor_with_fewer_numbers_than_its_shape(tmp_path, size, stride, start, legacy):
    assert "expected an intact checkpoint, but it cannot be read" in refusal(
        lying(tmp_path / "a.pth", size, stride, start=start, legacy=legacy)
    )


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(("size", "stride"), [((2**40,), (0,)), ((2, 3), (1, 1)), ((5,), (0,))])
def test_a_tensor_that_shows_its_numbers_more_than_once(tmp_path, size, stride, legacy):
    """A copy of it would have as many numbers as it shows."""
    line = refusal(lying(tmp_path / "a.pth", size, stride, legacy=legacy))
    assert f"found one of shape {size} with 4 numbers: 'liar'. Do not use this file." in line


def test_a_storage_that_reaches_into_others(tmp_path):
    torch.save({"liar": torch.arange(4.0), "other": torch.arange(50.0)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        pickled = archive.read("a/data.pkl")
        rest = {name: archive.read(name) for name in archive.namelist()}
    four, more = b"K\x04tq\x07Q", b"K\x08tq\x07Q"
    assert four in pickled
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        for name, content in (rest | {"a/data.pkl": pickled.replace(four, more)}).items():
            archive.writestr(name, content)
    assert "found one of 32 bytes, which the file does not hold: 'liar'" in refusal(tmp_path / "b.pth")


@pytest.mark.parametrize(
    "made",
    [
        b"\x80\x02}" + b"X\x01\x00\x00\x00w" + b"ctorch\nFloatTensor\n" + b"J\x00\x00\x10\x00\x85R" + b"s.",
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_meta_tensor_no_storage\n(ctorch\nfloat32\nK\x01\x85K\x01\x85\x89tRs.",
    ],
    ids=["not stored", "meta"],
)
def test_a_tensor_that_is_not_in_the_file(tmp_path, made):
    assert ": expected tensors whose numbers are in the file, found " in refusal(torch_zip(tmp_path / "a.pth", made))
    assert "'w'. Do not use this file." in refusal(torch_legacy(tmp_path / "b.pth", made))


def test_compressed_records(tmp_path):
    pickled = pickle.dumps({"a": "0" * 1000}, 2)
    assert "found 'archive/data.pkl' compressed" in refusal(torch_zip(tmp_path / "a.pth", pickled, compressed=True))


def test_records_that_say_they_are_more_than_the_file(tmp_path):
    file = torch_zip(tmp_path / "a.pth", pickle.dumps({}, 2))
    content = bytearray(file.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 20 : directory + 28] = (10**9).to_bytes(4, "little") * 2  # compressed and not
    file.write_bytes(content)
    assert "bytes in a file of" in refusal(file)


def test_an_encrypted_record(tmp_path):
    file = torch_zip(tmp_path / "a.pth", pickle.dumps({}, 2))
    content = bytearray(file.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(content)
    assert " encrypted. Do not use this file." in refusal(file)


def test_containers_in_keys(tmp_path):
    """Of a dictionary, keys are looked at, too."""
    torch.save({("key", torch.zeros(2).to_sparse()): 1}, tmp_path / "a.pth")
    assert "found a torch.sparse_coo one on cpu" in refusal(tmp_path / "a.pth")


def test_a_record_twice(tmp_path):
    file = torch_zip(tmp_path / "a.pth", pickle.dumps({}, 2))
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("archive/data.pkl", pickle.dumps([], 2))
    assert "found 'archive/data.pkl' twice" in refusal(file)


def test_containers_without_end(tmp_path):
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    torch.save({"deep": deep}, tmp_path / "a.pth")
    assert "expected at most 100 containers in one another, found more, in 'deep'" in refusal(tmp_path / "a.pth")
    wide: list[Any] = []
    for _ in range(60):
        wide = [wide, wide]  # 2**60 if each is looked at again
    torch.save({"wide": wide}, tmp_path / "b.pth")
    read_foreign_checkpoint(tmp_path / "b.pth")


@pytest.mark.parametrize("content", [b"", b"cut", b"PK\x03\x04", b"\x80\x02.", b"text\n", b"\x80\x02}q"])
def test_damaged_files(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    assert "expected an intact checkpoint, but it cannot be read (" in refusal(tmp_path / "a.pth")


def test_no_file(tmp_path):
    assert "but it cannot be read ([Errno 2]" in refusal(tmp_path / "a.pth")


def test_trusted_files_of_packages_that_are_not_there(tmp_path):
    pickled = b"\x80\x02cpackage_of_nobody\nClass\n."
    with pytest.raises(UserError, match=r"expected the packages that it was written with, got .*package_of_nobody"):
        read_foreign_checkpoint(torch_zip(tmp_path / "a.pth", pickled), trust=True)
    (tmp_path / "b.pth").write_bytes(b"cut")
    with pytest.raises(UserError, match="expected an intact checkpoint"):
        read_foreign_checkpoint(tmp_path / "b.pth", trust=True)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_another_protocol_of_pickle(tmp_path, protocol, legacy):
    """An honest file, which torch reads only with trust (or, of protocol 3, in both ways)."""
    content = {"network_weights": OrderedDict(w=torch.arange(4.0)), "trainer_name": "A"}
    file = tmp_path / "a.pth"
    torch.save(content, file, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    assert same(read_foreign_checkpoint(file, trust=True), content)
    if protocol == 3:
        assert same(read_foreign_checkpoint(file), content)
        return
    line = refusal(file)
    assert "expected a pickle of torch.save's default form, found one of another protocol (Unsupported operand" in line
    assert "add --trust, or write a copy without it: nnunet_ext inspect FILE --trust" in line


def test_the_reason_of_torch_is_told(tmp_path):
    line = refusal(torch_zip(tmp_path / "a.pth", b"\x80\x02}\xf0."))
    assert "cannot be read (Unsupported operand 240). Copy it again" in line


@pytest.mark.parametrize("wrap", [torch_zip, torch_legacy])
@pytest.mark.parametrize("module", ["builtins", "__builtin__"])
def test_a_number_that_would_fill_the_memory(tmp_path, module, wrap):
    """torch itself calls bytearray, with any number; here 256 MiB."""
    pickled = b"\x80\x02c" + module.encode() + b"\nbytearray\n\x8a\x08" + (2**28).to_bytes(8, "little") + b"\x85R."
    tracemalloc.start()
    line = refusal(wrap(tmp_path / "a.pth", pickled))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "it asks for builtins.bytearray, which may " in line
    assert peak < 2**24


def test_a_pickle_under_another_spelling(tmp_path):
    """To torch's reader, upper and lower case are one."""
    file = torch_zip(tmp_path / "a.pth", b"\x80\x02cbuiltins\nbytearray\nK\x01\x85R.")
    file.write_bytes(file.read_bytes().replace(b"/data.pkl", b"/DATA.pkl"))
    assert "it asks for builtins.bytearray, which may fill the memory" in refusal(file)


def test_a_damaged_pickle_that_torch_does_not_read(tmp_path):
    """Its checksum is wrong, so that what else it asks for cannot be told."""
    file = torch_zip(tmp_path / "a.pth", b"\x80\x02}(\xf0XYZ.")
    file.write_bytes(file.read_bytes().replace(b"XYZ", b"XYA"))
    assert "cannot be read (Unsupported operand 240)" in refusal(file)


@pytest.mark.parametrize("wrap", [torch_zip, torch_legacy])
@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02K\x01(K\x01K\x02u.",  # SETITEMS of a number
        b"\x80\x02K\x01K\x02a.",  # APPEND to a number
        b"\x80\x02ccollections\nOrderedDict\n)RK\x01b.",  # BUILD with a number
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00)))NtR.",
    ],
)
def test_pickles_that_make_no_sense(tmp_path, pickled, wrap):
    assert "expected an intact checkpoint, but it cannot be read (" in refusal(wrap(tmp_path / "a.pth", pickled))
