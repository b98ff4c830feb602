"""Low-rank adaptation (LoRA) of convolutions.

[0] Hu et al., LoRA: low-rank adaptation of large language models, ICLR 2022, https://arxiv.org/abs/2106.09685
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nnunet_ext.networks.parts import PARTS, Part, part_of

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class LoRA(nn.Module):
    """The parametrization W + alpha / rank * B A of a convolution's weight W [0].

    W of shape (N, M, *kernel) is seen as a matrix of N rows: N and M are the output channels and the input channels of
    a group, for a transposed convolution the input channels and the output channels of a group. A is (rank, M * voxels
    of the kernel), uniform at random as in [0]; B is (N, rank) and 0, so that nothing changes at first. The product is
    in full precision, under autocast too.

    Args:
        weight: W.
        rank: Columns of B.
        alpha: The update counts alpha / rank times.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.a = nn.Parameter(weight.new_empty(rank, weight[0].numel()))
        self.b = nn.Parameter(weight.new_zeros(len(weight), rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))
        self.kept: tuple[list[Tensor], list[tuple[Any, ...]]] | None = None

    def forward(self, weight: Tensor) -> Tensor:
        """Return the adapted weight."""
        with torch.autocast(weight.device.type, enabled=False):
            return weight + self.scale * (self.b @ self.a).reshape(weight.shape)


def add_lora(network: nn.Module, rank: int = 8, alpha: float = 8.0, parts: Collection[Part] = PARTS) -> list[str]:
    """Put factors on every distinct convolution and transposed convolution, in place, and freeze the weights there.

    nnU-Net's networks hold most layers under several names; each gets one pair of factors. From now on
    ``network.state_dict()`` has the keys of the network without factors and adapted weights, so that checkpoints load
    into it, and ``load_state_dict`` takes such weights and sets B to 0. :func:`lora_state` has the factors.

    Args:
        network: The bare network (not wrapped by DDP or torch.compile).
        rank: Rank of the update.
        alpha: The update counts alpha / rank times.
        parts: Where (:func:`nnunet_ext.networks.parts.part_of`).

    Returns:
        The layers' names.

    Raises:
        ValueError: rank below 1, a network that has factors, or no convolution in these parts.

    Example:
        >>> from torch import nn
        >>> from nnunet_ext.networks.lora import add_lora, trainable_share
        >>> network = nn.Sequential(nn.Conv3d(16, 32, 3))
        >>> add_lora(network, rank=4)
        ['0']
        >>> trainable_share(network)  # 4 * 16 * 27 + 32 * 4, and the bias
        (1888, 13856)
    """
    if rank < 1:
        raise ValueError(f"expected a rank of at least 1, got {rank}")
    if has_lora(network):
        raise ValueError("expected a network without LoRA, got one with factors; merge_lora removes them")
    layers = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, CONVOLUTIONS) and part_of(name) in parts
    ]
    if not layers:
        raise ValueError(f"expected a convolution in {', '.join(parts) or 'some part'}, found none")
    for _, module in layers:
        parametrize.register_parametrization(module, "weight", LoRA(module.weight, rank, alpha))
        _original(module).requires_grad_(False)
    network.register_state_dict_post_hook(_give_adapted)
    network.register_load_state_dict_pre_hook(_take_weights)
    return [name for name, _ in layers]


def is_factor(name: str) -> bool:
    """Tell from a parameter's name in a network whether it is a factor: A or B of a layer's weight."""
    return name.endswith(("weight.0.a", "weight.0.b"))


def has_lora(network: nn.Module) -> bool:
    """Tell whether a network has factors."""
    return any(True for _ in _layers(network))


def merge_lora(network: nn.Module) -> None:
    """Replace each weight by the adapted one, in place, and drop the factors; the weights can be trained again."""
    for _, module in list(_layers(network)):
        _own_class(module)
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
        module.weight.requires_grad_(True)
        bias = module.bias
        del module.bias  # and back again: behind the weight, as in a network that never had factors
        module.register_parameter("bias", bias)


