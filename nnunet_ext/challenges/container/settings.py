"""How a container predicts: ``container.json``, which ``nnunet_ext package`` writes into the image."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_ext.challenges.container.interface import Interface
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_object


@dataclass(frozen=True)
class ContainerSettings:
    """How a container predicts.

    Args:
        interface: Of the challenge; its inputs are the model's channels, in their order.
        folds: Names of the folds.
        checkpoint: Name of the checkpoint.
        step_size: Step of the sliding window in patches.
        mirroring: Average over the mirrorings that the training used.
        time_budget: Seconds for a case, from the start of the program or of the call; None: as long as it takes.
    """

    interface: Interface
    folds: tuple[str, ...]
    checkpoint: str = "checkpoint_final.pth"
    step_size: float = 0.5
    mirroring: bool = True
    time_budget: float | None = None

    @classmethod
    def read(cls, file: Path) -> ContainerSettings:
        """Read them.

        Raises:
            UserError: The file cannot be read or has another form.
        """
        content = read_object(file)
        try:
            interface = Interface.of(content["interface"], str(file))
            return cls(**{**content, "interface": interface, "folds": tuple(map(str, content["folds"]))})
        except (TypeError, KeyError) as error:
            raise UserError(
                f"{file}: expected the settings of a container, got {error}. Run nnunet_ext package again."
            ) from error

    def as_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        return dataclasses.asdict(self)
