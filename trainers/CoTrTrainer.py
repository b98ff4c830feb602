from nnunet_ext.cotr.trainer import CoTrTrainer as CoTrTrainer
