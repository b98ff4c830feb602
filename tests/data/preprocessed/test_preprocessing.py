"""Preprocessed data are stock's, whoever resamples; all cases are written one by one unless nnU-Net must do it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
import pytest
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from label_ties import assert_equal_but_ties
from nnunetv2.preprocessing.preprocessors import default_preprocessor
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_ext.data.preprocessed import fast_configuration, preprocessing
from nnunet_ext.data.preprocessed.preprocessing import preprocess_missing
from nnunet_ext.data.preprocessed.state import PreprocessedState
from nnunet_ext.errors import UserError
from nnunet_ext.phantoms.dataset import write_phantom_dataset

NAME = "Dataset007_P"
SPACINGS = {  # of the images, of the plans
    "anisotropic": ((5.0, 1.0, 1.0), [4.0, 1.3, 1.3]),
    "isotropic": ((1.5, 1.0, 1.0), [1.1, 1.3, 1.3]),
    "2d": ((5.0, 1.0, 1.0), [1.3, 1.3]),
}


def plans(spacing: list[float], **configuration: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "data_identifier": "Plans_c",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [8] * len(spacing),
        "spacing": spacing,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {"network_class_name": "", "arch_kwargs": {}, "_kw_requires_import": []},
    }
    for kind, order in (("data", 3), ("seg", 1), ("probabilities", 1)):
        settings = {"is_seg": kind == "seg", "order": order, "order_z": 0, "force_separate_z": None}
        found |= {f"resampling_fn_{kind}": "resample_data_or_seg_to_shape", f"resampling_fn_{kind}_kwargs": settings}
    return {
        "dataset_name": NAME,
        "plans_name": "Plans",
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": {"mean": 1.0}},
        "configurations": {"c": found | configuration},
    }


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PreprocessedState]:
    """Write three phantoms and plans for them; return the state of their data, of which there are none."""
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))

    def make(
        kind: str = "anisotropic", configuration: dict[str, Any] | None = None, **modes: bool
    ) -> PreprocessedState:
        of_images, of_plans = SPACINGS[kind]
        raw = write_phantom_dataset(tmp_path / "raw", NAME, cases=3, shape=(9, 24, 22), spacing=of_images, **modes)
        folder = tmp_path / "preprocessed" / NAME
        folder.mkdir(parents=True)
        shutil.copy(raw / "dataset.json", folder)
        made = plans(of_plans, **configuration or {})
        (folder / "Plans.json").write_text(json.dumps(made))
        return PreprocessedState(folder, made, "c", raw)

    return make


def again(state: PreprocessedState) -> PreprocessedState:
    """The state as it is now."""
    return PreprocessedState(state.folder, state.plans, state.configuration, state.raw)


def run(state: PreprocessedState, **options: Any) -> tuple[int, list[str]]:
    """Preprocess in this process; return how many cases, and what was said."""
    said: list[str] = []
    number = preprocess_missing(again(state), **{"processes": 1, "progress": False, "say": said.append} | options)
    return number, said


def stock(state: PreprocessedState) -> Path:
    """Preprocess as nnU-Net does, in this process; return the folder of the data, moved away."""
    manager = PlansManager(dict(state.plans))
    place = state.folder.parents[1] / "stock"
    place.mkdir()
    for name, case in (state.raw_cases or {}).items():
        DefaultPreprocessor(verbose=False).run_case_save(
            str(place / name),
            [str(image) for image in case.images],
            str(case.label),
            manager,
            manager.get_configuration("c"),
            state.description,
        )
    return place


def array(file: Path) -> np.ndarray:
    return blosc2.open(str(file), mode="r")[:]


@pytest.fixture
def nnunet_calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The configurations that nnU-Net's own command was called with; it preprocesses nothing here."""
    calls: list[list[str]] = []
    monkeypatch.setattr(
        "nnunetv2.experiment_planning.plan_and_preprocess_api.preprocess", lambda *words: calls.append(words[2])
    )
    return calls


