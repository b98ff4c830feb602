"""Unlabelled images are preprocessed as labelled ones, apart from them, only where something is missing or stale."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import blosc2
import nibabel
import numpy as np
import pytest
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_ext.data.preprocessed import data_beside
from nnunet_ext.errors import UserError
from nnunet_ext.phantoms.dataset import write_nifti, write_phantom_dataset
from nnunet_ext.semi_supervised import preprocessing
from nnunet_ext.semi_supervised.preprocessed_images import UnlabelledData
from nnunet_ext.semi_supervised.preprocessing import check_unlabelled, preprocess_unlabelled, unlabelled_folder

CONFIGURATION = "3d_fullres"
SHAPE, SPACING = (10, 20, 18), (2.5, 1.0, 1.0)
RESAMPLING = {f"resampling_fn_{kind}": "resample_data_or_seg_to_shape" for kind in ("data", "seg", "probabilities")} | {
    f"resampling_fn_{kind}_kwargs": {"is_seg": kind == "seg", "order": 1, "order_z": 0, "force_separate_z": None}
    for kind in ("data", "seg", "probabilities")
}


def configuration(name: str, spacing: list[float], patch_size: list[int]) -> dict:
    return {
        "data_identifier": f"LitePlans_{name}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": patch_size,
        "spacing": spacing,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {"network_class_name": "", "arch_kwargs": {}, "_kw_requires_import": []},
    } | RESAMPLING


PLANS = {
    "dataset_name": "Dataset007_P",
    "plans_name": "LitePlans",
    "image_reader_writer": "SimpleITKIO",
    "label_manager": "LabelManager",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "foreground_intensity_properties_per_channel": {"0": {"mean": 1.0}},
    "configurations": {
        CONFIGURATION: configuration(CONFIGURATION, [2.5, 1.25, 1.25], [8, 8, 8]),
        "2d": configuration("2d", [1.25, 1.25], [8, 8]),
        "3d_bs9": {"inherits_from": CONFIGURATION, "batch_size": 9},
        "3d_cascade_fullres": {"inherits_from": CONFIGURATION, "previous_stage": "3d_lowres"},
    },
}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Write a raw dataset and what planning leaves in its preprocessed folder; return both folders."""

    def write(**modes: bool) -> tuple[Path, Path]:
        settings: dict = {"cases": 1, "unlabelled": 3, "shape": SHAPE, "spacing": SPACING}
        raw = write_phantom_dataset(tmp_path / "raw", "Dataset007_P", **settings, **modes)
        folder = tmp_path / "preprocessed" / "Dataset007_P"
        folder.mkdir(parents=True)
        shutil.copy(raw / "dataset.json", folder)
        return raw, folder

    return write


@pytest.fixture
def places(make: Callable[..., tuple[Path, Path]]) -> tuple[Path, Path]:
    """The two folders of a dataset with labels."""
    return make()


@pytest.fixture
def done(places: tuple[Path, Path]) -> tuple[Path, Path]:
    """The same, preprocessed."""
    run(places)
    return places


def run(places: tuple[Path, Path], *configurations: str, plans: dict = PLANS, **options: object) -> list[str]:
    """Preprocess; return the cases that were."""
    settings: dict = {"progress": False} | options
    written = []
    write = UnlabelledData.write
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(
            UnlabelledData, "write", lambda data, case: (written.append(case.name), write(data, case))[1]
        )
        preprocess_unlabelled(*places, plans, *configurations or (CONFIGURATION,), **settings)
    return written


def changed(**settings: object) -> dict:
    plans = json.loads(json.dumps(PLANS))
    plans["configurations"][CONFIGURATION] |= settings
    return plans


def problem(places: tuple[Path, Path], plans: dict = PLANS) -> str:
    with pytest.raises(UserError) as caught:
        check_unlabelled(places[1], plans, CONFIGURATION)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(
        f"{places[1] / 'LitePlans_3d_fullres_unlabelled'}: expected preprocessed unlabelled images of plans "
    )
    assert text.endswith("Run nnunet_ext preprocess_unlabelled -d 7 -p LitePlans -c 3d_fullres")
    return text


