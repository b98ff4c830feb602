"""UniSeg: one network for many tasks, told by a learnable prompt which task it is on."""

from nnunet_ext.methods.uniseg.architecture import UniSeg as UniSeg
from nnunet_ext.methods.uniseg.trainer import UniSegTrainer as UniSegTrainer
