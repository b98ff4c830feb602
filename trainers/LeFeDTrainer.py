from nnunet_ext.lefed.trainer import LeFeDTrainer as LeFeDTrainer
