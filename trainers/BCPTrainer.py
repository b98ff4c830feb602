from nnunet_ext.methods.bcp.trainer import BCPTrainer as BCPTrainer
