"""One network for many tasks with a set of heads for each: the control for UniSeg's prompt."""

from nnunet_ext.methods.multi_head.architecture import MultiHead as MultiHead
from nnunet_ext.methods.multi_head.trainer import MultiHeadTrainer as MultiHeadTrainer
