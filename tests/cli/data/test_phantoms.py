"""nnunet_ext phantoms."""

from __future__ import annotations

import json

import pytest

from nnunet_ext.cli.data.phantoms import Phantoms
from nnunet_ext.cli.main import main
from nnunet_ext.data.dataset_check import check_dataset
from nnunet_ext.errors import UserError


@pytest.fixture(autouse=True)
def raw(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    return tmp_path


def test_five_data_sets_that_nnunet_can_read(raw, capsys):
    assert main(["phantoms", "-d", "11"]) == 0
    places = capsys.readouterr().out.split()
    assert [place.rpartition("Dataset0")[2][:2] for place in places] == ["11", "12", "13", "14", "15"]
    for place in sorted(raw.iterdir()):
        check_dataset(place, show_progress=False)
        assert json.loads((place / "dataset.json").read_text())["numTraining"] >= 3
        assert len(list((place / "labelsTs").iterdir())) == 4


def test_data_are_never_written_over(raw):
    (raw / "Dataset903_Mine").mkdir()
    with pytest.raises(UserError, match=r"expected the numbers 901 to 905 to be free, found Dataset903_Mine\."):
        Phantoms.parse([]).run()
    assert [place.name for place in raw.iterdir()] == ["Dataset903_Mine"]


def test_those_that_exist_are_kept(raw, capsys):
    """The README's sections can be tried one after the other."""
    assert main(["phantoms"]) == 0
    written = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in raw.rglob("*.*") if file.is_file()}
    assert main(["phantoms", "--raters"]) == 0
    assert capsys.readouterr().out.count(": exists and is kept\n") == 5
    assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in written} == written
    raters = raw / "Dataset901_Organs" / "labelsTr_raters"
    new = {file for file in raw.rglob("*.*") if file.is_file() and file not in written}
    assert new
    assert new == set(raters.rglob("*.nii.gz"))
    with pytest.raises(UserError, match=r"expected the numbers 901 to 905 to be free, found Dataset901_Organs, "):
        Phantoms.parse(["--wrong_labels"]).run()
    (raw / "Dataset905_Kidney" / "dataset.json").unlink()  # as after an interruption
    with pytest.raises(UserError, match=r"to be free, found .*Dataset905_Kidney\. Choose others with -d\."):
        Phantoms.parse([]).run()


@pytest.mark.parametrize("number", ["0", "996"])
def test_numbers_that_cannot_be(number):
    with pytest.raises(UserError, match=f"expected a number from 1 to 995, got {number}"):
        Phantoms.parse(["-d", number]).run()


@pytest.mark.parametrize(
    ("challenge", "file"),
    [("kits21", "case_00005/imaging.nii.gz"), ("segrap2023", "segrap_0002_b/Larynx_Glottic.nii.gz")],
)
def test_the_folder_of_a_challenge(tmp_path, challenge, file, capsys):
    assert main(["phantoms", "--challenge", challenge, "-o", str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'new'}\n"
    assert (tmp_path / "new" / file).is_file()
    with pytest.raises(
        UserError, match=rf"-o: expected a new folder for the phantoms of {challenge}, got .*new', which"
    ):
        Phantoms.parse(["--challenge", challenge, "-o", str(tmp_path / "new")]).run()
    with pytest.raises(UserError, match=r"-o: expected a new folder .* got none\. Name one with -o\."):
        Phantoms.parse(["--challenge", challenge]).run()


def test_raters_and_wrong_labels(raw, capsys):
    assert main(["phantoms", "-d", "11", "--raters", "--wrong_labels"]) == 0
    dataset = raw / "Dataset011_Organs"
    assert sorted(place.name for place in (dataset / "labelsTr_raters").iterdir()) == ["exact", "generous", "strict"]
    check_dataset(dataset, show_progress=False)
    said = [line for line in capsys.readouterr().out.splitlines() if ".nii.gz: " in line]
    assert [line.rpartition(": ")[2].split()[0] for line in said] == ["mirrored", "shifted", "classes"]
