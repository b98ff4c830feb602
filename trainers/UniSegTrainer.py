from nnunet_ext.methods.uniseg.trainer import UniSegTrainer as UniSegTrainer
