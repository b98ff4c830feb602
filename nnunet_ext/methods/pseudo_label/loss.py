"""The loss of labelled and pseudo-labelled samples."""

from __future__ import annotations

from torch import Tensor, nn

from nnunet_ext.semi_supervised.losses import split_output


class PseudoLabelLoss(nn.Module):
    """Mean of nnU-Net's loss over labelled samples, of weight 1 each, and pseudo-labelled ones.

    Without :meth:`expect`, as before there are pseudo-labels and in validation, it is ``supervised`` alone.

    Args:
        supervised: nnU-Net's own loss, with its deep supervision.
        weight: Of a pseudo-labelled sample.
    """

    def __init__(self, supervised: nn.Module, weight: float) -> None:
        super().__init__()
        self.supervised = supervised
        self.weight = weight
        self.parts: dict[str, Tensor] = {}
        self._expected: Tensor | list[Tensor] | None = None

    def expect(self, pseudo_target: Tensor | list[Tensor]) -> None:
        """Tell for the next call what the unlabelled samples are taken for, in the form of a target."""
        self._expected = pseudo_target

    def forward(self, output: Tensor | list[Tensor], target: Tensor | list[Tensor]) -> Tensor:
        """Return the loss and leave its two parts, detached, in ``parts``.

        Args:
            output: Logits of labelled and unlabelled samples (B + Bu, K, D, H, W), or their list over scales.
            target: Of the labelled samples (B, 1 or R, D, H, W), or its list over scales.
        """
        if self._expected is None:
            value = self.supervised(output, target)
            self.parts = {"supervised_loss": value.detach(), "pseudo_label_loss": value.new_zeros(())}
            return value
        pseudo_target, self._expected = self._expected, None
        labelled, unlabelled = split_output(output, target)
        supervised = self.supervised(labelled, target)
        pseudo = self.supervised(unlabelled, pseudo_target)
        self.parts = {"supervised_loss": supervised.detach(), "pseudo_label_loss": pseudo.detach()}
        counts = [len(part[0] if isinstance(part, list) else part) for part in (target, pseudo_target)]
        weights = counts[0], self.weight * counts[1]
        return (weights[0] * supervised + weights[1] * pseudo) / sum(weights)
