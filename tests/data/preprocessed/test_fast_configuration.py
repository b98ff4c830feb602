"""Our resamplers return what those of nnU-Net's configuration return, for every way that plans can ask for."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from label_ties import assert_equal_but_ties
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_ext.data.preprocessed.fast_configuration import FastConfiguration, resampled_by

DEFAULT = "resample_data_or_seg_to_shape"
SHAPE, NEW_SHAPE = (5, 11, 7), (7, 8, 13)  # by these ratios, hardly two labels have the same weight
SPACINGS = {  # current, new
    "isotropic": ((1.0, 1.0, 1.0), (0.7, 1.5, 0.75)),
    "coarse D": ((5.0, 1.0, 1.0), (3.5, 1.5, 0.7)),
    "coarse H": ((1.0, 5.0, 1.0), (0.7, 7.5, 0.7)),
    "coarse W": ((1.0, 1.0, 5.0), (0.7, 1.5, 3.5)),
    "coarse D in the new spacing only": ((2.0, 1.0, 1.0), (5.0, 1.0, 1.0)),
    "coarse H in the new spacing, W in the current one": ((1.0, 1.0, 5.0), (0.7, 5.0, 1.0)),
    "two coarse axes": ((0.24, 1.25, 1.25), (0.17, 1.9, 0.9)),
    "all axes alike": ((2.0, 2.0, 2.0), (2.0, 2.0, 2.0)),
    "moderately coarse D": ((2.0, 1.0, 1.0), (1.4, 1.5, 0.7)),
    "2d": ((999.0, 1.0, 1.0), (999.0, 1.5, 0.7)),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "as planned": {"order": 3, "order_z": 0, "force_separate_z": None},
    "linear": {"order": 1, "order_z": 0, "force_separate_z": None},
    "nearest": {"order": 0, "force_separate_z": None},
    "linear along D": {"order": 1, "order_z": 1, "force_separate_z": None},
    "forced": {"order": 1, "order_z": 0, "force_separate_z": True},
    "never": {"order": 1, "order_z": 0, "force_separate_z": False},
    "low threshold": {"order": 1, "force_separate_z": None, "separate_z_anisotropy_threshold": 1.5},
    "high threshold": {"order": 1, "force_separate_z": None, "separate_z_anisotropy_threshold": 10},
    "nnU-Net's defaults": {},
}


def planned(**kwargs: Any) -> dict[str, Any]:
    """A configuration with these settings for all three resamplers."""
    found: dict[str, Any] = {"architecture": {}, "spacing": [1, 1, 1], "data_identifier": "Plans_3d"}
    for purpose in ("data", "seg", "probabilities"):
        found[f"resampling_fn_{purpose}"] = DEFAULT
        is_seg = {"is_seg": purpose == "seg"} if kwargs or purpose == "seg" else {}
        found[f"resampling_fn_{purpose}_kwargs"] = is_seg | kwargs
    return found


def both(**kwargs: Any) -> tuple[ConfigurationManager, FastConfiguration]:
    stock = ConfigurationManager(planned(**kwargs))
    return stock, FastConfiguration.of(stock)


def image(dtype: type = np.float32, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(channels, *SHAPE)).astype(dtype)


@pytest.mark.parametrize("purpose", ["data", "seg", "probabilities"])
def test_called_by_keyword_and_with_other_settings(purpose: str) -> None:
    """Another package's preprocessor may call it in any way in which nnU-Net's function can be called."""
    stock, ours = (getattr(each, f"resampling_fn_{purpose}") for each in both(**SETTINGS["as planned"]))
    words = {"new_shape": NEW_SHAPE, "current_spacing": (1, 1, 1), "new_spacing": (0.7, 0.7, 0.7)}
    words |= {
        "data": (image() > 0).astype(np.int8) if purpose == "seg" else image(),
        "order": 1,
        "force_separate_z": False,
    }
    difference = np.abs(ours(**words) - stock(**words).astype(float))
    assert np.quantile(difference, 0.99) <= 5e-6 * np.ptp(image())  # labels may differ at ties
    assert purpose == "seg" or difference.max() <= 5e-6 * np.ptp(image())
    with pytest.raises(TypeError, match="gamma"):
        ours(**words, gamma=2)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_images(settings: str, spacing: str) -> None:
    stock, ours = both(**SETTINGS[settings])
    words = (image(), NEW_SHAPE, *SPACINGS[spacing])
    found, expected = ours.resampling_fn_data(*words), stock.resampling_fn_data(*words)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert np.abs(found - expected).max() <= 5e-6 * np.ptp(image())


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("settings", [name for name in SETTINGS if SETTINGS[name].get("order") in (0, 1)])
def test_labels(settings: str, spacing: str) -> None:
    stock, ours = both(**SETTINGS[settings])
    labels = np.random.default_rng(1).integers(-1, 4, (1, *SHAPE)).astype(np.int8)
    words = (NEW_SHAPE, *SPACINGS[spacing])
    found, expected = ours.resampling_fn_seg(labels, *words), stock.resampling_fn_seg(labels, *words)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    ties = assert_equal_but_ties(
        found, expected, lambda label: stock.resampling_fn_data((labels == label).astype(float), *words)
    )
    assert ties <= 0.03 * found.size


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_logits(settings: str, spacing: str) -> None:
    """fp16 in a tensor, as the predictor has them; numpy out, as from nnU-Net's function."""
    stock, ours = both(**SETTINGS[settings])
    words = (torch.from_numpy(image(np.float16, 3)), NEW_SHAPE, *SPACINGS[spacing])
    found, expected = ours.resampling_fn_probabilities(*words), stock.resampling_fn_probabilities(*words)
    assert isinstance(found, np.ndarray)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape) == (np.float16, (3, *NEW_SHAPE))
    step = np.spacing(np.maximum(np.abs(expected), np.abs(found)))
    assert (np.abs(found.astype(float) - expected) <= step).all()


