"""``nnunet_ext predict``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli import folders
from nnunet_ext.cli.command import Command
from nnunet_ext.cli.lookup import check_trainer
from nnunet_ext.cli.stock import option, run_stock
from nnunet_ext.errors import UserError
from nnunet_ext.sockets import open_door


@dataclass
class Predict(Command):
    """Open the door, check the images and hand all words to nnUNetv2_predict."""

    name: ClassVar[str] = "predict"

    words: list[str]

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Predict:
        """Keep every word: the stock entry point reads them."""
        return cls(list(arguments))

    def run(self) -> int:
        """Predict with nnU-Net's entry point."""
        open_door()
        if not {"-h", "--help"} & set(self.words):
            self._check()
        from nnunetv2.inference.predict_from_raw_data import predict_entry_point

        run_stock("nnUNetv2_predict", predict_entry_point, self.words)
        return 0

    def _check(self) -> None:
        words = {flag: option(self.words, flag) for flag in ("-i", "-o", "-d", "-c")}
        if missing := [flag for flag, word in words.items() if word is None]:
            raise UserError(
                f"expected -i IMAGES -o OUTPUT -d DATASET -c CONFIGURATION, found no {', '.join(missing)}. "
                f"Example: nnunet_ext predict -i imagesTs -o predictions -d 4 -c 3d_fullres -tr BANetTrainer -f 0"
            )
        trainer = option(self.words, "-tr", "nnUNetTrainer") or ""
        check_trainer(trainer)
        model = self._model(str(words["-d"]), str(words["-c"]), trainer, option(self.words, "-p", "nnUNetPlans") or "")
        from nnunet_ext.base.dataset_check import check_images

        check_images(Path(str(words["-i"])), folders.read_json(model / "dataset.json"))

    @staticmethod
    def _model(dataset: str, configuration: str, trainer: str, plans_name: str) -> Path:
        results = folders.dataset("nnUNet_results", dataset)
        model = results / f"{trainer}__{plans_name}__{configuration}"
        if not (model / "dataset.json").is_file():
            trained = sorted(path.parent.name for path in results.glob("*__*__*/dataset.json"))
            raise UserError(
                f"{model}: expected a trained model, found none. Trained here: {', '.join(trained) or 'nothing'}."
            )
        return model
