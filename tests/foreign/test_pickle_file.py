"""Pickles of somebody else: v1's plans are read, hostile files refused."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hostile_files import PICKLES

from nnunet_ext.errors import UserError
from nnunet_ext.foreign import pickle_file
from nnunet_ext.foreign.pickle_file import read_foreign_pickle

PLANS = {
    "num_stages": 1,
    "num_modalities": 1,
    "modalities": {0: "CT"},
    "normalization_schemes": OrderedDict([(0, "CT")]),
    "all_classes": [1, 2],
    "plans_per_stage": {
        0: {
            "batch_size": 2,
            "patch_size": np.array([48, 192, 192]),
            "current_spacing": np.array([3.0, 0.8, 0.8]),
            "do_dummy_2D_data_aug": np.bool_(True),
            "pool_op_kernel_sizes": [[1, 2, 2], [2, 2, 2]],
        }
    },
    "dataset_properties": {"intensityproperties": OrderedDict([(0, {"mean": np.float32(1.5), "v": np.arange(9.0)})])},
    "keep_only_largest_region": None,
    "use_mask_for_norm": OrderedDict([(0, False)]),
    "some_set": {1, 2},
    "raw": b"\x00\xff",
    "nothing": b"",
}


def refusal(file: Path) -> str:
    """The line of the refusal."""
    with pytest.raises(UserError) as caught:
        read_foreign_pickle(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plans_of_v1(tmp_path, protocol):
    (tmp_path / "plans.pkl").write_bytes(pickle.dumps(PLANS, protocol=protocol))
    found = read_foreign_pickle(tmp_path / "plans.pkl")
    np.testing.assert_equal(found, PLANS)
    stage = found["plans_per_stage"][0]
    assert type(stage["do_dummy_2D_data_aug"]) is np.bool_
    assert stage["patch_size"].dtype == np.int64
    assert type(found["normalization_schemes"]) is OrderedDict


@pytest.mark.parametrize("name", PICKLES)
def test_hostile_pickles(tmp_path, name):
    marker = tmp_path / "marker"
    asked, pickled = PICKLES[name]
    (tmp_path / "plans.pkl").write_bytes(pickled(marker))
    line = refusal(tmp_path / "plans.pkl")
    assert f"plans.pkl: expected only numbers and text, but it asks for {asked}" in line
    assert not marker.exists()


def test_a_nested_name(tmp_path):
    """Protocol 4 finds ``collections.OrderedDict.fromkeys``, and so ``collections.abc.sys.modules``."""
    pickled = b"\x80\x04\x8c\x0bcollections\x8c\x14_sys.modules.__len__\x93)R."
    assert isinstance(pickle.loads(pickled), int)
    (tmp_path / "a.pkl").write_bytes(pickled)
    assert "asks for collections._sys.modules.__len__, which may run code" in refusal(tmp_path / "a.pkl")


def test_an_object_outside(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"Pthere\n.")
    assert "asks for an object outside of the file, 'there'" in refusal(tmp_path / "a.pkl")


def test_a_table_without_end(tmp_path):
    """LONG_BINPUT makes Python keep a table of that length: 64 GB."""
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02]r\xff\xff\xff\xff.")
    assert "cannot be read (LONG_BINPUT 4294967295 in 9 bytes)" in refusal(tmp_path / "a.pkl")


def test_a_large_file(tmp_path, monkeypatch):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(PLANS))
    monkeypatch.setattr(pickle_file, "MOST_BYTES", 100)
    assert "expected a pickle of at most 100 bytes, found" in refusal(tmp_path / "a.pkl")
    os.truncate(tmp_path / "a.pkl", 100)
    assert "expected an intact pickle" in refusal(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    "content",
    [b"", b"no pickle", b"\x80\x02}q", b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."],
)
def test_damaged_files(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    assert "expected an intact pickle, but it cannot be read (" in refusal(tmp_path / "a.pkl")


def test_no_file(tmp_path):
    assert "cannot be read ([Errno 2]" in refusal(tmp_path / "a.pkl")


def test_trust(tmp_path):
    (tmp_path / "a.pkl").write_bytes(PICKLES["eval"][1](tmp_path / "marker"))
    read_foreign_pickle(tmp_path / "a.pkl", trust=True)
    assert (tmp_path / "marker").exists()
