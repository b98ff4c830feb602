"""TransDoDNet: one network for many tasks; a transformer with a query per task makes its last layers."""

from nnunet_ext.methods.transdodnet.architecture import TransDoDNet as TransDoDNet
from nnunet_ext.methods.transdodnet.trainer import TransDoDNetTrainer as TransDoDNetTrainer
