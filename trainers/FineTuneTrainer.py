from nnunet_ext.methods.fine_tune.trainer import FineTuneTrainer as FineTuneTrainer
