from nnunet_ext.uniseg.trainer import UniSegTrainer as UniSegTrainer
