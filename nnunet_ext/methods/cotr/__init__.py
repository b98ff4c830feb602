"""CoTr: a deformable transformer between encoder and decoder."""

from nnunet_ext.methods.cotr.architecture import CoTr as CoTr
from nnunet_ext.methods.cotr.trainer import CoTrTrainer as CoTrTrainer
