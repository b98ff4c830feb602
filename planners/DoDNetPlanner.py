from nnunet_ext.dodnet.planner import DoDNetPlanner as DoDNetPlanner