@pytest.mark.parametrize("modes", [{}, {"regions": True, "ignore": True}], ids=["labels", "regions, ignore label"])
@pytest.mark.parametrize("kind", SPACINGS)
def test_the_same_training_data_as_stock(dataset, monkeypatch, kind, modes):
    """Images within 5e-6 of their range, labels but for exact ties (below a hundredth of the voxels), properties."""
    used = []
    for name in ("resample_images", "resample_label_maps"):
        function = getattr(fast_configuration, name)
        monkeypatch.setattr(
            fast_configuration,
            name,
            lambda *words, function=function, name=name, **options: (used.append(name), function(*words, **options))[1],
        )
    state = dataset(kind, **modes)
    assert run(state) == (3, ["c: images and labels are resampled by nnunet_ext"])
    assert used == 3 * ["resample_images", "resample_label_maps"]
    assert again(state).problem() is None
    assert again(state).is_done()
    theirs = stock(state)
    assert sorted(file.name for file in state.place.iterdir()) == sorted(file.name for file in theirs.iterdir())
    for name in state.expected:
        found, expected = (array(place / f"{name}.b2nd") for place in (state.place, theirs))
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert np.abs(found - expected).max() <= 5e-6 * np.ptp(expected)
        ties = check_labels(state, theirs, name)
        properties, wanted = (load_pickle(str(place / f"{name}.pkl")) for place in (state.place, theirs))
        locations, wanted_locations = (each.pop("class_locations") for each in (properties, wanted))
        assert properties == wanted
        assert locations.keys() == wanted_locations.keys()
        if not ties:
            for key, voxels in wanted_locations.items():
                assert np.array_equal(locations[key], voxels)
        layout = [blosc2.open(str(place / f"{name}.b2nd"), mode="r") for place in (state.place, theirs)]
        assert layout[0].chunks == layout[1].chunks
        assert layout[0].blocks == layout[1].blocks


def check_labels(state: PreprocessedState, theirs: Path, name: str) -> int:
    """Refuse labels that differ elsewhere than at exact ties; return how many do."""
    found, expected = (array(place / f"{name}_seg.b2nd") for place in (state.place, theirs))
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    given = state.plans["configurations"]["c"]
    one_by_one = ConfigurationManager(
        given | {"resampling_fn_data_kwargs": given["resampling_fn_data_kwargs"] | {"order": 1}}
    )
    properties = load_pickle(str(theirs / f"{name}.pkl"))
    manager = PlansManager(dict(state.plans))
    image, _ = manager.image_reader_writer_class().read_images([str(state.raw_cases[name].images[0])])
    labels, _ = manager.image_reader_writer_class().read_seg(str(state.raw_cases[name].label))
    cropped = default_preprocessor.crop_to_nonzero(image, labels)[1]
    spacing = properties["spacing"]
    target = given["spacing"] if len(given["spacing"]) == 3 else [spacing[0], *given["spacing"]]

    def weight(label: int) -> np.ndarray:
        return one_by_one.resampling_fn_data((cropped == label).astype(float), found.shape[1:], spacing, target)

    ties = assert_equal_but_ties(found, expected, weight)
    assert ties <= 0.01 * found.size
    return ties


def test_stock_resampling(dataset, monkeypatch):
    """Data made with nnU-Net's resampling are complete for us, and the other way around."""
    state = dataset()
    assert run(state) == (3, ["c: images and labels are resampled by nnunet_ext"])
    assert run(state, stock_resampling=True) == (0, [])
    (state.place / "case_001.pkl").unlink()
    theirs = stock(state)
    monkeypatch.setattr(fast_configuration, "resample_images", None)
    assert run(state, stock_resampling=True) == (1, ["c: images and labels are resampled by nnU-Net, as asked"])
    assert np.array_equal(array(state.place / "case_001.b2nd"), array(theirs / "case_001.b2nd"))
    assert run(state) == (0, [])


def test_stock_resampling_of_all_cases_is_nnunets_command(dataset, nnunet_calls):
    run(dataset(), stock_resampling=True)
    assert nnunet_calls == [["c"], []]  # the second call only copies the labels


def test_ours_is_not_nnunets_command(dataset, nnunet_calls):
    state = dataset()
    run(state)
    assert nnunet_calls == [[]]


def test_labels_are_copied(dataset):
    state = dataset()
    run(state)
    copies = state.folder / "gt_segmentations"
    names = sorted(file.name for file in copies.iterdir())
    assert names == ["case_000.nii.gz", "case_001.nii.gz", "case_002.nii.gz"]
    assert (copies / names[0]).read_bytes() == (state.raw / "labelsTr" / names[0]).read_bytes()


