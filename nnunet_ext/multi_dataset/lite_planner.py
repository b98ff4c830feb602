"""CPU-sized plans for collections."""

from __future__ import annotations

from nnunet_ext.baseline.planner import LitePlanner
from nnunet_ext.multi_dataset.planner import CollectionPlanner


class CollectionLitePlanner(CollectionPlanner, LitePlanner):
    """Plans of the stock network for collections on machines without a GPU, as small as ``LitePlanner``'s."""

    default_plans_name = "CollectionLitePlans"
