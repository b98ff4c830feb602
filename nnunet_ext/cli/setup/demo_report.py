"""The demo's output: a figure, the training curve and a table."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nnunet_ext.cli.setup.demo_data import Unseen, image_files
from nnunet_ext.data.dataset_json import read_dataset_json
from nnunet_ext.stock import folders

ROWS = 3  # cases in the figure


@dataclass(frozen=True)
class Report:
    """Reads what the commands wrote and draws it.

    Args:
        out: The demo's folder.
        models: By trainer, the folder of its trained model; the first trainer is shown.
        unseen: The cases that were predicted.
        device: ``cpu`` or ``cuda``.
    """

    out: Path
    models: dict[str, Path]
    unseen: Unseen
    device: str

    def predictions(self, trainer: str) -> Path:
        """Return the folder that a trainer's model predicts into."""
        return self.out / "predictions" / trainer

    def write(self) -> str:
        """Write figure.png, training_curve.png and results.md; return the latter's text."""
        from nnunet_ext.base.checkpoints import read_checkpoint
        from nnunet_ext.data.classes import summary_names
        from nnunet_ext.evaluation.dice_table import dice_table
        from nnunet_ext.evaluation.training_curve import training_curve

        logs: dict[str, dict[str, list[Any]]] = {
            trainer: read_checkpoint(model / "fold_0" / "checkpoint_final.pth", trust=True)["logging"]
            for trainer, model in self.models.items()
        }
        training_curve(logs).savefig(self.out / "training_curve.png", dpi=100)
        self._figure()
        summaries = {trainer: folders.read_json(self.predictions(trainer) / "summary.json") for trainer in self.models}
        seconds = {t: log["epoch_end_timestamps"][-1] - log["epoch_start_timestamps"][0] for t, log in logs.items()}
        table = dice_table(summaries, summary_names(self._description()), seconds)
        count = len(next(iter(summaries.values()))["metric_per_case"])
        text = f"{table}\n\n{count} unseen cases ({self.unseen.origin}). {verdict(summaries)}\n"
        (self.out / "results.md").write_text(text, encoding="utf-8")
        return text

    def _description(self) -> dict[str, Any]:
        return read_dataset_json(next(iter(self.models.values())) / "dataset.json")

    def _figure(self) -> None:
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        from nnunet_ext.data.classes import map_names
        from nnunet_ext.evaluation.boundary_map import boundary_maps
        from nnunet_ext.evaluation.segmentation_figure import Case, segmentation_figure

        trainer, model = next(iter(self.models.items()))
        description = self._description()
        ending = description["file_ending"]
        truths = sorted(self.unseen.labels.glob(f"*{ending}"))[:ROWS]
        names = [truth.name.removesuffix(ending) for truth in truths]
        files = [image_files(self.unseen.images, name, ending) for name in names]
        with (
            (self.out / "logs" / "figure.log").open("w") as log,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            found = boundary_maps(model, files, device=self.device)
            maps: Sequence[NDArray | None] = found or [None] * len(files)
            reader = PlansManager(str(model / "plans.json")).image_reader_writer_class()
            cases = []
            for name, truth, channels, boundary in zip(names, truths, files, maps, strict=True):
                image, properties = reader.read_images([str(file) for file in channels])
                labels = reader.read_seg(str(truth))[0][0]
                prediction = reader.read_seg(str(self.predictions(trainer) / truth.name))[0][0]
                cases.append(Case(name, image[0], labels, prediction, properties["spacing"], boundary))
        figure = segmentation_figure(cases, map_names(description), trainer=trainer)
        figure.savefig(self.out / "figure.png", dpi=110)


def verdict(summaries: dict[str, dict[str, Any]]) -> str:
    """Say in one sentence which trainer is ahead, and how far that can be trusted."""
    scores = {trainer: summary["foreground_mean"]["Dice"] for trainer, summary in summaries.items()}
    if len(scores) == 1:
        return "One short schedule and one seed: this shows that everything works."
    first, second = sorted(scores, key=lambda trainer: scores[trainer], reverse=True)
    return (
        f"{first} is ahead of {second} by {scores[first] - scores[second]:.3f} mean foreground Dice. One fold, one "
        f"seed and a short schedule: this shows that everything works, not which method is better."
    )
