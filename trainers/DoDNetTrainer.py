from nnunet_ext.dodnet.trainer import DoDNetTrainer as DoDNetTrainer
