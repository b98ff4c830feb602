from nnunet_ext.methods.cotr.planner import CoTrPlanner as CoTrPlanner
