"""``nnunet_ext select_similar``."""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.errors import UserError
from nnunet_ext.stock import folders

if TYPE_CHECKING:
    from nnunet_ext.methods.sequential_fine_tuning.buffer import Cases
    from nnunet_ext.prediction.trained_model import TrainedModel

logger = logging.getLogger(__name__)


@dataclass
class SelectSimilar(Command):
    """Choose the cases of a dataset that are most similar to the data that a model was trained on.

    The file is a buffer for SequentialFineTuningTrainer, with the scores of all cases; no label is read:
    nnunet_ext select_similar -d 4 -p FineTunePlans --from models/liver/nnUNetTrainer__nnUNetPlans__3d_fullres -k 10
    """

    name: ClassVar[str] = "select_similar"

    d: str
    model: Path
    k: int
    p: str | None
    draws: int
    seed: int
    random: bool
    o: Path | None
    device: str

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add = parser.add_argument
        add("-d", required=True, help="dataset to choose from, number or name; preprocessed")
        add("--from", dest="model", type=Path, required=True, metavar="MODEL", help="folder or zip file of the model")
        add("-k", type=options.whole(1), required=True, help="number of cases to choose")
        add("-p", help="plans that the dataset is preprocessed with [those of the model]")
        add("--draws", type=options.whole(1), default=32, help="random crops of each case [32]")
        add("--seed", type=options.whole(0), default=0, help="seed of the crops, or of the choice [0]")
        add("--random", action="store_true", help="choose at random, as a control")
        add("-o", type=options.new_or_file, metavar="FILE", help="file to write [buffer_PLANS_CONFIGURATION.json]")
        add("-device", type=options.device, default="cpu", help="where the network runs [cpu]")

    def run(self) -> int:
        """Score the cases and write the file."""
        import random

        import torch

        from nnunet_ext.methods.sequential_fine_tuning.buffer import write_buffer
        from nnunet_ext.methods.sequential_fine_tuning.similarity import FeatureDistance, ranked
        from nnunet_ext.prediction.trained_model import TrainedModel

        model = TrainedModel.load(self.model)
        plans_name = self.p or model.plans_manager.plans_name
        cases = self._cases(self.d, plans_name, model)
        if self.k > len(cases.names):
            raise UserError(
                f"-k {self.k}: expected at most {len(cases.names)} cases, which {cases.place} has. Lower it."
            )
        scores: list[tuple[str, float | None]]
        if self.random:
            names = sorted(cases.names)
            random.Random(self.seed).shuffle(names)
            scores = [(name, None) for name in names]
        else:
            if not hasattr(model.network, "encoder"):
                raise UserError(
                    f"{self.model}: expected a network with an encoder, whose features are compared, found "
                    f"{type(model.network).__name__}. Take the model of a U-Net, or choose with --random."
                )
            own = model.plans_manager
            reference = self._cases(own.dataset_name, own.plans_name, model)
            size = model.configuration.patch_size
            distance = FeatureDistance(model.network, size, self.draws, self.seed, torch.device(self.device))
            distance.fit(reference, show_progress=True)
            scores = [*ranked(distance.of(cases, show_progress=True))]
        folder = folders.dataset("nnUNet_preprocessed", self.d)
        file = self.o or folder / f"buffer_{plans_name}_{model.configuration_name}.json"
        origin = {
            "dataset": folder.name,
            "plans": plans_name,
            "configuration": model.configuration_name,
            "measure": "random" if self.random else "distance of pooled bottleneck features",
            "draws": None if self.random else self.draws,
            "seed": self.seed,
        }
        write_buffer(file, cases.place, scores, self.k, origin)
        print(f"{file}: {self.k} of {len(scores)} cases chosen, {', '.join(name for name, _ in scores[: self.k])}")
        print("They are patients' data that are kept for later trainings: see docs/sequential_fine_tuning.md")
        return 0

    def _cases(self, dataset: str, plans_name: str, model: TrainedModel) -> Cases:
        """Return all cases that are preprocessed for the model's configuration."""
        from nnunet_ext.data.preprocessed.image_preparation import differing_preparation
        from nnunet_ext.data.preprocessed.state import PreprocessedState, preprocessed_cases
        from nnunet_ext.methods.sequential_fine_tuning.buffer import Cases, SeveralFolders
        from nnunet_ext.weights.roles import roles_of

        folder = folders.dataset("nnUNet_preprocessed", dataset)
        plans = folders.plans(dataset, plans_name)
        if model.configuration_name not in plans["configurations"]:
            known = ", ".join(plans["configurations"])
            raise UserError(
                f"{folder / plans_name}.json: expected the model's configuration {model.configuration_name}, found "
                f"{known}. Choose other plans with -p."
            )
        state = PreprocessedState(folder, plans, model.configuration_name)
        state.check()
        of_model = model.plans_manager.plans, model.configuration.configuration
        if differing := differing_preparation(of_model, (plans, state.resolved)):
            logger.warning(
                "%s: the model was trained on images that are prepared differently (%s), so its features may tell "
                "little; plans of nnunet_ext plan_finetune (-p) follow the model's",
                state.place,
                ", ".join(differing),
            )
        found = Cases(state.place, tuple(preprocessed_cases(state.place)))
        names = roles_of(model.dataset_json, cascade=False).channels
        SeveralFolders([found]).check_channels(model.channels, names)
        return found
