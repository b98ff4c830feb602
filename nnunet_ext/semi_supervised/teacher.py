"""The trainer of semi-supervised methods with a teacher."""

from __future__ import annotations

from typing import Any, cast

from nnunet_ext.semi_supervised.ema import Ema
from nnunet_ext.semi_supervised.trainer import SemiSupervisedTrainer


class TeacherTrainer(SemiSupervisedTrainer):
    """A :class:`SemiSupervisedTrainer` whose network, the student, is followed by an :class:`Ema`, its teacher.

    The teacher is made of the student when it is first needed, after all weights are loaded, and moves after every
    step. It lies outside ``self.network``, so checkpoints predict with the student. It is saved and continued.
    """

    _teacher: Ema | None = None

    def teacher(self) -> Ema:
        """Return the teacher, whose network returns logits of full resolution."""
        if self._teacher is None:
            self._teacher = Ema(self.bare_network, self.knobs["unlabelled"]["ema_decay"])
            cast(Any, self._teacher.network).decoder.deep_supervision = False
        return self._teacher

    def train_step(self, batch: dict) -> dict:
        """Step of the student, then the teacher follows."""
        teacher = self.teacher()
        output = super().train_step(batch)
        teacher.update(self.bare_network)
        return output

    def extra_state(self) -> dict[str, Any]:
        """Return the teacher's state."""
        return super().extra_state() | {"teacher": self.teacher().state_dict()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take over the teacher; without one it starts anew from the student."""
        super().load_extra_state(state)
        self._teacher = None
        if "teacher" in state:
            self.teacher().load_state_dict(state["teacher"])
        else:
            self.print_to_log_file("WARNING: the checkpoint holds no teacher, which starts anew from the student")
