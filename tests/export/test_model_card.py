"""The model card: everything that is known, in Markdown, and a place for what only the author knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nnunet_ext.export.model_card import CardContent, model_card

FACTS: dict[str, Any] = {
    "trainer": "FineTuneTrainer",
    "method": "Fine-tuning",
    "dataset": "Dataset004_Hippocampus",
    "configuration": "3d_fullres",
    "classes": {"anterior": 1, "posterior|end": 2},
    "channels": {"0": "CT", "1": "PET"},
    "file_ending": ".nii.gz",
    "training_cases": 4,
    "spacing": [3.0, 0.75, 0.75],
    "patch_size": [8, 16, 12],
    "normalization_schemes": ["CTNormalization", "ZScoreNormalization"],
    "architecture": {"class": "PlainConvUNet", "features": [8, 16, 32]},
    "knobs": {"init_from": "/data/source.pth", "fine_tune": {"strategy": "lora"}},
    "parameters_in_millions": 1.234,
}
CONTENT = CardContent(
    facts=FACTS,
    dataset_json={"labels": {"background": 0, "anterior": 1, "posterior|end": 2}, "description": "T1 of\nthe brain"},
    fingerprint={"spacings": [[3, 1, 1], [2, 0.5, 1], [4, 1, 1]], "shapes_after_crop": [[9, 40, 30]]},
    trainer="nnUNetTrainer",
    plans_name="FineTunePlans",
    is_stock=True,
    checkpoint="checkpoint_final.pth",
    folds=("0", "1"),
    epochs=(150, None),
    summaries={
        "0": {
            "mean": {"1": {"Dice": 0.8}, "2": {"Dice": float("nan")}},
            "foreground_mean": {"Dice": 0.8},
            "metric_per_case": [{}, {}],
        },
        "1": {"mean": {"1": {"Dice": 0.9}, "2": {"Dice": 0.5}}, "foreground_mean": {"Dice": 0.7}},
    },
    reports={
        "1": {
            "classes": [{"class": "anterior", "before": 0.5, "after": 0.75, "best": None, "verdict": "better"}],
            "warnings": ["WARNING: worse"],
        }
    },
    origin={
        "model": "/data/source.zip",
        "dataset": "Dataset300_Brain",
        "trainer": "nnUNetTrainer",
        "decisions": [
            {"what": "spacing", "value": [3.0, 1.0, 1.0], "from": "source", "why": "/data"},
            {"what": "normalization of 'CT'", "value": {"scheme": "CT", "mask": False}, "from": "source", "why": ""},
            {"what": "classes", "value": ["anterior", "posterior"], "from": "target", "why": ""},
        ],
    },
    source={"dataset": "Dataset300_Brain", "classes": {"anterior": 1}, "spacing": [3.0, 1.0, 1.0], "epochs": 1000},
    trained="2026-11-29",
    versions={"nnunet_ext": "1.2", "torch": "2.9 (training: 2.8)"},
    left_out=("checkpoint: logging",),
)


def cells(text: str) -> list[list[str]]:
    """The rows of all tables, and the lines of all lists."""
    listed = [line[2:].split(": ", 1) for line in text.splitlines() if line.startswith("- ")]
    lines = (line for line in text.splitlines() if line.startswith("|") and not line.startswith("|--"))
    return listed + [[cell.strip() for cell in line.replace("\\|", "/").split("|")[1:-1]] for line in lines]


def test_everything_that_is_known() -> None:
    text = model_card(CONTENT)
    assert text.startswith("# Model card: Dataset004_Hippocampus, 3d_fullres\n\n- trained: ")
    assert "/data" not in text
    rows = cells(text)
    for row in (
        ["trained", "2026-11-29"],
        ["trainer", "FineTuneTrainer, here as nnUNetTrainer"],
        ["method", "Fine-tuning"],
        ["fine-tuning strategy", "lora"],
        ["network", "PlainConvUNet, 3 stages, 8 to 32 features"],
        ["parameters", "1.23 million"],
        ["patch size", "8 x 16 x 12"],
        ["spacing", "3 x 0.75 x 0.75 mm, axes in the order of the plans"],
        ["folds", "0, 1"],
        ["epochs of each fold", "150, unknown"],
        ["versions at the export", "nnunet_ext 1.2, torch 2.9 (training: 2.8)"],
        ["needed for prediction", "nnU-Net v2"],
        ["cases", "4"],
        ["channels", "CT, PET"],
        ["spacing", "2 to 4 (median 3) x 0.5 to 1 (median 1) x 1 to 1 (median 1) mm"],
        ["size after cropping", "9 to 9 (median 9) x 40 to 40 (median 40) x 30 to 30 (median 30) voxels"],
        ["description", "T1 of the brain"],
        ["anterior", "1"],
        ["posterior/end", "2"],
        ["Dice", "fold 0", "fold 1", "mean"],
        ["anterior", "0.800", "0.900", "0.850"],
        ["posterior/end", "-", "0.500", "0.500"],
        ["mean", "0.800", "0.700", "0.750"],
        ["dataset", "Dataset300_Brain"],
        ["epochs", "1000"],
        ["classes", "anterior: 1"],
        ["spacing", "3 x 1 x 1", "source"],
        ["normalization of 'CT'", "CT", "source"],
        ["classes", "anterior, posterior", "target"],
        ["anterior", "1", "0.500", "0.750", "-", "better"],
    ):
        assert row in rows, row
    assert "validation cases (2, 0)" in text
    assert "- fold 1: WARNING: worse\n" in text
    assert "- checkpoint: logging\n" in text


def test_what_the_author_fills_in() -> None:
    text = model_card(CONTENT)
    for heading in ("Intended use", "Licence"):
        assert f"\n## {heading}\n\n(to be filled in by the author)\n" in text


def test_how_to_predict() -> None:
    text = model_card(CONTENT)
    assert (
        "\nnnUNetv2_predict -i IMAGES -o OUT -d Dataset004_Hippocampus -c 3d_fullres -tr nnUNetTrainer "
        "-p FineTunePlans -f 0 1\n"
    ) in text
    assert "\nnnunet_ext predict --dicom SERIES -o OUT -m MODEL.zip\n" in text
    assert "must be installed" not in text
    other = model_card(
        replace(CONTENT, is_stock=False, trainer="BANetTrainer", checkpoint="checkpoint_best.pth", facts=FACTS)
    )
    assert "-tr BANetTrainer -p FineTunePlans -f 0 1 -chk checkpoint_best.pth\n" in other
    assert "-m MODEL.zip -chk checkpoint_best.pth\n" in other
    assert "The network is that of BANetTrainer. The package that has this trainer must be installed" in other
    assert ["needed for prediction", "nnU-Net v2, package of BANetTrainer"] in cells(other)


def test_regions_and_an_ignore_label() -> None:
    facts = {key: value for key, value in FACTS.items() if key != "classes"}
    facts |= {"regions": {"whole": [1, 2], "core": [2]}, "ignore_label": 3}
    labels = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    summary = {"mean": {"(1, 2)": {"Dice": 0.6}, "(2,)": {"Dice": 0.4}}, "foreground_mean": {"Dice": 0.5}}
    text = model_card(replace(CONTENT, facts=facts, dataset_json={"labels": labels}, summaries={"all": summary}))
    rows = cells(text)
    assert ["region", "labels"] in rows
    assert ["whole", "1, 2"] in rows
    assert ["(ignored in training)", "3"] in rows
    assert ["whole", "0.600", "0.600"] in rows
    assert ["core", "0.400", "0.400"] in rows
    assert "The cases of fold all were trained on." in text
    assert "were trained on" not in model_card(CONTENT)


def test_what_is_unknown_is_not_made_up() -> None:
    bare = replace(
        CONTENT,
        facts={"dataset": "Dataset001_A", "configuration": "2d"},
        fingerprint={},
        summaries={},
        reports={},
        origin={},
        source={},
        trained=None,
        left_out=(),
    )
    text = model_card(bare)
    assert "No validation of this checkpoint was found." in text
    assert "Nothing was left out." in text
    rows = cells(text)
    assert ["trained", "unknown"] in rows
    assert ["method", "nnU-Net"] in rows
    assert "fine-tuning strategy" not in text
    assert "Source model" not in text
    assert "Before and after" not in text
    assert "size after cropping" not in text
