"""The folder from which the container of a challenge is built."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

from nnunet_ext.challenges.container.interface import LABEL_MAP, MHA, NIFTI, STRUCTURES, Interface
from nnunet_ext.challenges.container.output_file import HIGHEST
from nnunet_ext.challenges.container.readable_image import reads
from nnunet_ext.challenges.container.settings import ContainerSettings
from nnunet_ext.challenges.conversion.challenge_record import KEY, ChallengeRecord
from nnunet_ext.challenges.packaging.dockerfile import dockerfile, scripts
from nnunet_ext.challenges.packaging.estimate import GIB, Estimate, Limits, case_of, estimate
from nnunet_ext.challenges.packaging.model_tar import FILE, model_folder_of, write_model_tar
from nnunet_ext.challenges.packaging.own_wheel import write_own_wheel
from nnunet_ext.challenges.packaging.pinned_requirements import pinned_requirements
from nnunet_ext.challenges.packaging.sample_input import write_sample_input
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import write_json, write_text
from nnunet_ext.prediction.stock_reasons import reason_for_stock
from nnunet_ext.prediction.trained_model import TrainedModel
from nnunet_ext.stock.folders import check_writable

logger = logging.getLogger(__name__)
SPARE = 0.9  # of the time limit is the container's time budget: it does not see the start of the container
CONVERTED = (".nii.gz", ".nii", ".nrrd", ".gipl")  # endings that SimpleITK writes with the geometry
IGNORED = "*\n!wheels\n!requirements.txt\n!container.json\n"


@dataclass(frozen=True)
class PackageOptions:
    """How a model is packaged.

    Args:
        api_method: ``exec`` or ``invoke``.
        folds: Names of the folds; none: all that are trained.
        checkpoint: Name of the checkpoint.
        step_size: Step of the sliding window in patches.
        mirroring: Average over the mirrorings that the training used.
        image_size: Voxels of the image that is estimated; None: see :func:`case_of`.
        estimated: Estimate time and memory.
    """

    api_method: str
    folds: tuple[str, ...] = ()
    checkpoint: str = "checkpoint_final.pth"
    step_size: float = 0.5
    mirroring: bool = True
    image_size: tuple[int, ...] | None = None
    estimated: bool = True


@dataclass(frozen=True)
class Packaged:
    """What was written.

    Args:
        settings: How the container predicts.
        estimated: What a case needs; None if it was not estimated.
        record: The challenge's structures, if the model's dataset.json has them.
    """

    settings: ContainerSettings
    estimated: Estimate | None
    record: ChallengeRecord | None


def write_package(
    interface: Interface,
    model: Path,
    out: Path,
    limits: Limits,
    options: PackageOptions,
    *,
    show_progress: bool = True,
) -> Packaged:
    """Write the folder; the estimate of time and memory is logged before.

    Args:
        interface: Of the challenge.
        model: Folder ``TRAINER__PLANS__CONFIGURATION``, or a zip file with one.
        out: The folder; it must be empty or not there.
        limits: Of the platform.
        options: How.
        show_progress: Show bars over the folds.

    Returns:
        What was written.

    Raises:
        UserError: The model is not one for this challenge, is damaged or cannot be predicted here, or the folder is not
            empty.

    Example:
        >>> limits = Limits(20 * 60, 16 * GIB, 32 * GIB, 8e12)
        >>> write_package(INTERFACES["kits21"], Path("model.zip"), Path("kits"), limits, options)  # doctest: +SKIP
    """
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out}: expected an empty folder, found files in it. Choose another.")
    check_writable(out, str(out))
    with model_folder_of(model, options.checkpoint) as folder:
        found = TrainedModel.load(folder, options.folds or None, options.checkpoint)
        record = _record(found, interface, model)
        own = _chosen_inputs(interface, record, found, model)
        _check_model(found, own, record, model)
        guess = None
        if options.estimated:
            case = case_of(folder, found, options.image_size)
            guess = estimate(found, case, own, record, step_size=options.step_size, mirroring=options.mirroring)
        if guess is not None:
            _say(guess, limits)
        settings = ContainerSettings(
            own, tuple(found.folds), options.checkpoint, options.step_size, options.mirroring, SPARE * limits.seconds
        )
        del found  # its weights
        write_model_tar(folder, settings.folds, options.checkpoint, out / FILE, show_progress=show_progress)
    write_json(out / "container.json", settings.as_json())
    write_sample_input(out / "test" / "input" / "interf0", own)
    (out / "wheels").mkdir()
    wheel = write_own_wheel(out / "wheels")
    write_text(out / "requirements.txt", "".join(f"{line}\n" for line in pinned_requirements()))
    write_text(out / "Dockerfile", dockerfile(options.api_method, wheel.name))
    write_text(out / ".dockerignore", IGNORED)
    tag = re.sub(r"[^a-z0-9]+", "_", f"{interface.name}_{out.absolute().name}".lower()).strip("_")  # docker's rule
    for name, text in scripts(tag, options.api_method, limits.ram / GIB).items():
        write_text(out / name, text)
        (out / name).chmod(0o755)
    return Packaged(settings, guess, record)


def _say(guess: Estimate, limits: Limits) -> None:
    for line in guess.lines(limits):
        logger.info("%s", line)
    for problem in guess.problems(limits):
        logger.warning("Note: %s.", problem)


def _record(model: TrainedModel, interface: Interface, where: Path) -> ChallengeRecord | None:
    """The structures that the model predicts, if its dataset.json says so.

    Raises:
        UserError: They are those of another challenge, or are needed and not there.
    """
    if KEY not in model.dataset_json:
        if interface.output.kind == STRUCTURES:
            ChallengeRecord.of(model.dataset_json, f"{where}: dataset.json")  # raises
        return None
    record = ChallengeRecord.of(model.dataset_json, f"{where}: dataset.json")
    if interface.records and record.name not in interface.records:
        raise UserError(
            f"{where}: expected a model of {' or '.join(interface.records)} for {interface.name}, found one of "
            f"{record.name}. Choose another challenge or model."
        )
    return record


def _chosen_inputs(interface: Interface, record: ChallengeRecord | None, model: TrainedModel, where: Path) -> Interface:
    """The interface with an input for each channel of the model, in their order."""
    inputs = interface.inputs
    if record is not None:
        by_channel = {image.channel: image for image in inputs}
        unknown = [channel for channel in record.channels if channel not in by_channel]
        if unknown:
            raise UserError(
                f"{where}: expected channels {', '.join(by_channel)}, found {unknown[0]} in its dataset.json. Name it "
                f"as channel of an input (--challenge custom --interface FILE)."
            )
        inputs = tuple(by_channel[channel] for channel in record.channels)
    if len(inputs) != model.channels:
        raise UserError(
            f"{where}: expected a model of {len(inputs)} channels ({', '.join(each.channel for each in inputs)}), "
            f"found {model.channels}. Choose another model, or name the inputs (--challenge custom --interface FILE)."
        )
    return replace(interface, inputs=inputs)


def _check_model(model: TrainedModel, interface: Interface, record: ChallengeRecord | None, where: Path) -> None:
    """Refuse what the container could not predict or write.

    Raises:
        UserError: It needs nnU-Net's own command, does not read the platform's images, or has too many labels.
    """
    reason = reason_for_stock(model.plans_manager.plans, model.dataset_json, model.configuration_name)
    if reason is not None:
        raise UserError(f"{where}: expected a model that nnunet_ext predicts, but {reason}. Use another model.")
    output = interface.output
    if output.ending not in (MHA, NIFTI)[: 1 if output.kind == STRUCTURES else 2]:
        raise UserError(
            f"{output.slug}: expected output {MHA}, or of a label map {NIFTI}, got {output.ending}. Correct the "
            f"interface."
        )
    for image in interface.inputs:
        if image.ending not in (MHA, NIFTI):
            raise UserError(
                f"{image.slug}: expected files {MHA} or {NIFTI}, got {image.ending}. Correct the interface."
            )
        if not reads(model, image.ending) and model.file_ending not in CONVERTED:
            raise UserError(
                f"{where}: expected a model of images {image.ending} or {', '.join(CONVERTED)}, found "
                f"{model.file_ending}. Use another model."
            )
    highest = max(model.label_manager.foreground_labels)
    if interface.output.kind == LABEL_MAP and highest > HIGHEST and not (record and record.values):
        raise UserError(f"{where}: expected labels up to {HIGHEST}, found {highest}. Use a model with fewer.")
