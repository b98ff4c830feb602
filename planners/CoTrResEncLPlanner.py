from nnunet_ext.methods.cotr.planner import CoTrResEncLPlanner as CoTrResEncLPlanner