def lora_state(network: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Return {layer: {"weight", "a", "b"}}: frozen weights and factors, with which a training resumes exactly."""
    state = {}
    for name, module in _layers(network):
        factors = _factors(module)
        state[name] = {
            "weight": _original(module).detach(),
            "a": factors.a.detach(),
            "b": factors.b.detach(),
        }
    return state


@torch.no_grad()
def load_lora_state(network: nn.Module, state: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Restore what :func:`lora_state` returned.

    Raises:
        ValueError: The factors are of other layers.
    """
    layers = dict(_layers(network))
    if layers.keys() != state.keys():
        raise ValueError(f"expected factors of {len(layers)} layers, got {len(state)}, or of others")
    for name, module in layers.items():
        factors = _factors(module)
        for own, key in ((_original(module), "weight"), (factors.a, "a"), (factors.b, "b")):
            own.copy_(state[name][key])


def trainable_share(network: nn.Module) -> tuple[int, int]:
    """Return how many parameters train, factors included, and how many the network has without factors."""
    factors = sum(each.numel() for _, module in _layers(network) for each in _factors(module).parameters())
    every = list(network.parameters())
    trained = sum(each.numel() for each in every if each.requires_grad)
    return trained, sum(each.numel() for each in every) - factors


def _layers(network: nn.Module, *, aliases: bool = False) -> Iterator[tuple[str, Any]]:
    for name, module in network.named_modules(remove_duplicate=not aliases):
        if parametrize.is_parametrized(module, "weight") and isinstance(_factors(module), LoRA):
            yield name, module


def _own_class(module: Any) -> None:
    """Let a layer share its class with no copy of it: torch removes a parametrization from the class."""
    kind = type(module)
    content = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    module.__class__ = type(kind.__name__, kind.__bases__, content)


def _factors(module: Any) -> Any:
    return module.parametrizations.weight[0]


def _original(module: Any) -> nn.Parameter:
    original: nn.Parameter = module.parametrizations.weight.original
    return original


def _adapted(module: Any) -> Tensor:
    """Return the adapted weight; nnU-Net asks for all weights once per name when it loads a checkpoint.

    The one that was returned last is returned again if nothing has written to it, to the frozen weight or to the
    factors. torch counts what is written to a tensor; the kept tensors keep their memory from being given to others.
    """
    factors = _factors(module)
    sources = [each.detach() for each in (_original(module), factors.a, factors.b)]
    if factors.kept is None or factors.kept[1] != [_state(each) for each in (*sources, factors.kept[0][-1])]:
        tensors = [*sources, module.weight.detach()]
        factors.kept = tensors, [_state(each) for each in tensors]
    given: Tensor = factors.kept[0][-1]
    return given


def _state(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.device, tensor.dtype, tensor.data_ptr(), tensor._version


@torch.no_grad()
def _give_adapted(network: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Put adapted weights under stock keys, in stock order: the weight before the bias; aliases share one tensor."""
    layers = _layers(network, aliases=True)
    adapted = {f"{prefix}{name}." if name else prefix: _adapted(module) for name, module in layers}
    items = list(state.items())
    state.clear()
    for key, value in items:
        layer, parametrized, _inner = key.partition("parametrizations.weight.")
        owner = layer if parametrized else key.removesuffix("bias")
        if owner in adapted:
            state.setdefault(f"{owner}weight", adapted[owner])
        if not (parametrized and layer in adapted):
            state[key] = value


def _take_weights(network: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let stock weights replace the frozen ones; B becomes 0."""
    for name, module in _layers(network, aliases=True):
        layer = f"{prefix}{name}." if name else prefix
        if f"{layer}weight" in state:
            factors, inner = _factors(module), f"{layer}parametrizations.weight."
            state[f"{inner}original"] = state.pop(f"{layer}weight")
            state[f"{inner}0.a"] = factors.a.detach()
            state[f"{inner}0.b"] = torch.zeros_like(factors.b)
