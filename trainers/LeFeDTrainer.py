from nnunet_ext.methods.lefed.trainer import LeFeDTrainer as LeFeDTrainer
