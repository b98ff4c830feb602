from nnunet_ext.methods.cotr.planner import CoTrResEncMPlanner as CoTrResEncMPlanner
