from nnunet_ext.baseline.planner import LitePlanner as LitePlanner
