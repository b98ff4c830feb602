from nnunet_ext.methods.cotr.trainer import CoTrTrainer as CoTrTrainer
