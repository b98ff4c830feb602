"""A trained model as a zip file that nnU-Net imports, with a model card."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import torch
from torch import Tensor
from torch._dynamo import OptimizedModule
from tqdm import tqdm

from nnunet_ext.errors import UserError, is_write_error, one_line
from nnunet_ext.export.handed_over_model import CARD, HandedOverModel
from nnunet_ext.files.json_file import whole_file, write_text
from nnunet_ext.prediction.model_zip import unpack_model
from nnunet_ext.prediction.trained_model import TrainedModel

TIME = (1980, 1, 1, 0, 0, 0)  # of all entries, so that equal models are equal files
READABLE = 0o644 << 16


def export_model(
    model: Path,
    output: Path,
    folds: Sequence[str],
    checkpoint: str = "checkpoint_final.pth",
    *,
    plans_name: str | None = None,
    card: Path | None = None,
    show_progress: bool = True,
) -> HandedOverModel:
    """Write a model as a zip file for ``nnUNetv2_install_pretrained_model_from_zip``, with a model card in it.

    If nnU-Net's own network predicts the same, which is verified on random images, the model becomes one of
    ``nnUNetTrainer``; else it keeps its trainer. Nothing in the zip file names a path or a case, or serves only to
    continue the training. The file is read again before it gets its name: it must have the model's weights and predict
    a random patch as the model does. Equal models give equal files.

    Args:
        model: Folder ``TRAINER__PLANS__CONFIGURATION`` in nnUNet_results.
        output: The zip file; it must not be there.
        folds: Names of the folds, at least one.
        checkpoint: Name of the checkpoint, here and there.
        plans_name: Name of the plans in the zip file; None: the model's.
        card: Another file for the model card; it must not be there.
        show_progress: Show bars over the folds.

    Returns:
        What was written.

    Raises:
        UserError: The model is damaged or that of a collection, its trainer is not installed, the zip file predicts
            otherwise, or a file is there or cannot be written.

    Example:
        >>> export_model(Path("FineTuneTrainer__FineTunePlans__3d_fullres"), Path("liver.zip"), ["0"])  # doctest: +SKIP
    """
    for file in (output,) if card is None else (output, card):
        with _not_there(file):
            if file.exists():
                raise FileExistsError(file)
    made = HandedOverModel.read(model, folds, checkpoint, plans_name, show_progress)
    try:
        with _not_there(output), whole_file(output, new=True) as partial:
            text = _write(made, partial, show_progress)
            _check(model, partial, made, show_progress)
    except RuntimeError as error:
        if isinstance(error, UserError) or not is_write_error(error):
            raise
        raise UserError(
            f"{output}: expected to write a model, got {one_line(error)!r}. Free space or choose another place."
        ) from error
    if card is not None:
        with _not_there(card):
            write_text(card, text, new=True)
    return made


@contextlib.contextmanager
def _not_there(file: Path) -> Iterator[None]:
    """Say which file is there, be it from the start or written by another process meanwhile."""
    try:
        yield
    except FileExistsError as error:
        raise UserError(f"{file}: expected no such file yet, found one. Choose another name.") from error


def _write(made: HandedOverModel, file: Path, show_progress: bool) -> str:
    """Write the zip file; return the model card."""
    with ZipFile(file, "w") as archive:
        for fold in tqdm(made.folds, desc="folds", disable=not show_progress):
            name = f"{made.name}/fold_{fold}/{made.checkpoint_name}"
            with archive.open(_entry(name, ZIP_STORED), "w", force_zip64=True) as stream:  # weights hardly compress
                torch.save(made.checkpoint(fold), stream)
        files = made.files()
        text = made.card()
        for name, content in sorted(files.items()):
            archive.writestr(_entry(f"{made.name}/{name}", ZIP_DEFLATED), content)
        archive.writestr(_entry(f"{made.name}/{CARD}", ZIP_DEFLATED), text)
    return text


def _entry(name: str, compression: int) -> ZipInfo:
    entry = ZipInfo(name, TIME)
    entry.compress_type, entry.external_attr = compression, READABLE
    return entry


def _check(model: Path, file: Path, made: HandedOverModel, show_progress: bool) -> None:
    """Refuse a zip file with other weights than the model's, or that predicts a random patch otherwise."""
    with TemporaryDirectory(prefix="nnunet_ext_export_") as place:
        unpacked = unpack_model(file, Path(place), made.checkpoint_name)
        for number, fold in enumerate(tqdm(made.folds, desc="reading the zip file", disable=not show_progress)):
            before, after = (TrainedModel.load(each, [fold], made.checkpoint_name) for each in (model, unpacked))
            known = before.parameters[0]
            equal = all(torch.equal(known[name], tensor) for name, tensor in after.parameters[0].items())
            equal &= before.mirroring_axes == after.mirroring_axes
            if not equal or (number == 0 and not torch.equal(_logits(before), _logits(after))):
                raise UserError(
                    f"{model}: expected a zip file that predicts as fold {fold} does, but it does not. It was not "
                    f"kept; please report this, with the output of nnunet_ext inspect {model}."
                )


@torch.inference_mode()
def _logits(model: TrainedModel) -> Tensor:
    network = model.network._orig_mod if isinstance(model.network, OptimizedModule) else model.network
    shape = (1, model.channels, *model.configuration.patch_size)
    logits: Tensor = network.eval()(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    return logits
