from nnunet_ext.methods.lefed.planner import LeFeDResEncMPlanner as LeFeDResEncMPlanner
