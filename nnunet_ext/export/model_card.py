"""The model card: what somebody who gets a model should know of it, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from nnunet_ext.data.classes import summary_names
from nnunet_ext.evaluation.markdown_table import markdown_table
from nnunet_ext.inspection.plain_values import at

FINAL = "checkpoint_final.pth"
AUTHOR = "(to be filled in by the author)"
UNKNOWN = "unknown"
OF_SOURCE = (
    "dataset",
    "trainer",
    "plans",
    "configuration",
    "epochs",
    "training_cases",
    "channels",
    "classes",
    "regions",
    "spacing",
)


@dataclass(frozen=True)
class CardContent:
    """What a model card is written from.

    Args:
        facts: Of the model: its ``dataset``, and what :mod:`nnunet_ext.inspection` finds in plans and checkpoint.
        dataset_json: Its dataset.json.
        fingerprint: Its fingerprint; empty if there is none.
        trainer: Name of the trainer that it is handed over with.
        plans_name: Name of the plans that it is handed over with.
        is_stock: nnU-Net predicts it without another package.
        checkpoint: Name of the checkpoint.
        folds: Names of the folds.
        epochs: Of each fold; None where they are unknown.
        summaries: nnU-Net's validation/summary.json of those folds that have one of this checkpoint.
        reports: fine_tuning.json of those folds that have one.
        origin: ``fine_tuned_from`` of the plans; empty if there is none.
        source: Facts of the checkpoint that the training started from; empty if they are unknown.
        trained: Date of the last training step, such as ``2026-11-29``.
        versions: Of packages.
        left_out: What of the model's files is not in the zip file.
    """

    facts: Mapping[str, Any]
    dataset_json: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    trainer: str
    plans_name: str
    is_stock: bool
    checkpoint: str
    folds: Sequence[str]
    epochs: Sequence[int | None]
    summaries: Mapping[str, Mapping[str, Any]]
    reports: Mapping[str, Mapping[str, Any]]
    origin: Mapping[str, Any]
    source: Mapping[str, Any]
    trained: str | None
    versions: Mapping[str, str]
    left_out: Sequence[str]


def model_card(content: CardContent) -> str:
    """Return the card. It names no path and no case; intended use and licence are left to the author."""
    facts = content.facts
    title = f"# Model card: {facts.get('dataset', UNKNOWN)}, {facts.get('configuration', UNKNOWN)}"
    parts = [
        title,
        _facts(_model(content)),
        f"## Intended use\n\n{AUTHOR}",
        f"## Licence\n\n{AUTHOR}",
        f"## Data\n\n{_facts(_data(content))}",
        f"## Classes\n\n{_classes(content)}",
        f"## Scores\n\n{_scores(content)}",
        *_fine_tuning(content),
        f"## Predict\n\n{_predict(content)}",
        f"## Not in the zip file\n\n{_left_out(content.left_out)}",
    ]
    return "\n\n".join(parts) + "\n"


def _model(content: CardContent) -> dict[str, Any]:
    facts = content.facts
    trained_by = facts.get("trainer", content.trainer)
    features = at(facts, "architecture", "features")
    network = str(at(facts, "architecture", "class") or UNKNOWN)
    if isinstance(features, list) and features:
        network += f", {len(features)} stages, {features[0]} to {features[-1]} features"
    knobs = facts.get("knobs", {})
    return {
        "trained": content.trained or UNKNOWN,
        "trainer": trained_by if trained_by == content.trainer else f"{trained_by}, here as {content.trainer}",
        "method": facts.get("method", "nnU-Net"),
        "fine-tuning strategy": at(knobs, "fine_tune", "strategy") or ("all" if content.reports else None),
        "network": network,
        "parameters": f"{facts['parameters_in_millions']:.2f} million"
        if "parameters_in_millions" in facts
        else UNKNOWN,
        "patch size": _axes(facts.get("patch_size")),
        "spacing": f"{_axes(facts.get('spacing'))} mm, axes in the order of the plans",
        "normalization": ", ".join(map(str, facts.get("normalization_schemes", []))) or UNKNOWN,
        "folds": ", ".join(content.folds),
        "epochs of each fold": ", ".join(UNKNOWN if each is None else str(each) for each in content.epochs),
        "checkpoint": content.checkpoint,
        "versions at the export": ", ".join(f"{name} {number}" for name, number in content.versions.items()),
        "needed for prediction": "nnU-Net v2" if content.is_stock else f"nnU-Net v2, package of {content.trainer}",
    }


def _data(content: CardContent) -> dict[str, Any]:
    channels = at(content.facts, "channels")
    found = {
        "cases": at(content.facts, "training_cases"),
        "channels": ", ".join(map(str, channels.values())) if isinstance(channels, Mapping) else UNKNOWN,
        "file ending": at(content.facts, "file_ending"),
    }
    for name, key, unit in (("spacing", "spacings", " mm"), ("size after cropping", "shapes_after_crop", " voxels")):
        rows = content.fingerprint.get(key)
        if isinstance(rows, list) and rows:
            axes = [sorted(column) for column in zip(*rows, strict=True)]
            shown = (f"{_number(axis[0])} to {_number(axis[-1])} (median {_number(median(axis))})" for axis in axes)
            found[name] = " x ".join(shown) + unit
    return found | {
        key: content.dataset_json[key] for key in ("description", "reference") if key in content.dataset_json
    }


def _classes(content: CardContent) -> str:
    kind = "regions" if "regions" in content.facts else "classes"
    rows = [[kind[:-2] if kind == "classes" else "region", "labels"]]
    rows += [[_text(name), _text(value)] for name, value in content.facts.get(kind, {}).items()]
    if "ignore_label" in content.facts:
        rows.append(["(ignored in training)", _text(content.facts["ignore_label"])])
    return markdown_table(rows)


def _scores(content: CardContent) -> str:
    if not content.summaries:
        return "No validation of this checkpoint was found."
    names = summary_names(content.dataset_json)
    rows = [["Dice", *(f"fold {fold}" for fold in content.summaries), "mean"]]
    for key, name in names.items():
        rows.append([_text(name), *_with_mean([at(each, "mean", key, "Dice") for each in content.summaries.values()])])
    total = [at(each, "foreground_mean", "Dice") for each in content.summaries.values()]
    rows.append(["mean", *_with_mean(total)])
    counts = ", ".join(str(len(each.get("metric_per_case", []))) for each in content.summaries.values())
    told = f"Mean Dice of whole images over each fold's validation cases ({counts}), by nnU-Net's own evaluation."
    if "all" in content.summaries:
        told += " The cases of fold all were trained on."
    return f"{told}\n\n{markdown_table(rows)}"


def _fine_tuning(content: CardContent) -> list[str]:
    """Return the sections of a model that continues another one."""
    found = []
    source = dict(content.origin) | dict(content.source)
    if source:
        shown = {key.replace("_", " "): _setting(source[key]) for key in OF_SOURCE if key in source}
        found.append(f"## Source model\n\nThe training started from the weights of another model.\n\n{_facts(shown)}")
    decisions = content.origin.get("decisions")
    if isinstance(decisions, list) and decisions:
        rows = [["setting", "value", "from"]]
        rows += [[_text(at(each, "what")), _setting(at(each, "value")), _text(at(each, "from"))] for each in decisions]
        found.append(f"Where its settings come from, the source model or the data (target):\n\n{markdown_table(rows)}")
    if content.reports:
        rows = [["class", "fold", "before", "after", "best", ""]]
        for fold, report in content.reports.items():
            for each in report["classes"]:
                scores = [_score(each[key]) for key in ("before", "after", "best")]
                rows.append([_text(each["class"]), fold, *scores, each["verdict"]])
        told = "Pseudo Dice on patches of the validation cases: before the first step, of the final and the best one."
        found.append(f"## Before and after\n\n{told}\n\n{markdown_table(rows)}")
        warnings = [
            f"- fold {fold}: {_text(line)}" for fold, each in content.reports.items() for line in each["warnings"]
        ]
        found += ["\n".join(warnings)] if warnings else []
    return found


def _predict(content: CardContent) -> str:
    dataset, configuration = (content.facts.get(key, UNKNOWN) for key in ("dataset", "configuration"))
    checkpoint = "" if content.checkpoint == FINAL else f" -chk {content.checkpoint}"
    options = f"-d {dataset} -c {configuration} -tr {content.trainer} -p {content.plans_name}"
    stock = (
        "With nnU-Net:\n\n```bash\nnnUNetv2_install_pretrained_model_from_zip MODEL.zip\n"
        f"nnUNetv2_predict -i IMAGES -o OUT {options} -f {' '.join(content.folds)}{checkpoint}\n```"
    )
    ours = (
        "With nnunet_ext, in less time and memory; the second command takes DICOM series, and the zip file as it is:"
        f"\n\n```bash\nnnunet_ext predict -i IMAGES -o OUT {options} -f {' '.join(content.folds)}{checkpoint}\n"
        f"nnunet_ext predict --dicom SERIES -o OUT -m MODEL.zip{checkpoint}\n```"
    )
    if content.is_stock:
        return f"{stock}\n\n{ours}"
    needs = (
        f"The network is that of {content.trainer}. The package that has this trainer must be installed, and "
        f"nnUNet_extTrainer must name its folder of trainers; for nnunet_ext: `$(nnunet_ext sockets)`."
    )
    return f"{needs}\n\n{stock}\n\n{ours}"


def _left_out(names: Sequence[str]) -> str:
    return "\n".join(f"- {_text(name)}" for name in names) or "Nothing was left out."


def _facts(facts: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {_text(value)}" for name, value in facts.items() if value not in (None, ""))


def _with_mean(scores: Sequence[Any]) -> list[str]:
    numbers = [each for each in scores if isinstance(each, int | float) and each == each]
    return [*map(_score, scores), _score(mean(numbers) if numbers else None)]


def _score(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) and value == value else "-"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _axes(value: Any) -> str:
    return " x ".join(_number(each) for each in value) if isinstance(value, list) else UNKNOWN


def _setting(value: Any) -> str:
    """Return the value of a decision: numbers of axes as ``1 x 0.8 x 0.8``, of a normalization its scheme."""
    value = at(value, "scheme") or value
    numbers = isinstance(value, list) and all(isinstance(each, int | float) for each in value)
    return _axes(value) if numbers else _text(value)


def _text(value: Any) -> str:
    """Return a value on one line."""
    if isinstance(value, Mapping):
        value = ", ".join(f"{name}: {each}" for name, each in value.items())
    elif isinstance(value, list):
        value = ", ".join(map(str, value))
    return " ".join(str(value).split())
