"""CoTr: a deformable transformer between encoder and decoder."""

from nnunet_ext.cotr.architecture import CoTr as CoTr
