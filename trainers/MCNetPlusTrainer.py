from nnunet_ext.methods.mc_net_plus.trainer import MCNetPlusTrainer as MCNetPlusTrainer
