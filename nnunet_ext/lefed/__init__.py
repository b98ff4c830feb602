"""LeFeD: two decoders whose disagreement on unlabelled images teaches the encoder."""

from nnunet_ext.lefed.architecture import LeFeD as LeFeD
