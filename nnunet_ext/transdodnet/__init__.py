"""TransDoDNet: one network for many tasks; a transformer with a query per task makes its last layers."""

from nnunet_ext.transdodnet.architecture import TransDoDNet as TransDoDNet
from nnunet_ext.transdodnet.trainer import TransDoDNetTrainer as TransDoDNetTrainer
