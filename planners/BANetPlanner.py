from nnunet_ext.ba_net.planner import BANetPlanner as BANetPlanner
