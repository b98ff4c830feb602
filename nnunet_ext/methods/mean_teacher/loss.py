"""Mean Teacher's loss."""

from __future__ import annotations

from torch import Tensor, nn

from nnunet_ext.semi_supervised.losses import discrepancy, probabilities, split_output


class MeanTeacherLoss(nn.Module):
    """Supervised loss of the labelled samples + ``weight`` x squared difference to the teacher on the others.

    The difference is one of probabilities at full resolution, averaged as in
    :func:`~nnunet_ext.semi_supervised.losses.discrepancy`: for two classes the mean over both, and not less for
    every further class. Without :meth:`expect`, as in validation, it is the supervised loss alone.

    Args:
        supervised: nnU-Net's own loss, with its deep supervision.
        regions: The channels are regions.
    """

    def __init__(self, supervised: nn.Module, *, regions: bool) -> None:
        super().__init__()
        self.supervised = supervised
        self.regions = regions
        self.parts: dict[str, Tensor] = {}
        self._expected: tuple[Tensor, float] | None = None

    def expect(self, teacher: Tensor, weight: float) -> None:
        """Tell for the next call what the teacher says.

        Args:
            teacher: Its probabilities of the unlabelled samples (Bu, K, D, H, W).
            weight: Weight of the difference.
        """
        self._expected = teacher, weight

    def forward(self, output: Tensor | list[Tensor], target: Tensor | list[Tensor]) -> Tensor:
        """Return the loss; after :meth:`expect` leave its two parts, detached, in ``parts``.

        Args:
            output: Logits of labelled and unlabelled samples (B + Bu, K, D, H, W), or their list over scales.
            target: Of the labelled samples (B, 1 or R, D, H, W), or its list over scales.
        """
        if self._expected is None:
            return self.supervised(output, target)
        (teacher, weight), self._expected = self._expected, None
        labelled, unlabelled = split_output(output, target)
        supervised = self.supervised(labelled, target)
        finest = unlabelled[0] if isinstance(unlabelled, list) else unlabelled
        consistency = discrepancy(probabilities(finest, regions=self.regions), teacher, regions=self.regions)
        self.parts = {"supervised_loss": supervised.detach(), "consistency_loss": consistency.detach()}
        return supervised + weight * consistency
