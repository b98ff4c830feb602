from nnunet_ext.cotr.planner import CoTrResEncMPlanner as CoTrResEncMPlanner
