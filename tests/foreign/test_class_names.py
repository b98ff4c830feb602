"""Plans name classes that nnU-Net calls: only those of networks are taken."""

from __future__ import annotations

import json
import pydoc
import time
from copy import deepcopy
from pathlib import Path

import pytest
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from small_model import write_small_model

from nnunet_ext.errors import UserError
from nnunet_ext.foreign.class_names import check_class_names
from nnunet_ext.prediction.trained_model import TrainedModel


@pytest.fixture
def plans(tmp_path) -> dict:
    return json.loads((write_small_model(tmp_path / "results") / "plans.json").read_text())


def hostile(plans: dict, marker: Path) -> dict:
    """Plans whose nonlinearity is a program that writes a file."""
    changed = deepcopy(plans)
    architecture = changed["configurations"]["3d_fullres"]["architecture"]
    architecture["arch_kwargs"] |= {"nonlin": "subprocess.Popen", "nonlin_kwargs": {"args": ["touch", str(marker)]}}
    if "nonlin" not in architecture["_kw_requires_import"]:
        architecture["_kw_requires_import"] = [*architecture["_kw_requires_import"], "nonlin"]
    return changed


def test_nnunet_runs_what_plans_name(tmp_path, plans):
    """Else the check would be for nothing."""
    architecture = hostile(plans, tmp_path / "marker")["configurations"]["3d_fullres"]["architecture"]
    with pytest.raises(TypeError):
        get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            1,
            2,
            deep_supervision=False,
        )
    for _ in range(100):
        if (tmp_path / "marker").exists():
            return
        time.sleep(0.1)
    assert (tmp_path / "marker").exists()


def test_a_hostile_model(tmp_path, plans):
    model = next((tmp_path / "results").glob("*/*"))
    (model / "plans.json").write_text(json.dumps(hostile(plans, tmp_path / "marker")))
    with pytest.raises(UserError, match=r"plans\.json: expected classes of networks, .* names 'subprocess\.Popen'"):
        TrainedModel.load(model)
    assert not (tmp_path / "marker").exists()


def test_plans_of_nnunet(plans):
    check_class_names(plans, "plans.json")
    check_class_names({"configurations": {"2d": {"UNet_class_name": "PlainConvUNet"}, "3d_lowres": {}}}, "plans.json")
    moved = "dynamic_network_architectures.architectures.elsewhere.Moved"  # nnU-Net looks for it in other modules
    check_class_names({"configurations": {"2d": {"architecture": {"network_class_name": moved}}}}, "plans.json")


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "torch.nn.modules.module.warnings.warn",
        "torch.nn.functional.relu",
        "torch.nn.modules",
        "torch.load",
        "torch.nn.Linear.__init__",
        "torch.nn._reduction",
        "torch.nn.Module().__class__",
        "dynamic_network_architectures.architectures.unet.nn.Module.forward",
        "this",
        "",
        7,
        ["os.system"],
    ],
)
@pytest.mark.parametrize("place", ["network", "argument"])
def test_other_names(name, place):
    planned: dict = {"architecture": {"network_class_name": "torch.nn.Identity", "arch_kwargs": {"nonlin": name}}}
    planned["architecture"]["_kw_requires_import"] = ["nonlin"]
    if place == "network":
        planned = {"architecture": {"network_class_name": name}}
    with pytest.raises(UserError, match="expected classes of networks, but configuration '2d' names") as caught:
        check_class_names({"configurations": {"3d_lowres": {}, "2d": planned}}, "plans.json")
    assert "\n" not in str(caught.value)


def test_other_names_in_old_plans():
    old = {"configurations": {"2d": {"UNet_class_name": "nn.functional.relu"}}}
    with pytest.raises(
        UserError, match=r"names 'dynamic_network_architectures\.architectures\.unet\.nn\.functional\.relu'"
    ):
        check_class_names(old, "plans.json")


def test_other_packages_are_not_imported(tmp_path, monkeypatch):
    """Some modules act when they are imported."""
    (tmp_path / "acts.py").write_text("from pathlib import Path\nPath(__file__).with_name('marker').touch()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    planned = {"architecture": {"network_class_name": "acts.Network"}}
    with pytest.raises(UserError, match=r"names 'acts\.Network', which nnU-Net would call"):
        check_class_names({"configurations": {"2d": planned}}, "plans.json")
    assert not (tmp_path / "marker").exists()


def test_a_module_that_cannot_be_imported(monkeypatch):
    def fails(name: str) -> None:
        raise pydoc.ErrorDuringImport("a.py", (ImportError, ImportError("b"), None))

    monkeypatch.setattr(pydoc, "locate", fails)
    planned = {"architecture": {"network_class_name": "torch.nn.Identity"}}
    with pytest.raises(UserError, match=r"names 'torch\.nn\.Identity'"):
        check_class_names({"configurations": {"2d": planned}}, "plans.json")


@pytest.mark.parametrize(
    ("plans", "part"),
    [
        ("text", "found str for the plans"),
        ({"configurations": ["2d"]}, "found list for configurations"),
        ({"configurations": {"2d": 3}}, "found int for configuration '2d'"),
        ({"configurations": {"2d": {"architecture": "net"}}}, "found str for architecture of configuration '2d'"),
        (
            {
                "configurations": {
                    "2d": {"architecture": {"network_class_name": "torch.nn.Identity", "arch_kwargs": [1]}}
                }
            },
            "found list for arch_kwargs of configuration '2d'",
        ),
        *(
            ({"configurations": {"2d": {"architecture": {"_kw_requires_import": value}}}}, f"found {found}")
            for value, found in (
                (3, "int, not a list of text"),
                ([["a"]], "list, not a list of"),
                ("nonlin", "str, not"),
            )
        ),
    ],
)
def test_plans_of_other_types(plans, part):
    """One line instead of an error of Python's."""
    with pytest.raises(UserError, match=r"plans\.json: expected plans as nnU-Net writes them, ") as caught:
        check_class_names(plans, "plans.json")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)
