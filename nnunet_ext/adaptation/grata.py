"""GraTa on instance norms: gradients of two losses decide how far weight and bias of the norms move.

[0] Chen, Ye, Pan, Xia: Gradient alignment improves test-time adaptation for medical image segmentation, AAAI 2025.

Differences: patches of one case instead of a stream of 2d images, so the optimizer starts again for each case; softmax
where the labels exclude each other; flips and rotations only along axes along which the training mirrored. Batch norms
are not needed: an instance norm always takes the statistics of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nnunet_ext.adaptation.style import style_view
from nnunet_ext.adaptation.views import View

RATE = 1e-4  # of Adam, where both gradients have the same direction


def adapt(
    network: nn.Module,
    parameters: Sequence[nn.Parameter],
    patches: Sequence[NDArray[np.float32]],
    views: Sequence[View],
    *,
    regions: bool,
    steps: int,
    generator: np.random.Generator,
    rate: float = RATE,
    masked: Sequence[bool] = (),
) -> list[float]:
    """Change parameters of a network in place, so that it fits an image better.

    A step: the gradient of the entropy moves the parameters for a moment (step size 1); there, the mean prediction over
    views is the pseudo-label of a strong style view, whose loss gives a second gradient. The parameters move back, and
    Adam makes a step along the second gradient, the smaller the less both gradients agree. What equal patches have in
    common is computed once: an image that fits into a patch has no others.

    Args:
        network: In evaluation mode, without deep supervision.
        parameters: Which of its parameters change; the others need no gradient.
        patches: Of the image, each (C, *patch).
        views: Besides the patch itself.
        regions: Probabilities are sigmoids of each head; else softmax over heads.
        steps: How many.
        generator: Draws the styles.
        rate: Of Adam, where both gradients have the same direction.
        masked: For each channel, whether its outside is 0 (``use_mask_for_norm``); none: of no one.

    Returns:
        The learning rate of each step.
    """
    with torch.inference_mode(False), torch.enable_grad():
        batches = [torch.from_numpy(patch)[None].to(parameters[0].device) for patch in patches]
        first = [next(n for n, other in enumerate(patches) if np.array_equal(patch, other)) for patch in patches]
        optimizer = torch.optim.Adam(parameters, lr=rate)
        rates = []
        for _ in range(steps):
            views_of_style = [style_view(patch, generator, masked) for patch in patches]
            styled = [torch.from_numpy(view)[None].to(batches[0].device) for view in views_of_style]
            kept = [parameter.detach().clone() for parameter in parameters]
            entropies = {n: _gradient(entropy(network(batches[n]), regions=regions), parameters) for n in set(first)}
            auxiliary = _mean([entropies[n] for n in first])
            _set(parameters, [own - gradient for own, gradient in zip(kept, auxiliary, strict=True)])
            labels = {n: _pseudo_label(network, batches[n], views, regions) for n in set(first)}
            pairs = zip(styled, (labels[n] for n in first), strict=True)
            pseudo = _mean(
                [_gradient(cross_entropy(network(batch), label, regions=regions), parameters) for batch, label in pairs]
            )
            _set(parameters, kept)
            rates.append(learning_rate(auxiliary, pseudo, rate))
            for parameter, gradient in zip(parameters, pseudo, strict=True):
                parameter.grad = gradient
            optimizer.param_groups[0]["lr"] = rates[-1]
            optimizer.step()
        return rates


def entropy(logits: Tensor, *, regions: bool) -> Tensor:
    """Return the mean of ``-p log p`` over heads and voxels, the second half of a binary entropy left out, as in GraTa.

    Args:
        logits: (B, heads, *patch).
        regions: Probabilities are sigmoids; else softmax over heads.
    """
    logs = functional.logsigmoid(logits) if regions else functional.log_softmax(logits, 1)
    return -(logs.exp() * logs).mean()


def cross_entropy(logits: Tensor, label: Tensor, *, regions: bool) -> Tensor:
    """Return the cross-entropy of logits (B, heads, *patch) with probabilities of the same shape, mean over voxels.

    Args:
        logits: Of the style view.
        label: Probabilities.
        regions: Binary, of each head, then their mean; else over heads.
    """
    if regions:
        return functional.binary_cross_entropy_with_logits(logits, label)
    return functional.cross_entropy(logits, label)


def learning_rate(one: Sequence[Tensor], other: Sequence[Tensor], rate: float = RATE) -> float:
    """Return ``rate (cos + 1)^2 / 4``, where cos is that of the angle between two gradients.

    Example:
        >>> learning_rate([torch.tensor([1.0, 0.0])], [torch.tensor([0.0, 2.0])])
        2.5e-05
    """
    first, second = (torch.cat([part.flatten() for part in each]) for each in (one, other))
    cosine = functional.cosine_similarity(first, second, dim=0)
    return rate * (float(cosine) + 1) ** 2 / 4


@torch.no_grad()
def _pseudo_label(network: nn.Module, batch: Tensor, views: Sequence[View], regions: bool) -> Tensor:
    def probabilities(patch: Tensor) -> Tensor:
        logits: Tensor = network(patch)
        return logits.sigmoid() if regions else logits.softmax(1)

    total = probabilities(batch)
    for view in views:
        total = total + view.undo(probabilities(view.of(batch)))
    return total / (len(views) + 1)


def _gradient(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Sequence[Tensor]:
    # a head of another task has no part in the loss
    return torch.autograd.grad(loss, list(parameters), allow_unused=True, materialize_grads=True)


def _mean(gradients: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The mean over patches."""
    return [torch.stack(of_patches).mean(0) for of_patches in zip(*gradients, strict=True)]


@torch.no_grad()
def _set(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
