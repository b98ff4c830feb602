"""Pseudo-labels: train, predict the unlabelled images, retrain on both."""

from nnunet_ext.methods.pseudo_label.trainer import PseudoLabelTrainer as PseudoLabelTrainer