def test_an_array_that_keeps_its_shape_is_not_copied() -> None:
    stock, ours = both(order=3)
    array = image()
    assert stock.resampling_fn_data(array, SHAPE, (1, 1, 1), (1, 1, 1)) is array
    assert ours.resampling_fn_data(array, SHAPE, (1, 1, 1), (1, 1, 1)) is array


def test_another_resampler_is_the_plans_own() -> None:
    configuration = planned(order=3)
    configuration |= {
        "resampling_fn_data": "resample_torch_fornnunet",
        "resampling_fn_data_kwargs": {"is_seg": False, "force_separate_z": False, "memefficient_seg_resampling": False},
    }
    ours = FastConfiguration.of(ConfigurationManager(configuration))
    assert ours.resampling_fn_data.func.__module__ == "nnunetv2.preprocessing.resampling.resample_torch"
    assert ours.resampling_fn_data.keywords == configuration["resampling_fn_data_kwargs"]
    assert ours.reason_for_stock("data") == "the plans name resample_torch_fornnunet"
    assert ours.reason_for_stock("seg") is None
    assert resampled_by(ours) == (
        "images are resampled by nnU-Net, because the plans name resample_torch_fornnunet; labels are resampled by "
        "nnunet_ext"
    )


@pytest.mark.parametrize("purpose", ["data", "seg", "probabilities"])
def test_an_unknown_setting_is_left_to_nnunet(purpose: str) -> None:
    configuration = planned(order=1)
    configuration[f"resampling_fn_{purpose}_kwargs"]["gamma"] = 2
    ours = FastConfiguration.of(ConfigurationManager(configuration))
    function = getattr(ours, f"resampling_fn_{purpose}")
    assert function.func.__module__ == "nnunetv2.preprocessing.resampling.default_resampling"
    with pytest.raises(TypeError, match="gamma"):
        function(image(), NEW_SHAPE, (1, 1, 1), (1, 1, 1))
    others = {"data", "seg", "probabilities"} - {purpose}
    assert [ours.reason_for_stock(other) for other in others] == [None, None]


def test_who_resamples() -> None:
    stock, ours = both(order=1)
    assert resampled_by(stock) == "images and labels are resampled by nnU-Net, as asked"
    assert resampled_by(ours) == "images and labels are resampled by nnunet_ext"


def test_plans_and_configuration_stay_as_they_are() -> None:
    plans = {"configurations": {"3d": planned(order=3)}}
    before = copy.deepcopy(plans)
    configuration = PlansManager(plans).get_configuration("3d")
    ours = FastConfiguration.of(configuration)
    assert ours.resampling_fn_data(image(), NEW_SHAPE, (1, 1, 1), (1, 1, 1)).shape == (2, *NEW_SHAPE)
    assert ours.configuration is configuration.configuration
    assert repr(ours) == repr(configuration)
    assert plans == before
    assert (ours.spacing, ours.data_identifier) == ([1, 1, 1], "Plans_3d")


def test_a_spawned_worker_gets_it_and_its_resamplers() -> None:
    stock, ours = both(**SETTINGS["as planned"])
    words = (image(), NEW_SHAPE, *SPACINGS["coarse D"])
    restored = pickle.loads(pickle.dumps(ours))
    assert type(restored) is FastConfiguration
    assert restored.configuration == ours.configuration
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(ours.resampling_fn_data, *words).result()
    assert np.array_equal(found, ours.resampling_fn_data(*words))
    assert not np.array_equal(found, stock.resampling_fn_data(*words))  # it is ours that went there
