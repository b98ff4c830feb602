from nnunet_ext.bcp.trainer import BCPTrainer as BCPTrainer
