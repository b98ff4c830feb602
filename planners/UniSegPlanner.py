from nnunet_ext.uniseg.planner import UniSegPlanner as UniSegPlanner
