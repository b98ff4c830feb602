from nnunet_ext.methods.multi_head.trainer import MultiHeadTrainer as MultiHeadTrainer
