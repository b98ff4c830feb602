from nnunet_ext.methods.dodnet.planner import DoDNetPlanner as DoDNetPlanner
