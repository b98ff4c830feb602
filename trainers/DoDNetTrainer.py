from nnunet_ext.methods.dodnet.trainer import DoDNetTrainer as DoDNetTrainer
