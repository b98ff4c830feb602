from nnunet_ext.methods.lefed.planner import LeFeDPlanner as LeFeDPlanner
