"""LeFeD: two decoders trained to agree, whose disagreement is fed back to the encoder."""

from nnunet_ext.methods.lefed.architecture import LeFeD as LeFeD
from nnunet_ext.methods.lefed.trainer import LeFeDTrainer as LeFeDTrainer
