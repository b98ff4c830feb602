from nnunet_ext.methods.versemi.trainer import VerSemiTrainer as VerSemiTrainer
