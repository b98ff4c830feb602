"""The batch size of fine-tuning plans."""

from __future__ import annotations

from collections.abc import Sequence

from nnunet_ext.fine_tuning.decision import Decision
from nnunet_ext.fine_tuning.own_plans import OwnPlans
from nnunet_ext.fine_tuning.source_network import SourceNetwork

LEAST = 2


def decide_batch_size(
    network: SourceNetwork,
    own: OwnPlans,
    spacing: Sequence[float],
    transpose: Sequence[int],
    patch_size: Sequence[int],
    wanted: int | None = None,
) -> Decision:
    """Decide the batch size: what the planner takes for this patch, less if the source's network needs more memory.

    The planner's rule has nnU-Net's limit of 5 % of all voxels in it.

    Args:
        network: The source's.
        own: The data's own plans.
        spacing: In mm, of three axes in the order of the images.
        transpose: ``transpose_forward``.
        patch_size: As decided.
        wanted: The number that the user asked for.
    """
    what = "batch size"
    fitting = network.samples(patch_size, own) if network.can_be_counted else None
    if wanted is not None:
        too_many = fitting is not None and wanted > max(LEAST, round(fitting))
        warning = f"batch size: {wanted} samples need more than the planned memory" if too_many else ""
        return Decision(what, wanted, "flag", "--batch_size", warning=warning)
    if fitting is None:
        value = int(network.source.configuration["batch_size"])
        return Decision(what, value, "source", "the memory that its network needs cannot be estimated")
    axes = network.source.dimensions
    by_planner = int(own.configuration_at(spacing, transpose, axes, shape=patch_size)["batch_size"])
    if round(fitting) >= by_planner:
        return Decision(what, max(LEAST, by_planner), "target", "your planner takes it for a patch of this size")
    why = f"the source's network leaves memory for fewer samples than the planner's {by_planner}"
    return Decision(what, max(LEAST, round(fitting)), "target", why)
