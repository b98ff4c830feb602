"""Make trained models, or use them, with the nnunet_ext that is first on the path: an earlier commit, or this one.

python trained.py make FOLDER     # datasets, plans, a collection, a half-trained and two trained models
python trained.py use FOLDER      # resume, validate, predict
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

KNOBS = ["num_epochs=2", "num_iterations_per_epoch=3", "num_val_iterations_per_epoch=1", "seed=0"]
CONFIGURATION, FOLD = "3d_fullres", "0"
SINGLE = ["901", CONFIGURATION, FOLD, "-tr", "BANetTrainer", "-p", "LitePlans", "-device", "cpu"]
SEVERAL = ["900", CONFIGURATION, FOLD, "-tr", "UniSegTrainer", "-p", "CollectionLitePlans", "-device", "cpu"]
HALF_WAY = 1  # epochs


def stock(entry_point: Callable[[], object], *words: str) -> None:
    """Run a command of nnU-Net as if typed."""
    sys.argv = ["nnUNetv2", *words]
    entry_point()


def make() -> None:
    """Plan two datasets and a collection of both; train one model half-way, and one of the collection."""
    from nnunetv2.run.run_training import run_training_entry
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from nnunet_ext.cli.main import main

    for words in (
        ["phantoms", "-d", "901"],
        ["collect", "-d", "900", "-n", "Both", "901", "902"],
        ["plan_and_preprocess", "-d", "900", "-pl", "CollectionLitePlanner", "--set", *KNOBS],
        ["plan_and_preprocess", "-d", "901", "-pl", "LitePlanner", "-c", CONFIGURATION, "--set", *KNOBS],
    ):
        assert main(words) == 0, words
    stock(run_training_entry, *SEVERAL)
    start = nnUNetTrainer.on_epoch_start

    def stops(trainer: nnUNetTrainer) -> None:
        if trainer.current_epoch == HALF_WAY:
            os._exit(0)
        start(trainer)

    nnUNetTrainer.on_epoch_start = stops
    stock(run_training_entry, *SINGLE)


def use() -> None:
    """Resume the one training, validate both, predict with both."""
    from nnunetv2.inference.predict_from_raw_data import predict_entry_point
    from nnunetv2.run.run_training import run_training_entry

    from nnunet_ext.cli.main import main

    stock(run_training_entry, *SINGLE, "--c")
    stock(run_training_entry, *SEVERAL, "--val")
    images = str(next(Path(os.environ["nnUNet_raw"]).glob("Dataset901_*")) / "imagesTs")
    options = ["-c", CONFIGURATION, "-f", FOLD, "-device", "cpu", "-npp", "0", "-nps", "0", "-i", images]
    stock(predict_entry_point, "-d", "901", "-tr", "BANetTrainer", "-p", "LitePlans", *options, "-o", "single")
    view = next(Path(os.environ["nnUNet_results"]).glob("Dataset901_*/UniSegTrainer__*")).name.split("__")[1]
    stock(predict_entry_point, "-d", "901", "-tr", "UniSegTrainer", "-p", view, *options, "-o", "view")
    words = ["predict_tasks", "-d", "900", "-tr", "UniSegTrainer", "-p", "CollectionLitePlans", "-f", FOLD]
    assert main([*words, "-device", "cpu", "-i", images, "-o", "tasks"]) == 0


if __name__ == "__main__":
    step, folder = sys.argv[1:]
    os.chdir(folder)
    for name in ("raw", "preprocessed", "results"):
        Path(name).mkdir(exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str(Path(name).resolve())
    {"make": make, "use": use}[step]()
