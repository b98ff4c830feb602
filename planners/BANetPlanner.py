from nnunet_ext.methods.ba_net.planner import BANetPlanner as BANetPlanner
