from nnunet_ext.methods.lefed.planner import LeFeDResEncLPlanner as LeFeDResEncLPlanner
