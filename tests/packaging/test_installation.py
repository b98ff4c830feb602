"""Wheel, editable install and an editable nnU-Net: our names are found, nnU-Net's stay, and nothing is left behind."""

import shutil
import zipfile
from pathlib import Path

import nnunetv2
import pytest

ROOT = Path(__file__).parents[2]
NAMES = {kind: sorted(file.stem for file in (ROOT / kind).glob("*.py")) for kind in ("trainers", "planners")}

pytestmark = pytest.mark.slow


def check_ours(found, folder):
    """All our sockets lead to classes of the installed package, always the same ones."""
    assert found["folders"] == {kind: str(folder / kind) for kind in NAMES}
    for kind, names in NAMES.items():
        assert sorted(found[kind]) == names
        for name, (class_name, module, twice, pickled) in found[kind].items():
            assert (class_name, module.partition(".")[0], twice, pickled) == (name, "nnunet_ext", True, True)


def test_wheel_holds_package_and_sockets_only(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"nnunet_ext"}
    for kind, sockets in NAMES.items():
        prefix = f"nnunet_ext/_sockets/{kind}/"
        assert sorted(name for name in names if name.startswith(prefix)) == [f"{prefix}{name}.py" for name in sockets]
    assert not [name for name in names if "tests/" in name or "/test_" in name or name.endswith(".pyc")]


def test_wheel(environment, wheel, nnunet_unchanged):
    before, stock_before = environment.files(), environment.probe("stock")["stock"]
    assert stock_before["trainers"]["nnUNetTrainer"] == "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
    assert len(stock_before["trainers"]) > 30
    environment.install(wheel)
    sockets = environment.site / "nnunet_ext" / "_sockets"
    assert environment.run("nnunet_ext", "sockets") == f"{sockets / 'trainers'}\n"
    found = environment.probe("stock", "ours")
    check_ours(found["ours"], sockets)
    assert found["stock"] == stock_before
    assert found["ours"]["stock planners by our look-up"] == stock_before["planners"]
    environment.pip("uninstall", "--yes", "nnunet_ext")
    assert environment.files() == before


def test_editable(environment, copy_checkout, nnunet_unchanged):
    """The sockets are the checkout's own: a file put there counts at once, a copy in site-packages never."""
    checkout, before = copy_checkout(), environment.files()
    files_of_checkout = sorted(checkout.rglob("*"))
    environment.install("-e", checkout)
    stale = environment.site / "nnunet_ext" / "_sockets"
    assert not stale.exists()
    for kind in NAMES:
        shutil.copytree(checkout / kind, stale / kind)  # as hatchling's force-include would leave it
    added = checkout / "trainers" / "ExtTrainer.py"
    added.write_text("from nnunet_ext.base.trainer import ExtTrainer as ExtTrainer\n")
    assert environment.run("nnunet_ext", "sockets") == f"{checkout / 'trainers'}\n"
    found = environment.probe("ours")["ours"]
    assert found["trainers"].pop("ExtTrainer") == ["ExtTrainer", "nnunet_ext.base.trainer", True, True]
    check_ours(found, checkout)
    shutil.rmtree(stale.parent)
    added.unlink()
    environment.pip("uninstall", "--yes", "nnunet_ext")
    assert environment.files() == before
    assert sorted(checkout.rglob("*")) == files_of_checkout


def test_editable_nnunet(environment, wheel, tmp_path):
    """nnU-Net in a folder of its own, put on the path by a .pth file as pip install -e does."""
    project = tmp_path / "nnUNet"
    shutil.copytree(nnunetv2.__path__[0], project / "nnunetv2", ignore=shutil.ignore_patterns("__pycache__"))
    (environment.site / "__editable__.nnunetv2.pth").write_text(str(project))
    environment.install(wheel)
    files = sorted(project.rglob("*"))
    found = environment.probe("ours")
    assert found["nnunetv2"] == str(project / "nnunetv2")
    check_ours(found["ours"], environment.site / "nnunet_ext" / "_sockets")
    assert sorted(project.rglob("*")) == files
