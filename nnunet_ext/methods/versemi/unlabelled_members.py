"""The unlabelled images of a collection's members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunet_ext.collection.training.prepared_member import PreparedMember
from nnunet_ext.data.dataset_json import dataset_number
from nnunet_ext.data.preprocessed.use import use_data
from nnunet_ext.data.same_images import images_of, raw_folder, same_images
from nnunet_ext.errors import UserError, more
from nnunet_ext.semi_supervised.preprocessed_images import UnlabelledData
from nnunet_ext.semi_supervised.preprocessing import check_unlabelled
from nnunet_ext.semi_supervised.raw_images import FOLDER, KEY, has_unlabelled, unlabelled_images


def unlabelled_of(member: PreparedMember, configuration: str) -> tuple[Path, list[str]]:
    """Return the folder of a member's preprocessed unlabelled images and their names; none if it has no such images.

    They are those of its plans of the collection, and in use by this process from now on.

    Args:
        member: The member.
        configuration: Name of the configuration.

    Raises:
        UserError: It has unlabelled images, and they are not preprocessed with these plans, or not as they are now.
    """
    context, raw = member.context, raw_folder() / member.task.dataset
    place = Path(context.preprocessed_dataset_folder_base), context.plans_manager.plans, configuration
    folder = UnlabelledData(*place).place
    if not folder.is_dir() and not has_unlabelled(raw):
        return folder, []
    use_data(folder)
    return folder, check_unlabelled(*place, raw)


def check_unlabelled_apart_in_members(
    members: Sequence[PreparedMember],
    unlabelled: Mapping[str, Sequence[str]],
    validated: Mapping[str, Sequence[str]],
) -> None:
    """Refuse unlabelled images of any member that any member is validated on, under any name.

    Args:
        members: All members.
        unlabelled: Names of the unlabelled cases by dataset.
        validated: Names of the validation cases by dataset.

    Raises:
        UserError: There is one.
    """
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
