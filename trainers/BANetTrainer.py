from nnunet_ext.methods.ba_net.trainer import BANetTrainer as BANetTrainer
