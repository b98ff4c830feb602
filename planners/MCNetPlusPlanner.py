from nnunet_ext.methods.mc_net_plus.planner import MCNetPlusPlanner as MCNetPlusPlanner
