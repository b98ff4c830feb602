"""Files inside of nnUNet_raw are named relative to a data set's folder, others absolutely."""

from nnunet_ext.files.reference import reference


def test_inside(tmp_path):
    file = tmp_path / "raw" / "Dataset003_Liver" / "imagesTr" / "a_0000.nii.gz"
    assert reference(file, tmp_path / "raw") == "../Dataset003_Liver/imagesTr/a_0000.nii.gz"


def test_inside_by_a_detour(tmp_path):
    file = tmp_path / "raw" / "Dataset004_Other" / ".." / "Dataset003_Liver" / "a.nii.gz"
    assert reference(file, tmp_path / "elsewhere" / ".." / "raw") == "../Dataset003_Liver/a.nii.gz"


def test_outside(tmp_path):
    assert reference(tmp_path / "rawer" / "a.nii.gz", tmp_path / "raw") == str(tmp_path / "rawer" / "a.nii.gz")


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path.relative_to(tmp_path) / "raw" / "Dataset003_Liver" / "a.nii.gz"
    assert reference(file, tmp_path / "raw") == "../Dataset003_Liver/a.nii.gz"


def test_a_link_is_named_by_its_own_place(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "Dataset003_Liver").symlink_to(tmp_path / "far")
    file = tmp_path / "raw" / "Dataset003_Liver" / "a.nii.gz"
    assert reference(file, tmp_path / "raw") == "../Dataset003_Liver/a.nii.gz"