def names(number: int = 3) -> list[str]:
    return [f"unlabelled_{index:03d}" for index in range(number)]


def array(file: Path) -> np.ndarray:
    return blosc2.open(str(file), mode="r")[:]


@pytest.mark.parametrize("stock_resampling", [False, True], ids=["our resampling", "stock resampling"])
@pytest.mark.parametrize("name", [CONFIGURATION, "2d"])
def test_as_the_stock_preprocessor_would(places, name, stock_resampling):
    raw, folder = places
    said: list[str] = []
    assert run(places, name, stock_resampling=stock_resampling, say=said.append) == names()
    by = "nnU-Net, as asked" if stock_resampling else "nnunet_ext"
    assert said == [f"{name}: unlabelled images are resampled by {by}"]
    assert check_unlabelled(folder, PLANS, name) == names()
    place = unlabelled_folder(folder, PLANS, name)
    assert place == folder / f"LitePlans_{name}_unlabelled"
    assert sorted(file.name for file in place.iterdir()) == sorted(
        f"{case}{ending}" for case in names() for ending in (".b2nd", "_seg.b2nd", ".pkl")
    )
    manager = PlansManager(PLANS)
    data, seg, properties = DefaultPreprocessor(verbose=False).run_case(
        [str(raw / "imagesUn" / "unlabelled_002_0000.nii.gz")],
        None,
        manager,
        manager.get_configuration(name),
        json.loads((raw / "dataset.json").read_text()),
    )
    found = array(place / "unlabelled_002.b2nd")
    assert np.array_equal(found, data) is stock_resampling  # ours differs in its rounding
    assert np.abs(found - data).max() <= 5e-6 * np.ptp(data)
    assert np.array_equal(array(place / "unlabelled_002_seg.b2nd"), seg)
    found = load_pickle(str(place / "unlabelled_002.pkl"))
    assert found.pop("class_locations") == {1: [], 2: [], 3: []}
    assert sorted(found) == sorted(properties)


def test_nothing_else_appears(done):
    assert sorted(path.name for path in done[1].iterdir()) == [
        "LitePlans_3d_fullres_unlabelled",
        "LitePlans_3d_fullres_unlabelled.complete.json",
        "dataset.json",
    ]


@pytest.mark.parametrize(
    ("modes", "keys"),
    [
        ({}, [1, 2, 3]),
        ({"ignore": True}, [1, 2, 3, (-1, 0, 1, 2, 3)]),
        ({"regions": True}, [(1, 2, 3), (2, 3), (3,)]),
        ({"regions": True, "ignore": True}, [(1, 2, 3), (2, 3), (3,), (-1, 0, 1, 2, 3)]),
    ],
)
def test_the_stock_loader_finds_every_key(make, modes, keys):
    raw, folder = make(**modes)
    run((raw, folder))
    place = str(unlabelled_folder(folder, PLANS, CONFIGURATION))
    assert load_pickle(f"{place}/unlabelled_000.pkl")["class_locations"] == {key: [] for key in keys}
    labels = PlansManager(PLANS).get_label_manager(json.loads((raw / "dataset.json").read_text()))
    loader = nnUNetDataLoader(infer_dataset_class(place)(place), 2, (8, 8, 8), (8, 8, 8), labels, 0.5)
    if modes.get("ignore"):
        with pytest.warns(UserWarning, match="No annotated pixels"):
            batch = next(loader)
    else:
        batch = next(loader)
    assert batch["data"].shape == (2, 1, 8, 8, 8)


@pytest.mark.slow
def test_with_worker_processes(places):
    preprocess_unlabelled(*places, PLANS, CONFIGURATION, processes=2, progress=False)
    assert check_unlabelled(places[1], PLANS, CONFIGURATION) == names()


