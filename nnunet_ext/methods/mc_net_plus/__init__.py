"""MC-Net+: three decoders trained to agree, each with the others' sharpened output."""

from nnunet_ext.methods.mc_net_plus.architecture import MCNetPlus as MCNetPlus
from nnunet_ext.methods.mc_net_plus.trainer import MCNetPlusTrainer as MCNetPlusTrainer
