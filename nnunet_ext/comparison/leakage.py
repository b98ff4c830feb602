"""Cases that ``nnunet_ext compare`` scores must not be those that a training sees."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_ext.base.knobs import parse, put
from nnunet_ext.data.folds import folds_of
from nnunet_ext.data.same_images import Images, images_of, raw_folder, same_images
from nnunet_ext.errors import UserError, more
from nnunet_ext.semi_supervised.hidden_labels import HIDDEN
from nnunet_ext.stock import folders
from nnunet_ext.stock.lookup import ext_trainer

if TYPE_CHECKING:
    from nnunet_ext.comparison.arm import Arm
    from nnunet_ext.comparison.setting import Setting


def check_scored_apart(setting: Setting, arm: Arm, fold: str) -> None:
    """Refuse cases to score that a fold trains on, under any name.

    Unlabelled images that a trainer sees count, unless what is scored are their own hidden labels.

    Args:
        setting: The comparison.
        arm: A trainer and its knobs.
        fold: The fold, or ``all``.

    Raises:
        UserError: There is one.
    """
    data, trainer = folders.dataset("nnUNet_preprocessed", setting.d), arm.trainer
    description = setting.scored.description
    train, val = _split(data, setting.scored.ending, fold)
    scored: Images = {case.name: case.images for case in setting.scored.cases}
    scored = scored or images_of(raw_folder(), data.name, description, val)
    _check(same_images(images_of(raw_folder(), data.name, description, train), scored), trainer, fold, "trains on")
    if setting.scored.origin != HIDDEN:
        _check(same_images(_unlabelled(setting, data, arm), scored), trainer, fold, "sees unlabelled")


def _split(data: Path, ending: str, fold: str) -> tuple[list[str], list[str]]:
    """Training and validation cases; in a fold that nnU-Net will draw, any case may be trained on."""
    names = [file.name.removesuffix(ending) for file in sorted((data / "gt_segmentations").glob(f"*{ending}"))]
    folds = folds_of([data], names)
    if not fold.isdigit() or int(fold) >= len(folds):
        return names, []
    return folds[int(fold)]["train"], folds[int(fold)]["val"]


def _unlabelled(setting: Setting, data: Path, arm: Arm) -> Images:
    """The unlabelled images of a training, if it has any."""
    from nnunet_ext.semi_supervised.raw_images import unlabelled_images
    from nnunet_ext.semi_supervised.trainer import SemiSupervisedTrainer

    kind = ext_trainer(arm.trainer)
    if kind is None or not issubclass(kind, SemiSupervisedTrainer):
        return {}
    plans = deepcopy(folders.plans(setting.d, setting.p))
    put(plans, parse(arm.knobs))
    cases = kind.unlabelled_cases(data, plans, setting.c)
    return unlabelled_images(data.name, setting.scored.description, cases)


def _check(both: list[tuple[str, str]], trainer: str, fold: str, does: str) -> None:
    if both:
        seen, scored = both[0]
        raise UserError(
            f"-tr {trainer}, fold {fold}: expected to score cases that the training does not see, got {scored}, which "
            f"it {does} as {seen}{more(len(both) - 1)}. Score others, or remove them from the training."
        )
