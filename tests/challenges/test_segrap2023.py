"""SegRap2023: 45 organs of 54 combinations, two tumors, tolerances, folders of masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from written_map import write_map

from nnunet_ext.challenges.conversion.challenge_record import ChallengeRecord
from nnunet_ext.challenges.evaluation import evaluate
from nnunet_ext.challenges.segrap2023 import TUMORS, segrap2023
from nnunet_ext.challenges.structure_files import write_structure_image
from nnunet_ext.errors import UserError
from nnunet_ext.evaluation.mask_metrics import EmptyRule

pytestmark = pytest.mark.smoke


def test_organs() -> None:
    challenge = segrap2023("oar")
    labels = {each.name: each.labels for each in challenge.structures}
    names = list(labels)
    assert len(names) == 45
    assert [names[channel] for channel in (0, 2, 9, 13, 26, 39, 44)] == [
        "Brain", "Chiasm", "Lens_L", "MiddleEar_L", "OralCavity", "Larynx", "Trachea"
    ]  # fmt: skip
    assert challenge.labels == tuple(range(1, 55))
    assert labels["Brain"] == tuple(range(1, 10))
    assert labels["MiddleEar_R"] == (17, 19, 21, 25, 29, 31)
    assert labels["PharynxConst"] == (51, 52)
    assert sum(map(len, labels.values())) == 79
    held = [frozenset(name for name, own in labels.items() if label in own) for label in challenge.labels]
    assert len(set(held)) == 54
    assert held[5] == {"Brain", "TemporalLobe_L", "Hippocampus_L"}
    assert held[30] == {"MiddleEar_R", "ETbone_R"}


def test_tolerances_and_rules() -> None:
    challenge = segrap2023("oar")
    other = {each.name: each.measures[1].metric.name for each in challenge.structures}
    assert {name: metric for name, metric in other.items() if metric != "nsd@1mm"} == {
        "OralCavity": "nsd@3mm",
        "Larynx": "nsd@2mm",
    }
    tumors = segrap2023("gtv")
    assert [(each.name, each.labels, each.measures[1].metric.name) for each in tumors.structures] == [
        ("GTVp", (1,), "nsd@1mm"),
        ("GTVnd", (2,), "nsd@1mm"),
    ]
    for each in (challenge, tumors):
        assert {measure.empty for measure in each.measures.values()} == {EmptyRule(both=1.0, one=0.0)}
        assert (each.spacing_of, each.digits) == ("reference", 4)
    assert challenge.columns[:4] == ("Brain_DSC", "Brain_NSD", "BrainStem_DSC", "BrainStem_NSD")


def block(value: int, *columns: int) -> np.ndarray:
    labels = np.zeros((3, 4, 8), np.uint8)
    labels[1, 1:3, list(columns)] = value
    return labels


def test_folders_of_masks_and_rounding(tmp_path: Path) -> None:
    """Two of three columns overlap: Dice 2/3, rounded to 4 digits; the second tumor is in neither."""
    for folder, columns in (("predicted", (1, 2, 3)), ("truth", (2, 3, 4))):
        write_map(tmp_path / folder / "segrap_0000" / "GTVp.nii.gz", block(1, *columns))
        write_map(tmp_path / folder / "segrap_0000" / "GTVnd.nii.gz", block(1))
    (case,) = evaluate(segrap2023("gtv"), tmp_path / "predicted", tmp_path / "truth", show_progress=False).scored
    assert case.name == "segrap_0000"
    assert case.values == {"GTVp_DSC": 0.6667, "GTVp_NSD": 1.0, "GTVnd_DSC": 1.0, "GTVnd_NSD": 1.0}


def test_a_label_map_compared_with_masks(tmp_path: Path) -> None:
    write_map(tmp_path / "predicted" / "segrap_0001.nii.gz", block(1, 1, 2, 3))
    write_map(tmp_path / "truth" / "segrap_0001" / "GTVp.nii.gz", block(1, 1, 2, 3))
    write_map(tmp_path / "truth" / "segrap_0001" / "GTVnd.nii.gz", block(1, 6))
    (case,) = evaluate(segrap2023("gtv"), tmp_path / "predicted", tmp_path / "truth", show_progress=False).scored
    assert case.values == {"GTVp_DSC": 1.0, "GTVp_NSD": 1.0, "GTVnd_DSC": 0.0, "GTVnd_NSD": 0.0}


def test_a_missing_mask(tmp_path: Path) -> None:
    """Both lack the second tumor: an empty file would count 1, a missing one counts 0."""
    write_map(tmp_path / "predicted" / "segrap_0000" / "GTVp.nii.gz", block(1, 1, 2))
    for name, columns in (("GTVp", (1, 2)), ("GTVnd", ())):
        write_map(tmp_path / "truth" / "segrap_0000" / f"{name}.nii.gz", block(1, *columns))
    folders = (tmp_path / "predicted", tmp_path / "truth")
    with pytest.raises(
        UserError, match=r"segrap_0000: expected the file GTVnd\.nii\.gz, found none\. Add it, or choose"
    ):
        evaluate(segrap2023("gtv"), *folders, show_progress=False)
    worst = evaluate(segrap2023("gtv"), *folders, missing="worst", show_progress=False)
    assert worst.scored[0].values == {"GTVp_DSC": 1.0, "GTVp_NSD": 1.0, "GTVnd_DSC": 0.0, "GTVnd_NSD": 0.0}
    assert worst.scored[0].missing == ("GTVnd",)
    skipped = evaluate(segrap2023("gtv"), *folders, missing="skip", show_progress=False)
    assert skipped.scored[0].values == {"GTVp_DSC": 1.0, "GTVp_NSD": 1.0, "GTVnd_DSC": None, "GTVnd_NSD": None}
    assert skipped.average["GTVnd_DSC"] is None


def test_the_reference_must_have_all_masks(tmp_path: Path) -> None:
    for folder in ("predicted", "truth"):
        write_map(tmp_path / folder / "segrap_0000" / "GTVnd.nii.gz", block(1, 1, 2))
    with pytest.raises(UserError, match=r"truth/segrap_0000: expected the file GTVp\.nii\.gz, found none.*reference"):
        evaluate(segrap2023("gtv"), tmp_path / "predicted", tmp_path / "truth", missing="worst", show_progress=False)


def test_no_cases(tmp_path: Path) -> None:
    (tmp_path / "segrap_0000").mkdir()
    with pytest.raises(UserError, match=r"expected folders CASE with GTVp\.nii\.gz and others, or label maps"):
        segrap2023("gtv").predictions(tmp_path)


def test_a_case_as_folder_and_as_label_map(tmp_path: Path) -> None:
    """One of them may be of an older model."""
    write_map(tmp_path / "segrap_0000.nii.gz", block(1, 1))
    write_map(tmp_path / "segrap_0000" / "GTVp.nii.gz", block(1, 2))
    found = (
        r"segrap_0000: expected a folder of masks, an image of masks or a label map of a case, found more than one\."
    )
    with pytest.raises(UserError, match=found):
        segrap2023("gtv").predictions(tmp_path)


@pytest.mark.parametrize("name", ["segrap_0000.nii.gz", "segrap_0000/GTVp.nii.gz"])
def test_a_case_as_image_too(tmp_path: Path, name: str) -> None:
    write_map(tmp_path / name, block(1, 1))
    (tmp_path / "segrap_0000.mha").touch()
    with pytest.raises(UserError, match=r"expected a folder of masks, an image of masks or .*, found more than one\."):
        segrap2023("gtv").predictions(tmp_path)
    assert list(segrap2023("gtv").references(tmp_path)) == ["segrap_0000"]


def test_the_image_of_a_container(tmp_path: Path) -> None:
    """Scores are those of the label map that it was made of."""
    record = ChallengeRecord("segrap2023_gtv", TUMORS, {}, ("CT",))
    labels = block(1, 1, 2, 3) + block(2, 6)
    write_map(tmp_path / "maps" / "segrap_0000.nii.gz", labels, origin=(3, -4, 5))
    write_structure_image(tmp_path / "maps" / "segrap_0000.nii.gz", tmp_path / "images" / "segrap_0000.mha", record)
    write_map(tmp_path / "truth" / "segrap_0000.nii.gz", block(1, 2, 3, 4) + block(2, 6), origin=(3, -4, 5))
    of_map, of_image = (
        evaluate(segrap2023("gtv"), tmp_path / folder, tmp_path / "truth", show_progress=False)
        for folder in ("maps", "images")
    )
    assert of_image.scored == of_map.scored
    assert of_image.average["GTVp_DSC"] == 0.6667
    write_map(tmp_path / "truth" / "segrap_0000.nii.gz", block(1, 2, 3, 4) + block(2, 6), origin=(3, -4, 6))
    with pytest.raises(UserError, match=r"segrap_0000\.mha: expected the voxel grid of .*another origin"):
        evaluate(segrap2023("gtv"), tmp_path / "images", tmp_path / "truth", show_progress=False)
