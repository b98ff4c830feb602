from nnunet_ext.ba_net.trainer import BANetTrainer as BANetTrainer
