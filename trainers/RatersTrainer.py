from nnunet_ext.methods.raters.trainer import RatersTrainer as RatersTrainer
