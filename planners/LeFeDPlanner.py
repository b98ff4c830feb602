from nnunet_ext.lefed.planner import LeFeDPlanner as LeFeDPlanner
