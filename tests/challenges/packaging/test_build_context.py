"""The folder, and models that do not serve the challenge."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from challenge_model import KITS, TUMORS, write_challenge_model

from nnunet_ext.challenges.container.interface import INTERFACES, InputImage, Interface, OutputImage
from nnunet_ext.challenges.container.settings import ContainerSettings
from nnunet_ext.challenges.packaging.build_context import Packaged, PackageOptions, write_package
from nnunet_ext.challenges.packaging.estimate import GIB, Limits
from nnunet_ext.errors import UserError

LIMITS = Limits(20 * 60, 16 * GIB, 32 * GIB, 8e12)
OPTIONS = PackageOptions("exec")


@pytest.fixture
def package(tmp_path: Path) -> Callable[..., Packaged]:
    def write(name: str | Interface, model: Path, options: PackageOptions = OPTIONS) -> Packaged:
        interface = INTERFACES[name] if isinstance(name, str) else name
        return write_package(interface, model, tmp_path / "out", LIMITS, options, show_progress=False)

    return write


def test_the_files(tmp_path: Path, package: Callable[..., Packaged]) -> None:
    model = write_challenge_model(tmp_path / "results", TUMORS | {"channels": ["contrast"]}, folds=(0, 1, 2))
    made = package("segrap2023_gtv", model, PackageOptions("invoke", ("2", "0"), step_size=0.75, mirroring=False))
    out = tmp_path / "out"
    settings = ContainerSettings.read(out / "container.json")
    assert settings == made.settings
    assert (settings.folds, settings.step_size, settings.mirroring, settings.time_budget) == (
        ("2", "0"),
        0.75,
        False,
        1080,
    )
    assert [image.slug for image in settings.interface.inputs] == [
        "head-neck-contrast-enhanced-ct"
    ]  # one contrast only
    assert made.estimated is not None
    assert made.estimated.folds == 2
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    image = "test/input/interf0/images/head-neck-contrast-enhanced-ct/"
    assert {path for path in files if not path.startswith((image, "wheels/"))} == {
        ".dockerignore",
        "Dockerfile",
        "container.json",
        "do_build.sh",
        "do_save.sh",
        "do_test_run.sh",
        "model.tar.gz",
        "requirements.txt",
        "test/input/interf0/inputs.json",
    }
    assert 'tag="segrap2023_gtv_out"' in (out / "do_build.sh").read_text()
    assert all((out / name).stat().st_mode & 0o111 for name in ("do_build.sh", "do_test_run.sh", "do_save.sh"))
    assert 'LABEL org.grand-challenge.api-method="invoke"' in (out / "Dockerfile").read_text()
    wheel = next(path.name for path in (out / "wheels").iterdir())
    assert f"/wheels/{wheel}" in (out / "Dockerfile").read_text()
    with pytest.raises(UserError, match="expected an empty folder, found files in it"):
        package("segrap2023_gtv", model)


@pytest.mark.parametrize(
    ("challenge", "record", "settings", "expected"),
    [
        ("segrap2023_gtv", KITS, {}, "expected a model of segrap2023_gtv for segrap2023_gtv, found one of kits21"),
        ("segrap2023_gtv", None, {}, "expected the key 'challenge' that nnunet_ext convert writes, found none"),
        ("kits21", KITS | {"channels": ["MR"]}, {}, "expected channels CT, found MR"),
        (
            "kits21",
            None,
            {"channels": 2, "normalization_schemes": ["ZScoreNormalization"] * 2},
            "expected a model of 1 cha",
        ),
        ("kits21", None, {"labels": {"background": 0, "far": 256}}, "expected labels up to 255, found 256"),
        ("kits21", KITS, {"reader": "Tiff3DIO", "ending": ".tif"}, "expected a model of images .mha or .nii.gz"),
        (
            "kits21",
            KITS,
            {"resampling_fn_probabilities": "resample_torch_fornnunet"},
            "expected a model that nnunet_ext",
        ),
    ],
)
def test_models_that_do_not_serve(
    tmp_path: Path,
    package: Callable[..., Packaged],
    challenge: str,
    record: dict[str, Any] | None,
    settings: dict[str, Any],
    expected: str,
) -> None:
    model = write_challenge_model(tmp_path / "results", record, **settings)
    with pytest.raises(UserError) as caught:
        package(challenge, model)
    assert expected in str(caught.value)
    assert not (tmp_path / "out" / "container.json").exists()


@pytest.mark.parametrize(("kind", "ending"), [("structures", ".nii.gz"), ("label_map", ".tif")])
def test_outputs_that_could_not_be_written(
    tmp_path: Path, package: Callable[..., Packaged], kind: str, ending: str
) -> None:
    """They would fail after each prediction, or lose the geometry."""
    model = write_challenge_model(tmp_path / "results", TUMORS)
    interface = replace(INTERFACES["segrap2023_gtv"], output=OutputImage("tumor", "images/tumor", kind, ending))
    with pytest.raises(UserError, match=rf"tumor: expected output \.mha, or of a label map \.nii\.gz, got {ending}\."):
        package(interface, model)


def test_a_model_without_a_record(tmp_path: Path, package: Callable[..., Packaged]) -> None:
    """Its labels are the challenge's values: no record is needed for a label map."""
    model = write_challenge_model(tmp_path / "results", None)
    made = package("kits21", model, PackageOptions("exec", estimated=False))
    assert made.record is None
    assert made.estimated is None


def test_inputs_in_the_order_of_the_models_channels(tmp_path: Path, package: Callable[..., Packaged]) -> None:
    model = write_challenge_model(tmp_path / "results", TUMORS | {"name": "mine", "channels": ["b", "a"]})
    inputs = (InputImage("A", "images/a", "a"), InputImage("B", "images/b", "b"), InputImage("C", "images/c", "c"))
    made = package(Interface("mine", inputs, OutputImage("out", "images/out", "structures")), model)
    assert [image.slug for image in made.settings.interface.inputs] == ["B", "A"]
    record = json.loads((model / "dataset.json").read_text())["challenge"]
    assert made.record is not None
    assert made.record.as_json() == record
