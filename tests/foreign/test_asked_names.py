"""Names in pickles, found without running them."""

from __future__ import annotations

import collections
import io
import pickle

import pytest
from hostile_files import PICKLES

from nnunet_ext.foreign.asked_names import asked_names


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(protocol):
    content = [collections.Counter, collections.OrderedDict, "text", collections.OrderedDict, collections.deque]
    found = asked_names(pickle.dumps(content, protocol=protocol))
    assert found == ["collections.Counter", "collections.OrderedDict", "collections.deque"]


def test_a_module_that_was_named_before():
    """The memo holds it, so that it is not on the stack as text again."""
    pickled = pickle.dumps([collections.Counter, collections.deque], protocol=4)
    assert pickled.count(b"collections") == 1
    assert asked_names(pickled) == ["collections.Counter", "collections.deque"]


def test_inst(tmp_path):
    assert asked_names(PICKLES["INST"][1](tmp_path / "marker")) == ["os.system"]


def test_a_damaged_pickle():
    whole = pickle.dumps([collections.Counter, collections.deque], protocol=2)
    assert asked_names(whole[:30]) == ["collections.Counter"]
    assert asked_names(b"") == []


def test_one_pickle_after_another():
    stream = io.BytesIO(pickle.dumps(collections.Counter) + pickle.dumps(collections.deque))
    assert [asked_names(stream) for _ in range(3)] == [["collections.Counter"], ["collections.deque"], []]
