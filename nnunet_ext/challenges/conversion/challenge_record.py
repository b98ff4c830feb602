"""What a converted dataset.json remembers of its challenge, and label maps as the challenge's structures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_ext.errors import UserError

KEY = "challenge"
MOST = 65535  # the highest label of a file


@dataclass(frozen=True)
class ChallengeRecord:
    """The key ``challenge`` of dataset.json, which nnU-Net ignores.

    Args:
        name: Of the challenge, as ``kits21``.
        structures: The challenge's structures in its own order, each with the labels whose union it is.
        values: What the challenge writes for a structure into a label map; empty if it takes one mask for each.
        channels: What each image channel is in the challenge's folders.
    """

    name: str
    structures: Mapping[str, tuple[int, ...]]
    values: Mapping[str, int]
    channels: tuple[str, ...]

    @classmethod
    def of(cls, description: Mapping[str, Any], where: str = "dataset.json") -> ChallengeRecord:
        """Read it from the content of a dataset.json, of a dataset or of a trained model.

        Args:
            description: The content.
            where: The file, for messages.

        Raises:
            UserError: It has none, or somebody else's key of this name.
        """
        found = description.get(KEY)
        if not isinstance(found, dict) or not _has_our_form(found):
            raise UserError(
                f"{where}: expected the key {KEY!r} that nnunet_ext convert writes, found "
                f"{'none' if found is None else 'something else'}. Convert the data with nnunet_ext convert."
            )
        structures = {name: tuple(labels) for name, labels in found["structures"].items()}
        return cls(found["name"], structures, dict(found["values"]), tuple(found["channels"]))

    def as_json(self) -> dict[str, Any]:
        """Return the content of the key."""
        return {
            "name": self.name,
            "channels": list(self.channels),
            "structures": {name: list(labels) for name, labels in self.structures.items()},
            "values": dict(self.values),
        }

    def masks(self, labels: NDArray[Any], where: str = "label map") -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Return the challenge's structures of a label map, one after the other, in the challenge's order.

        For a label map that ``nnunet_ext convert`` merged from masks, these are the masks but for the voxels that its
        report counts as lost or gained.

        Args:
            labels: (D, H, W), whole numbers of any type.
            where: The label map's file, for messages.

        Returns:
            Name and mask (D, H, W) of each structure.

        Raises:
            UserError: A label belongs to no structure.

        Example:
            >>> record = ChallengeRecord("kipa22", {"vein": (1,), "kidney": (2, 3)}, {}, ("CT",))
            >>> {name: mask.tolist() for name, mask in record.masks(np.array([[[0, 1, 2, 3]]]))}
            {'vein': [[[False, True, False, False]]], 'kidney': [[[False, False, True, True]]]}
        """
        known = sorted({0}.union(*self.structures.values()))
        present = np.unique(labels)
        unknown = present[~np.isin(present, known)]
        if unknown.size:
            raise UserError(
                f"{where}: expected labels of {self.name}, 0 to {known[-1]}, found {unknown[0]}. Predict with a "
                f"model that was trained on the converted dataset."
            )
        labels = labels.astype(np.min_scalar_type(known[-1]), copy=False)
        for name, own in self.structures.items():
            table = np.zeros(known[-1] + 1, bool)
            table[list(own)] = True
            yield name, table[labels]


def _has_our_form(found: Mapping[str, Any]) -> bool:
    structures, values = found.get("structures"), found.get("values")
    if not (isinstance(structures, dict) and structures and isinstance(values, dict)):
        return False
    numbers = [label for labels in structures.values() for label in (labels if isinstance(labels, list) else [None])]
    return (
        isinstance(found.get("name"), str)
        and isinstance(found.get("channels"), list)
        and all(isinstance(number, int) and 0 <= number <= MOST for number in (*numbers, *values.values()))
    )
