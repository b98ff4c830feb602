"""Which images a pre-training is trained and validated on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_ext.errors import UserError
from nnunet_ext.semi_supervised.masked.images import held_out


@dataclass(frozen=True)
class PretrainingCases:
    """Names of cases by the folder of their preprocessed data; those that are validated on are never trained on.

    Args:
        train: Trained on.
        val: Validated on.
        held_out: Whether the latter were taken from the others, as the fold has no validation cases of its own.
    """

    train: dict[str, list[str]]
    val: dict[str, list[str]]
    held_out: bool

    @classmethod
    def of(
        cls,
        labelled: tuple[Path, Collection[str], Sequence[str]],
        unlabelled: tuple[Path, Sequence[str]],
        place: object,
    ) -> PretrainingCases:
        """Choose them: the fold's validation cases if these are not trained on, else a tenth of all images.

        Args:
            labelled: Folder of the labelled cases, those that are trained on, and the fold's validation cases.
            unlabelled: Folder of the unlabelled cases, and all of them.
            place: The dataset, for messages.

        Raises:
            UserError: There is no image to train on, or a single one that would be trained and validated on.
        """
        (folder, train, val), (other, cases) = labelled, unlabelled
        both = {str(folder): sorted(train), str(other): sorted(cases)}
        names = [name for some in both.values() for name in some]
        if not names:
            raise UserError(
                f"{place}: expected images to pre-train on, found none: no unlabelled image, and no training case. Put "
                f"images into imagesUn and run nnunet_ext preprocess_unlabelled."
            )
        if apart := sorted(set(val) - set(train)):
            return cls(both, {str(folder): apart}, held_out=False)
        if len(names) == 1:
            raise UserError(
                f"{place}: expected at least two images, one to pre-train on and one to validate on, found one, "
                f"{names[0]!r}. Add others to imagesUn."
            )
        kept = set(held_out(names))
        return cls(
            {place: [name for name in some if name not in kept] for place, some in both.items()},
            {place: [name for name in some if name in kept] for place, some in both.items()},
            held_out=True,
        )

    def line(self) -> str:
        """Return it in words."""
        train, val = (sum(map(len, cases.values())) for cases in (self.train, self.val))
        why = ", held out because the fold has no other images to validate on" if self.held_out else ""
        return f"Pre-training on {train} images, validated on {val}{why}"
