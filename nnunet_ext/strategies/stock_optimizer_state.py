"""The state of an optimizer that differs from stock nnU-Net's, in checkpoints that stock nnU-Net loads."""

from __future__ import annotations

import copy
from typing import Any

from torch.optim import Optimizer

from nnunet_ext.strategies.group_rates import FACTOR


class StockOptimizerState:
    """Lets an optimizer of some parameters, or of several groups, exchange states in the form of nnU-Net's optimizer.

    nnU-Net's has one group of all parameters, and loads no state of another form. From now on ``state_dict()`` returns
    that form without momentum, as before the first step, and ``load_state_dict`` leaves the optimizer as it is if it is
    given that form. The optimizer's own state is that of :meth:`state_dict` and :meth:`load_state_dict` here.

    Args:
        optimizer: Its first group has the settings of the stock one.
        parameters: How many parameters nnU-Net's optimizer of this network has.
    """

    def __init__(self, optimizer: Optimizer, parameters: int) -> None:
        self.optimizer = optimizer
        self.parameters = parameters
        self._own = False
        optimizer.register_state_dict_post_hook(self._given)
        optimizer.register_load_state_dict_pre_hook(self._taken)

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's own state."""
        self._own = True
        try:
            return self.optimizer.state_dict()
        finally:
            self._own = False

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._own = True
        try:
            self.optimizer.load_state_dict(copy.deepcopy(state))
        finally:
            self._own = False

    def _given(self, optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        if self._own:
            return state
        settings = {key: value for key, value in state["param_groups"][0].items() if key != FACTOR}
        return {"state": {}, "param_groups": [settings | {"params": list(range(self.parameters))}]}

    def _taken(self, optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        return state if self._own else self.state_dict()
