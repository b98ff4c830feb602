from nnunet_ext.methods.versemi.planner import VerSemiPlanner as VerSemiPlanner
