"""BCP: labelled and unlabelled images are pasted into each other, and a teacher labels the unlabelled parts."""

from nnunet_ext.methods.bcp.trainer import BCPTrainer as BCPTrainer
