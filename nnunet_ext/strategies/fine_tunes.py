"""Trainers that train a part of the network, or its parts at different rates."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import torch
from torch import nn
from torch._dynamo import OptimizedModule
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from nnunet_ext.errors import UserError
from nnunet_ext.networks.lora import add_lora, has_lora, is_factor, load_lora_state, lora_state, trainable_share
from nnunet_ext.networks.parts import Part, levels_of, part_of
from nnunet_ext.strategies.group_rates import FACTOR
from nnunet_ext.strategies.stock_optimizer_state import StockOptimizerState

NORMS = (_BatchNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm, nn.LayerNorm)
STATE = "fine_tune"  # key of its state in the trainer's own part of a checkpoint
KNOB = "knob fine_tune.strategy"


class FineTunes:
    """Mix-in for trainers, left of ``nnUNetTrainer``: what the knob ``fine_tune.strategy`` says is trained.

    * ``all``: as without the knob.
    * ``head_first``: the heads alone in the first epochs, then all. There, the knob ``warm_up`` begins once more, and
      with several GPUs the network is wrapped in DDP again.
    * ``frozen_encoder``: all but the encoder.
    * ``layer_wise``: all, at rates that fall with the distance from the output
      (:func:`nnunet_ext.networks.parts.levels_of`).
    * ``lora``: factors on the convolutions of encoder and decoder (:mod:`nnunet_ext.networks.lora`), normalizations,
      heads.

    :func:`nnunet_ext.networks.parts.part_of` says what encoder, decoder and heads are. Frozen parameters are in no
    optimizer, so that weight decay does not move them; batch normalizations whose parameters are frozen keep their
    statistics. Checkpoints hold adapted weights under stock names and an optimizer's state in stock form, so that stock
    nnU-Net loads them; frozen weights, factors and momentum are in the trainer's own part, from which ``--c`` resumes.

    Raises:
        UserError: A strategy without the knob ``init_from``, or with a source that leaves a frozen layer at its random
            start; the knob ``fine_tune.pretrain_new`` in a trainer that does not know it.
    """

    default_strategy: ClassVar[str | None] = None
    pretrains_new: ClassVar[bool] = False  # whether it knows the knob fine_tune.pretrain_new
    knobs: dict[str, Any]
    network: Any
    num_epochs: int
    current_epoch: int
    print_to_log_file: Any
    _held: tuple[nn.Parameter, ...] = ()  # those that head_first trains later
    _optimizer_state: StockOptimizerState | None = None

    @property
    def strategy(self) -> str | None:
        """The knob's value, or the trainer's default."""
        return self.knobs[STATE]["strategy"] or self.default_strategy

    @property
    def head_epochs(self) -> int:
        """Number of epochs in which head_first trains the heads alone."""
        return max(1, min(round(self.knobs[STATE]["head_epochs"] * self.num_epochs), self.num_epochs - 1))

    @property
    def released_in(self) -> int:
        """Epoch in which head_first begins to train all; 0 for other strategies."""
        return self.head_epochs if self.strategy == "head_first" else 0

    def parameter_groups(self) -> list[dict[str, Any]] | None:
        """Freeze what the strategy freezes; return groups for the optimizer, None for stock's one group of all.

        nnU-Net calls this after torch.compile has wrapped the network and before DDP does.
        """
        network, strategy = _bare(self.network), self.strategy
        groups: list[dict[str, Any]] | None = None
        if strategy == "head_first":
            held = {id(each) for each in self._held}  # a method may ask for a second optimizer
            self._held = tuple(
                each
                for name, each in network.named_parameters()
                if part_of(name) != "head" and (each.requires_grad or id(each) in held)
            )
            self._hold(self.current_epoch < self.head_epochs)
        elif strategy == "frozen_encoder":
            for name, parameter in network.named_parameters():
                parameter.requires_grad_(parameter.requires_grad and part_of(name) != "encoder")
        elif strategy == "lora":
            self._put_lora_on(network)
        elif strategy == "layer_wise":
            groups = self._levels(network)
        if strategy in ("frozen_encoder", "lora"):
            groups = [{"params": list(_trained(network).values())}]
        if strategy in ("head_first", "frozen_encoder", "lora"):
            self.print_to_log_file(self._share(network))
        return groups

    def keep_stock_state(self, optimizer: torch.optim.Optimizer) -> None:
        """Let checkpoints hold the optimizer's state in stock form; its own is in :meth:`extra_state`."""
        network = _bare(self.network)
        factors = 2 * len(lora_state(network))
        self._optimizer_state = StockOptimizerState(optimizer, len(list(network.parameters())) - factors)

    def _share(self, network: nn.Module) -> str:
        trained, whole = trainable_share(network)
        told = {"lora": "LoRA", "frozen_encoder": "Encoder frozen", "head_first": "Heads first"}[self.strategy or ""]
        until = f" until epoch {self.head_epochs}, then all" if self.strategy == "head_first" else ""
        return f"{told}: {_count(trained)} of {_count(whole)} parameters train{until}"

    def _levels(self, network: nn.Module) -> list[dict[str, Any]]:
        levels = levels_of(name for name, _ in network.named_parameters())
        by_level: dict[int, list[nn.Parameter]] = {level: [] for level in sorted(set(levels.values()))}
        for name, parameter in _trained(network).items():
            by_level[levels[name]].append(parameter)
        decay = self.knobs[STATE]["layer_decay"]
        return [{"params": params, FACTOR: decay**level} for level, params in by_level.items() if params]

    def _put_lora_on(self, network: nn.Module) -> None:
        knobs = self.knobs[STATE]
        if not has_lora(network):  # a method may ask for a second optimizer
            parts: tuple[Part, ...] = ("encoder", "decoder")
            parts = parts if knobs["lora_layers"] == "all" else (knobs["lora_layers"],)
            try:
                add_lora(network, knobs["lora_rank"], knobs["lora_alpha"], parts)
            except ValueError as error:
                raise UserError(f"{KNOB} 'lora': {error}. Take another strategy.") from error
        norms = {id(each) for module in network.modules() if isinstance(module, NORMS) for each in module.parameters()}
        for name, parameter in network.named_parameters():
            kept = part_of(name) == "head" or is_factor(name) or (knobs["lora_norms"] and id(parameter) in norms)
            parameter.requires_grad_(parameter.requires_grad and kept)

    def _hold(self, held: bool) -> None:
        """Freeze or release what head_first trains later; DDP learns of it only as it wraps the network."""
        changes = [each for each in self._held if each.requires_grad == held]
        for parameter in changes:
            parameter.requires_grad_(not held)
        if changes and isinstance(self.network, DistributedDataParallel):
            self.network = DistributedDataParallel(self.network.module, device_ids=self.network.device_ids)

    def on_train_start(self) -> None:
        """Prepare as stock does; refused without a model to start from."""
        if self.strategy is not None and self.knobs["init_from"] is None:
            raise UserError(
                f"{type(self).__name__}: expected a trained model to start from ({KNOB} is {self.strategy!r}), found "
                f"none. Set the knob init_from to its checkpoint; -pretrained_weights alone does not do."
            )
        if self.knobs[STATE]["pretrain_new"] and not self.pretrains_new:
            raise UserError(
                f"knob fine_tune.pretrain_new: expected FineTuneTrainer, which trains new parameters without labels "
                f"first, found {type(self).__name__}. Set it to false, or train with FineTuneTrainer."
            )
        super().on_train_start()  # type: ignore[misc]

    def check_frozen(self, fresh: Collection[str]) -> None:
        """Refuse to keep weights frozen that a source did not fill.

        Args:
            fresh: Names in the state dict.

        Raises:
            UserError: There are some.
        """
        if self.strategy not in ("frozen_encoder", "lora"):
            return
        frozen = {"frozen_encoder": ("encoder",), "lora": ("encoder", "decoder")}[self.strategy]
        random = [name for name in fresh if name.endswith("weight") and part_of(name) in frozen]
        if random:
            raise UserError(
                f"{KNOB}: {self.strategy!r} expects that init_from fills what stays frozen, but {len(random)} tensors "
                f"keep their random start, the first is {random[0]!r} (see the log file). Take another source, or "
                f"'all', 'head_first' or 'layer_wise'."
            )

    def on_train_epoch_start(self) -> None:
        """Start the epoch as stock does, with what is trained in it."""
        if self.strategy == "head_first":
            self._hold(self.current_epoch < self.head_epochs)
        super().on_train_epoch_start()  # type: ignore[misc]
        if self.strategy is not None:
            for module in self.network.modules():
                if isinstance(module, _BatchNorm) and module.weight is not None and not module.weight.requires_grad:
                    module.eval()

    def extra_state(self) -> dict[str, Any]:
        """Return what stock's part of the checkpoint does not hold: the optimizer's own state, LoRA's factors."""
        state: dict[str, Any] = super().extra_state()  # type: ignore[misc]
        if self._optimizer_state is None:
            return state
        own: dict[str, Any] = {"optimizer": self._optimizer_state.state_dict()}
        network = _bare(self.network)
        if has_lora(network):
            own["lora"] = lora_state(network)
        return state | {STATE: own}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`extra_state` returned; without factors, LoRA goes on from the adapted weights."""
        super().load_extra_state(state)  # type: ignore[misc]
        own = state.get(STATE, {})
        if self._optimizer_state is None or not own:
            return
        self._optimizer_state.load_state_dict(own["optimizer"])
        if "lora" in own:
            load_lora_state(_bare(self.network), own["lora"])


def _trained(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def _bare(network: Any) -> nn.Module:
    """The network without the wrappers of DDP and torch.compile, before and after DDP has wrapped it."""
    network = network.module if isinstance(network, DistributedDataParallel) else network
    return network._orig_mod if isinstance(network, OptimizedModule) else network


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1e5 else f"{number:,}"
