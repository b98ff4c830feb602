from nnunet_ext.methods.uniseg.planner import UniSegPlanner as UniSegPlanner
