from nnunet_ext.methods.baseline.planner import LitePlanner as LitePlanner