def test_nothing_stale_remains(dataset):
    """Files of the old layout and of a case that is gone; nnU-Net deletes the folder first."""
    state = dataset()
    state.place.mkdir()
    for name in ("case_000.npz", "gone.b2nd", "gone.pkl"):
        (state.place / name).write_text("stale")
    (state.place / "folder").mkdir()
    run(state)
    assert len(list(state.place.iterdir())) == 9
    assert again(state).problem() is None


def test_an_interruption_keeps_what_is_done(dataset, monkeypatch):
    state, write = dataset(), preprocessing._Writer.__call__

    def interrupted(writer: Any, case: Any) -> None:
        if case.name == "case_001":
            raise KeyboardInterrupt
        write(writer, case)

    with monkeypatch.context() as patched:
        patched.setattr(preprocessing._Writer, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(state, again=True)
    assert again(state).problem().startswith("found 1 of 3 cases, without case_001 (and 1 more case)")
    before = (state.place / "case_000.b2nd").stat().st_mtime_ns
    assert run(state)[0] == 2
    assert (state.place / "case_000.b2nd").stat().st_mtime_ns == before
    assert run(state, again=True)[0] == 3
    assert (state.place / "case_000.b2nd").stat().st_mtime_ns > before


@pytest.mark.parametrize("method", ["run", "run_case_save"])
def test_a_preprocessor_with_its_own_way_is_called_by_nnunet(dataset, nnunet_calls, monkeypatch, method):
    own = type("Own", (DefaultPreprocessor,), {method: lambda *_: None, "__module__": DefaultPreprocessor.__module__})
    monkeypatch.setattr(default_preprocessor, "Own", own, raising=False)
    _, said = run(dataset(configuration={"preprocessor_name": "Own"}))
    assert said == [f"c: images and labels are resampled by nnU-Net, because Own has its own {method}()"]
    assert nnunet_calls == [["c"], []]


def test_a_preprocessor_that_only_changes_cases_gets_our_resamplers(dataset, nnunet_calls, monkeypatch):
    def empty(_: Any, seg: np.ndarray, *__: Any) -> np.ndarray:
        return np.zeros_like(seg)

    own = type("Own", (DefaultPreprocessor,), {"modify_seg_fn": empty, "__module__": DefaultPreprocessor.__module__})
    monkeypatch.setattr(default_preprocessor, "Own", own, raising=False)
    state = dataset(configuration={"preprocessor_name": "Own"})
    assert run(state)[1] == ["c: images and labels are resampled by nnunet_ext"]
    assert array(state.place / "case_000_seg.b2nd").max() == 0
    assert nnunet_calls == [[]]


def test_an_unknown_preprocessor(dataset):
    state = dataset(configuration={"preprocessor_name": "Owm"})
    state.place.mkdir()
    with pytest.raises(UserError) as caught:
        run(state)
    assert str(caught.value) == (
        "plans 'Plans', configuration c: expected the name of a preprocessor of nnU-Net, got 'Owm'. Plan again with "
        "-preprocessor_name DefaultPreprocessor."
    )
    assert state.place.is_dir()


def test_plans_that_name_another_resampler(dataset, monkeypatch):
    settings = {"is_seg": False, "force_separate_z": False, "memefficient_seg_resampling": False}
    own = {"resampling_fn_data": "resample_torch_fornnunet", "resampling_fn_data_kwargs": settings}
    state = dataset("isotropic", own)
    monkeypatch.setattr(fast_configuration, "resample_images", None)
    assert run(state)[1] == [
        "c: images are resampled by nnU-Net, because the plans name resample_torch_fornnunet; labels are resampled by "
        "nnunet_ext"
    ]
    assert np.array_equal(array(state.place / "case_000.b2nd"), array(stock(state) / "case_000.b2nd"))


def test_verbose(dataset, capsys):
    run(dataset(), verbose=True)
    assert capsys.readouterr().out.count("old shape: ") == 3


def test_without_images(dataset):
    state = dataset()
    shutil.rmtree(state.raw)
    with pytest.raises(UserError, match="expected the dataset's images, found none"):
        run(state)