def test_progress_is_shown(places, capsys):
    run(places, progress=True)
    assert "preprocessing unlabelled images, 3d_fullres: 100%" in capsys.readouterr().err


def test_what_is_there_stays(done, caplog):
    before = {file: file.stat().st_mtime_ns for file in done[1].rglob("*")}
    with caplog.at_level(logging.INFO):
        assert run(done) == []
    assert "3 unlabelled cases, already preprocessed" in caplog.text
    assert {file: file.stat().st_mtime_ns for file in done[1].rglob("*")} == before


def test_again(done):
    assert run(done, again=True) == names()


def test_a_new_case_and_one_that_is_gone(done):
    images = done[0] / "imagesUn"
    (images / "unlabelled_001_0000.nii.gz").rename(images / "newcomer_0000.nii.gz")
    assert check_unlabelled(done[1], PLANS, CONFIGURATION) == names()
    assert run(done) == ["newcomer"]
    assert check_unlabelled(done[1], PLANS, CONFIGURATION) == ["newcomer", "unlabelled_000", "unlabelled_002"]
    (images / "newcomer_0000.nii.gz").unlink()
    assert run(done) == []
    assert check_unlabelled(done[1], PLANS, CONFIGURATION) == ["unlabelled_000", "unlabelled_002"]


def test_an_image_that_was_replaced(done):
    image = done[0] / "imagesUn" / "unlabelled_001_0000.nii.gz"
    stored = nibabel.load(done[0] / "imagesTr" / "case_000_0000.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.asarray(stored.dataobj) + 1, stored.affine), image)
    later = (done[1] / "LitePlans_3d_fullres_unlabelled" / "unlabelled_001.pkl").stat().st_mtime_ns + 1
    os.utime(image, ns=(later, later))
    assert run(done) == ["unlabelled_001"]


def test_a_run_that_was_killed_goes_on(places, monkeypatch):
    write = UnlabelledData.write

    def killed(data: UnlabelledData, case: object) -> None:
        if case.name == "unlabelled_001":
            (data.partial / case.name).mkdir()
            (data.partial / case.name / "unlabelled_001.b2nd").write_text("half")
            raise KeyboardInterrupt
        write(data, case)

    with monkeypatch.context() as patched:
        patched.setattr(UnlabelledData, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            preprocess_unlabelled(*places, PLANS, CONFIGURATION, progress=False)
    assert "found part of them: preprocessing was interrupted" in problem(places)
    assert run(places) == ["unlabelled_001", "unlabelled_002"]
    assert check_unlabelled(places[1], PLANS, CONFIGURATION) == names()
    assert not list(places[1].glob("*.partial"))


def test_killed_while_a_case_was_moved(done):
    """Its last file is missing then."""
    place = unlabelled_folder(done[1], PLANS, CONFIGURATION)
    (place / "unlabelled_002.pkl").unlink()
    assert "found 1 file changed, missing or new (unlabelled_002.pkl)" in problem(done)
    assert run(done) == ["unlabelled_002"]


def test_a_file_of_another_size_and_a_stranger(done):
    place = unlabelled_folder(done[1], PLANS, CONFIGURATION)
    (place / "unlabelled_000_seg.b2nd").write_text("short")
    (place / "stranger.b2nd").write_text("")
    assert "found 2 files changed, missing or new (stranger.b2nd first)" in problem(done)
    assert run(done) == ["unlabelled_000"]
    assert check_unlabelled(done[1], PLANS, CONFIGURATION) == names()
    (place / "stranger.b2nd").write_text("")
    assert run(done) == []
    assert check_unlabelled(done[1], PLANS, CONFIGURATION) == names()


@pytest.mark.parametrize("stranger", ["folder.b2nd", "notes.txt"])
def test_what_was_not_written_here_is_never_removed(done, stranger):
    place = unlabelled_folder(done[1], PLANS, CONFIGURATION)
    if stranger == "notes.txt":
        (place / stranger).write_text("mine")
    else:
        (place / stranger).mkdir()
    before = {path: path.stat().st_mtime_ns for path in done[1].rglob("*")}
    with pytest.raises(UserError) as caught:
        run(done, "2d", CONFIGURATION, again=True)
    assert str(caught.value) == (
        f"{place / stranger}: expected preprocessed unlabelled images only, found something else. Move it elsewhere."
    )
    assert {path: path.stat().st_mtime_ns for path in done[1].rglob("*")} == before


@pytest.mark.parametrize(
    "plans",
    [changed(spacing=[3.0, 1.0, 1.0]), PLANS | {"transpose_forward": [1, 0, 2], "transpose_backward": [1, 0, 2]}],
)
def test_other_plans_do_all_of_it_anew(done, plans):
    assert "found those of earlier plans or labels" in problem(done, plans)
    assert run(done, plans=plans) == names()
    assert check_unlabelled(done[1], plans, CONFIGURATION) == names()
    assert "found those of earlier plans or labels" in problem(done)


def test_other_labels_do_all_of_it_anew(done):
    described = json.loads((done[1] / "dataset.json").read_text())
    described["labels"]["ignore"] = 4
    (done[1] / "dataset.json").write_text(json.dumps(described))
    assert "found those of earlier plans or labels" in problem(done)
    assert run(done) == names()


def test_other_plans_killed_half_way_leave_nothing_of_the_old(done, monkeypatch):
    plans = changed(spacing=[3.0, 1.0, 1.0])
    with monkeypatch.context() as patched:
        patched.setattr(data_beside, "write_all", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            preprocess_unlabelled(*done, plans, CONFIGURATION, progress=False)
    assert run(done, plans=plans) == names()


def test_variants_share_the_data(done):
    variant = changed(batch_size=4, patch_size=[4, 4, 4]) | {"plans_name": "Variant"}
    assert check_unlabelled(done[1], variant, CONFIGURATION) == names()


def test_configurations_that_share_the_data(places):
    assert run(places, CONFIGURATION, "3d_bs9", "2d", again=True) == [*names(), *names()]
    assert check_unlabelled(places[1], PLANS, "3d_bs9") == names()


def test_an_inherited_change_is_noticed(done):
    plans = changed(spacing=[3.0, 1.0, 1.0])
    with pytest.raises(UserError, match=r"found those of earlier plans or labels.*-c 3d_bs9"):
        check_unlabelled(done[1], plans, "3d_bs9")


def test_second_stages_are_passed_over(places):
    assert run(places, "3d_cascade_fullres") == []
    assert [path.name for path in places[1].iterdir()] == ["dataset.json"]


def test_never_preprocessed(places):
    assert "found none: they were never preprocessed. Run" in problem(places)


def test_wrong_images_stop_it_before_anything_is_written(places):
    write_nifti(places[0] / "imagesUn" / "unlabelled_001_0000.nii.gz", np.zeros(SHAPE, np.float32), SPACING)
    with pytest.raises(UserError, match="expected an image of case 'unlabelled_001', found it empty"):
        run(places)
    assert [path.name for path in places[1].iterdir()] == ["dataset.json"]


def test_only_new_images_are_read_again(done, monkeypatch):
    checked = []
    monkeypatch.setattr(
        preprocessing, "check_images_un", lambda _, cases, plans, **__: checked.append([c.name for c in cases])
    )
    shutil.copy(done[0] / "imagesUn" / "unlabelled_001_0000.nii.gz", done[0] / "imagesUn" / "newcomer_0000.nii.gz")
    run(done, CONFIGURATION)
    run(done, CONFIGURATION, check=False)
    assert checked == [["newcomer"]]


def test_a_worker_that_is_killed(places, monkeypatch):
    def broken(*_: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr("nnunet_ext.data.preprocessed.workers._written", broken)
    with pytest.raises(UserError, match="expected to preprocess with 2 processes, one was killed") as caught:
        preprocess_unlabelled(*places, PLANS, CONFIGURATION, processes=2, progress=False)
    assert "\n" not in str(caught.value)
