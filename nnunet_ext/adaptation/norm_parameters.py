"""What is adapted: weight and bias of the instance norms."""

from __future__ import annotations

from torch import nn

from nnunet_ext.errors import UserError

NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def norm_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Return weight and bias of each instance norm, in the order of the network.

    Raises:
        UserError: There is none.

    Example:
        >>> network = nn.Sequential(nn.Conv3d(1, 4, 1), nn.InstanceNorm3d(4, affine=True))
        >>> [tuple(parameter.shape) for parameter in norm_parameters(network)]
        [(4,), (4,)]
    """
    norms = [each for each in network.modules() if isinstance(each, NORMS) and each.affine]
    if not norms:
        others = sorted({name for each in network.modules() if "Norm" in (name := type(each).__name__)})
        raise UserError(
            f"--adapt grata: expected a network with instance norms that have weight and bias, found "
            f"{', '.join(others) or 'no norm'}. Predict without --adapt."
        )
    return [parameter for norm in norms for parameter in (norm.weight, norm.bias)]
