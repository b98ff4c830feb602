from nnunet_ext.cotr.planner import CoTrResEncLPlanner as CoTrResEncLPlanner
