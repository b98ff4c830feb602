"""BA-Net: a second decoder finds boundaries and gates the segmentation decoder."""

from nnunet_ext.methods.ba_net.architecture import BANet as BANet
from nnunet_ext.methods.ba_net.trainer import BANetTrainer as BANetTrainer
