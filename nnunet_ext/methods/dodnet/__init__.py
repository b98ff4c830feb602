"""DoDNet: one network for many tasks, whose last layers are made for each image and task."""

from nnunet_ext.methods.dodnet.architecture import DoDNet as DoDNet
from nnunet_ext.methods.dodnet.trainer import DoDNetTrainer as DoDNetTrainer
