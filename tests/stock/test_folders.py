"""nnU-Net's folders and plans."""

import json
import os
from pathlib import Path

import pytest

from nnunet_ext.errors import UserError
from nnunet_ext.stock import folders


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in folders.VARIABLES:
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    return tmp_path


@pytest.mark.parametrize("value", [None, ""])
def test_unset_variable(root, monkeypatch, value):
    monkeypatch.delenv("nnUNet_raw") if value is None else monkeypatch.setenv("nnUNet_raw", value)
    with pytest.raises(
        UserError, match=r"^nnUNet_raw: expected a folder, found the variable unset\. export nnUNet_raw="
    ):
        folders.folder("nnUNet_raw")


def test_missing_folder(root):
    (root / "nnUNet_results").rmdir()
    with pytest.raises(UserError, match=r"^nnUNet_results=.*nnUNet_results: expected a folder, found none\. Create it"):
        folders.folder("nnUNet_results")
    assert folders.folder("nnUNet_results", writable=True) == root / "nnUNet_results"


def test_a_file_in_place_of_the_folder(root):
    (root / "nnUNet_results").rmdir()
    (root / "nnUNet_results").write_text("")
    with pytest.raises(
        UserError, match=r"expected a folder that can be written, got 'File exists'\. Correct its permissions"
    ):
        folders.folder("nnUNet_results", writable=True)


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="/proc is Linux's read-only folder")
def test_a_folder_that_cannot_be_written(root, monkeypatch):
    monkeypatch.setenv("nnUNet_results", "/proc")
    with pytest.raises(UserError, match=r"^nnUNet_results=/proc: expected a folder that can be written, got '"):
        folders.folder("nnUNet_results", writable=True)
    assert folders.folder("nnUNet_results") == Path("/proc")


@pytest.mark.parametrize("wanted", [4, "4", "004", "Dataset004_A"])
def test_data_set_by_number_and_name(root, wanted):
    for name in ("Dataset004_A", "Dataset014_B", "Dataset040_C"):
        (root / "nnUNet_raw" / name).mkdir()
    assert folders.dataset("nnUNet_raw", wanted) == root / "nnUNet_raw" / "Dataset004_A"


def test_unknown_data_set(root):
    (root / "nnUNet_raw" / "Dataset004_Liver").mkdir()
    with pytest.raises(
        UserError, match=r"expected dataset 'Dataset004_Livr', found none\. Did you mean 'Dataset004_Liver'"
    ):
        folders.dataset("nnUNet_raw", "Dataset004_Livr")


def test_no_data_set_at_all(root):
    with pytest.raises(UserError, match=r"expected dataset '4', found none\. nnUNet_raw holds no dataset"):
        folders.dataset("nnUNet_raw", 4)


@pytest.mark.parametrize("wanted", [4, "Dataset004_A"])
@pytest.mark.parametrize("others", [(), ("Dataset014_B",)])
def test_a_data_set_that_was_never_planned(root, wanted, others):
    (root / "nnUNet_raw" / "Dataset004_A").mkdir()
    for name in others:
        (root / "nnUNet_preprocessed" / name).mkdir()
    with pytest.raises(UserError, match=r"found none\. Run nnunet_ext plan_and_preprocess -d 4 first\.$"):
        folders.dataset("nnUNet_preprocessed", wanted)
    with pytest.raises(UserError, match=r"found none\. nnUNet_results holds no dataset: correct it or add one\.$"):
        folders.dataset("nnUNet_results", wanted)


def test_two_data_sets_of_one_number(root):
    for name in ("Dataset004_A", "Dataset004_B"):
        (root / "nnUNet_raw" / name).mkdir()
    with pytest.raises(UserError, match=r"one dataset with number 4, found Dataset004_A, Dataset004_B\. Renumber one"):
        folders.dataset("nnUNet_raw", 4)


class TestPlans:
    """Plans of a dataset."""

    @pytest.fixture
    def place(self, root: Path) -> Path:
        place = root / "nnUNet_preprocessed" / "Dataset004_A"
        place.mkdir()
        (place / "splits_final.json").write_text("[]")
        (place / "broken.json").write_text("{")
        return place

    def test_found(self, place):
        plans = {"plans_name": "LitePlans", "configurations": {}}
        (place / "LitePlans.json").write_text(json.dumps(plans))
        assert folders.plans(4, "LitePlans") == plans

    def test_nearest_is_suggested(self, place):
        (place / "LitePlans.json").write_text(json.dumps({"configurations": {}}))
        expected = r"LitPlans.json: expected plans, found no file\. Did you mean 'LitePlans'\? Legal: LitePlans\."
        with pytest.raises(UserError, match=expected):
            folders.plans(4, "LitPlans")

    def test_never_planned(self, place):
        with pytest.raises(UserError, match=r"found no file\. Run nnunet_ext plan_and_preprocess -d 4 first"):
            folders.plans(4, "LitePlans")

    @pytest.mark.parametrize("content", ["[]", "{}", '{"configurations": 3}', '{"configurations": {}}'])
    def test_no_plans_in_the_file(self, place, content):
        (place / "A.json").write_text(content)
        with pytest.raises(
            UserError, match=r"A.json: expected plans with 'plans_name' and 'configurations', found none\."
        ):
            folders.plans(4, "A")

    @pytest.mark.parametrize("content", [b'{"configurations"', b"\x00", b""])
    def test_broken_file(self, place, content):
        (place / "A.json").write_bytes(content)
        with pytest.raises(UserError, match=r"A.json: expected JSON, got .*\. Restore or rewrite the file\."):
            folders.plans(4, "A")


def test_environment_is_untouched(root):
    before = dict(os.environ)
    folders.folder("nnUNet_raw", writable=True)
    assert dict(os.environ) == before
    assert list((root / "nnUNet_raw").iterdir()) == []
