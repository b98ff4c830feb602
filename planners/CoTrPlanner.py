from nnunet_ext.cotr.planner import CoTrPlanner as CoTrPlanner
