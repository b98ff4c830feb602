"""CPU-sized plans for collections."""

from __future__ import annotations

from nnunet_ext.collection.planning.planner import CollectionPlanner
from nnunet_ext.methods.baseline.planner import LitePlanner


class CollectionLitePlanner(CollectionPlanner, LitePlanner):
    """Plans of the stock network for collections on machines without a GPU, as small as ``LitePlanner``'s."""

    default_plans_name = "CollectionLitePlans"
