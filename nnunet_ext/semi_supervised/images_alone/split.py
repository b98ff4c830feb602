"""Which images validate a training whose images are all unlabelled."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from nnunet_ext.errors import UserError

SEED = 12345  # of nnU-Net's own folds
SHARE = 0.1


def split_unlabelled(cases: Collection[str], fold: int | str, place: object) -> tuple[list[str], list[str]]:
    """Return the training and validation cases of a fold of unlabelled images, which no splits_final.json lists.

    A tenth of the images validates, at least one. The images are shuffled once, with a fixed seed, and each fold takes
    the next tenth, from the beginning again after the last. Fold ``"all"`` trains and validates on all, as in nnU-Net.

    Args:
        cases: Names of the unlabelled images.
        fold: The fold.
        place: The dataset, for the message.

    Raises:
        UserError: There are not two of them.

    Example:
        >>> from nnunet_ext.semi_supervised.images_alone.split import split_unlabelled
        >>> split_unlabelled(["a", "b", "c"], 0, "Dataset007_Scans")
        (['b', 'c'], ['a'])
    """
    names = sorted(cases)
    if len(names) < 2:
        raise UserError(
            f"{place}: expected at least two unlabelled images, one to train and one to validate on, found "
            f"{len(names)}. Add images to imagesUn and preprocess again."
        )
    if fold == "all":
        return names, names
    number = max(1, round(SHARE * len(names)))
    shuffled = np.random.default_rng(SEED).permutation(len(names))
    chosen = {int(shuffled[(int(fold) * number + place) % len(names)]) for place in range(number)}
    return [name for index, name in enumerate(names) if index not in chosen], [names[index] for index in sorted(chosen)]
