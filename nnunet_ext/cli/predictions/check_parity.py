"""``nnunet_ext check_parity``."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nnunet_ext import __version__
from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.output import shown_logs
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import write_text
from nnunet_ext.sockets import open_door
from nnunet_ext.stock.entry_points import check_device
from nnunet_ext.stock.folders import check_writable

if TYPE_CHECKING:
    from nnunet_ext.prediction.parity.comparison import CaseParity, FailedComparison

logger = logging.getLogger(__name__)
GIB = 2**30
HEADER = ("case", "voxels", "differing", "share", "Dice", "largest gap, fp16 steps")
COSTS = ("nnU-Net, s", "nnunet_ext, s", "nnU-Net, GiB", "nnunet_ext, GiB")
NOTE = """Dice is the mean over the labels that at least one of the two label maps has. The gap is the difference of the
logits of the two labels of a voxel where they differ (for regions, the distance of the region's logit from 0), in steps
of fp16, the numbers in which nnU-Net stores logits. Seconds count from reading to writing, without loading the model.
GiB is the most memory that the process had used by then, beyond what it used before it loaded the model."""


@dataclass
class CheckParity(Command):
    """Predict images by nnU-Net and by nnunet_ext predict, and show how the labels differ, and time and memory of each.

    nnunet_ext check_parity nnUNet_results/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__3d_fullres imagesTs

    Exit code 2 if a case could not be predicted, else 1 if some labels differ by more than rounding of logits explains.
    """

    name: ClassVar[str] = "check_parity"
    after_interruption: ClassVar[str] = "Run the same command again; it starts from the beginning."
    has_workers: ClassVar[bool] = True

    model: Path
    images: Path
    f: list[str]
    chk: str
    device: str
    step_size: float
    disable_tta: bool
    o: Path
    n: int | None
    keep: bool
    trust: bool

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options; those that nnUNetv2_predict has as well have its names."""
        add = parser.add_argument
        add("model", metavar="MODEL", type=Path, help="folder TRAINER__PLANS__CONFIGURATION, or a zip file of a model")
        add("images", metavar="IMAGES", type=options.folder, help="folder of images, named CASE_0000 and so on")
        add("-f", nargs="+", type=options.fold, default=[], metavar="FOLD", help="folds [all that were trained]")
        add("-chk", default="checkpoint_final.pth", help="checkpoint [checkpoint_final.pth]")
        add("-device", type=options.device, default="cuda", help="cpu, cuda or mps [cuda]")
        add("-step_size", type=options.real(0, 1), default=0.5, help="step of the sliding window, in patches [0.5]")
        add("--disable_tta", action="store_true", help="do not mirror")
        add("-o", type=options.folder_or_new, default=Path("parity"), help="folder for the table, parity.md [parity]")
        add("-n", type=options.whole(1), metavar="CASES", help="only the first cases [all]")
        add("--keep", action="store_true", help="keep the label maps, in the folders stock and nnunet_ext of -o")
        add("--trust", action="store_true", help=options.TRUST)

    def run(self) -> int:
        """Predict and compare; 2 if a case failed, else 1 if some labels differ by more than rounding explains."""
        open_door()
        check_device(self.device)
        if not self.model.exists():
            raise UserError(f"{self.model}: expected a trained model, found none. Give its folder or its zip file.")
        check_writable(self.o, f"-o {self.o}")
        # not in the system's folder for such files, which can be kept in memory
        with tempfile.TemporaryDirectory(prefix=".parity-", dir=self.o) as scratch, shown_logs():
            return self._compare(self._folder(Path(scratch)), Path(scratch))

    def _folder(self, scratch: Path) -> Path:
        """The model's folder; a zip file is unpacked, since nnU-Net's predictor reads folders."""
        if self.model.is_dir():
            return self.model
        from nnunet_ext.prediction.model_zip import unpack_model

        (scratch / "model").mkdir()
        return unpack_model(self.model, scratch / "model", self.chk)

    def _compare(self, folder: Path, scratch: Path) -> int:
        from nnunet_ext.data.preprocessed.fast_configuration import resampled_by
        from nnunet_ext.data.raw_dataset import list_images
        from nnunet_ext.prediction.parity.comparison import CaseParity, compare_predictions
        from nnunet_ext.prediction.parity.sides import Settings
        from nnunet_ext.prediction.stock_reasons import reason_for_stock
        from nnunet_ext.prediction.trained_model import TrainedModel, trained_folds

        model = TrainedModel.load(folder, self.f or None, self.chk, trust=self.trust)
        reason = reason_for_stock(model.plans_manager.plans, model.dataset_json, model.configuration_name)
        if reason is not None:
            print(f"{self.model}: nothing to compare, nnunet_ext predict leaves this model to nnU-Net: {reason}")
            return 0
        cases = list_images(self.images, model.file_ending, model.channels)[: self.n]
        logger.info("%s", resampled_by(model.configuration, purposes=("data",)))
        folds = tuple(self.f or trained_folds(folder, self.chk))
        settings = Settings(folder, folds, self.chk, self.device, self.step_size, not self.disable_tta, self.trust)
        found: list[CaseParity] = []
        failed: list[FailedComparison] = []
        try:
            for result in compare_predictions(settings, model, cases, self.o if self.keep else scratch):
                if isinstance(result, CaseParity):
                    found.append(result)
                else:
                    failed.append(result)
        finally:  # an interruption does not lose what is known
            if found or failed:
                self._report(found, failed, folds, of=len(cases))
        if failed:
            return 2
        return 0 if all(parity.is_rounding for parity in found) else 1

    def _report(
        self, found: Sequence[CaseParity], failed: Sequence[FailedComparison], folds: Sequence[str], *, of: int
    ) -> None:
        from nnunet_ext.evaluation.markdown_table import markdown_table

        sentences = [_verdict(found)] if found else []
        if len(found) < of:
            sentences.append(f"{of - len(found)} of {of} cases were not compared.")
        verdict = " ".join(sentences)
        parts = [verdict, "\n".join(f"- {each.problem}" for each in failed)]
        if found:
            table = markdown_table([[*HEADER, *COSTS], *map(_row, found), _total(found)])
            parts += [table, NOTE]
            print(table)
        mirroring = "no mirroring" if self.disable_tta else "mirroring as in the training"
        used = f"folds {' '.join(folds)}, {self.chk}, {mirroring}, step size {self.step_size:g}, {self.device}"
        versions = f"nnunetv2 {version('nnunetv2')}, nnunet_ext {__version__}, torch {version('torch')}"
        head = f"# nnU-Net's prediction and that of nnunet_ext\n\n{self.model}, {used}\n\n{self.images}, {versions}"
        write_text(self.o / "parity.md", "\n\n".join([head, *filter(None, parts)]) + "\n")
        print(f"{verdict}\n{self.o / 'parity.md'} written")
        for each in failed:
            print(f"nnunet_ext: error: {each.problem}", file=sys.stderr)


def _row(parity: CaseParity) -> list[str]:
    costs = (parity.stock, parity.ours)
    return [
        *_differences(parity.name, parity.voxels, parity.differing, parity.dice, parity.gap),
        *(f"{cost.seconds:.2f}" for cost in costs),
        *(_gib(cost.memory) for cost in costs),
    ]


def _total(found: Sequence[CaseParity]) -> list[str]:
    dices = [parity.dice for parity in found if parity.dice is not None]
    voxels, differing = (sum(getattr(parity, name) for parity in found) for name in ("voxels", "differing"))
    gap = max(found, key=_by_gap).gap
    sides = [[getattr(parity, side) for parity in found] for side in ("stock", "ours")]
    memories = [[cost.memory for cost in costs if cost.memory is not None] for costs in sides]
    return [
        *_differences("all", voxels, differing, sum(dices) / len(dices) if dices else None, gap),
        *(f"{sum(cost.seconds for cost in costs):.2f}" for costs in sides),
        *(_gib(max(memory, default=None)) for memory in memories),
    ]


def _differences(name: str, voxels: int, differing: int, dice: float | None, gap: float) -> list[str]:
    share = f"{differing / voxels:.1e}" if differing else "0"
    return [name, str(voxels), str(differing), share, "" if dice is None else f"{dice:.6f}", f"{gap:.2f}"]


def _gib(size: int | None) -> str:
    return "" if size is None else f"{size / GIB:.2f}"


def _by_gap(parity: CaseParity) -> tuple[bool, float]:
    """Where rounding explains the gap, and then by size: a gap can be NaN."""
    return not parity.is_rounding, parity.gap


def _verdict(found: Sequence[CaseParity]) -> str:
    differing, voxels = sum(parity.differing for parity in found), sum(parity.voxels for parity in found)
    if not differing:
        return f"The label maps are equal: all {voxels} voxels."
    worst = max(found, key=_by_gap)
    if worst.is_rounding:
        return (
            f"The predictions differ by rounding only: {differing} of {voxels} voxels, at which the two logits are "
            f"within one step of fp16."
        )
    return (
        f"The predictions differ by more than rounding: at a voxel of {worst.name}, the two logits are {worst.gap:.1f} "
        f"steps of fp16 apart."
    )
