"""Images of a collection's members that are unlabelled, for all tasks or for some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

from nnunet_ext.collection.training.prepared_member import PreparedMember
from nnunet_ext.collection.training.sampling import sampling_shares
from nnunet_ext.collection.training.trainer import MultiTaskTrainer
from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.data.preprocessed.use import use_data
from nnunet_ext.data.same_images import images_of, raw_folder, same_images
from nnunet_ext.errors import UserError, more
from nnunet_ext.methods.versemi.loader import FrameSource
from nnunet_ext.seeding.seeded_blur import steady_blur
from nnunet_ext.semi_supervised.preprocessed_images import UnlabelledData
from nnunet_ext.semi_supervised.preprocessing import check_unlabelled
from nnunet_ext.semi_supervised.raw_images import FOLDER, KEY, has_unlabelled, unlabelled_images
from nnunet_ext.semi_supervised.two_streams import unlabelled_loader


def frame_sources(trainer: MultiTaskTrainer) -> list[FrameSource]:
    """Return the images without labels that a training on a collection has, and how often each is drawn.

    They are each member's unlabelled images, preprocessed with its plans of the collection, and its labelled images, if
    another task has as many channels: they are unlabelled for that task. A member is drawn as often as it is with
    labels, its images all alike.

    Args:
        trainer: A collection's trainer.

    Raises:
        UserError: Unlabelled images are not preprocessed with these plans, or not as they are now, or a member is
            validated on one of them.
    """
    shares = sampling_shares(trainer.table, trainer.knobs["multi_dataset"]["sampling"])
    channels = [member.task.channels for member in trainer.members]
    sources, unlabelled, validated = [], {}, {}
    for number, member in enumerate(trainer.members):
        folder, cases = _unlabelled_of(member, trainer.configuration_name)
        with trainer.on_task(number):
            datasets = [infer_dataset_class(str(folder))(str(folder), cases)] if cases else []
            if channels.count(channels[number]) > 1:
                datasets.append(trainer.get_tr_and_val_datasets()[0])
            sizes = [len(dataset.identifiers) for dataset in datasets]
            for dataset, size in zip(datasets, sizes, strict=True):
                loader = unlabelled_loader(trainer, dataset, 1)
                if trainer.knobs["seed"] is not None:
                    steady_blur(loader.transforms)
                sources.append(FrameSource(number, loader, shares[number] * size / sum(sizes)))
            validated[member.task.dataset] = trainer.do_split()[1]
        unlabelled[member.task.dataset] = cases
        trainer.print_to_log_file(f"{member}: {len(cases)} unlabelled case{'s' * (len(cases) != 1)}")
    if trainer.fold != "all":
        _check_apart(trainer.members, unlabelled, validated)
    return sources


def _unlabelled_of(member: PreparedMember, configuration: str) -> tuple[Path, list[str]]:
    """Return the folder of a member's preprocessed unlabelled images and their names; none if it has no such images.

    They are in use by this process from now on.
    """
    context, raw = member.context, raw_folder() / member.task.dataset
    place = Path(context.preprocessed_dataset_folder_base), context.plans_manager.plans, configuration
    folder = UnlabelledData(*place).place
    if not folder.is_dir() and not has_unlabelled(raw):
        return folder, []
    use_data(folder)
    return folder, check_unlabelled(*place, raw)


def _check_apart(
    members: Sequence[PreparedMember],
    unlabelled: Mapping[str, Sequence[str]],
    validated: Mapping[str, Sequence[str]],
) -> None:
    """Refuse unlabelled images of any member that any member is validated on, under any name; cases by dataset."""
    trained_on: dict[str, list[Path]] = {}
    scored: dict[str, list[Path]] = {}
    for member in members:
        name, description = member.task.dataset, member.context.dataset_json
        trained_on |= unlabelled_images(name, description, unlabelled[name])
        scored |= images_of(raw_folder(), name, description, validated[name])
    both = same_images(trained_on, scored)
    if both:
        (without, case), dataset = both[0], both[0][0].partition("/")[0]
        raise UserError(
            f"{dataset}: expected no validation case of a member among the unlabelled images, found {case}, which is "
            f"trained on as {without}{more(len(both) - 1)}. Remove it from {FOLDER} (or from {KEY!r} in dataset.json) "
            f"and run nnunet_ext preprocess_unlabelled -d {dataset_number(dataset)} again."
        )
