"""Stock nnU-Net as the control that every method is measured against, and CPU-sized plans."""

from nnunet_ext.methods.baseline.planner import LitePlanner as LitePlanner
from nnunet_ext.methods.baseline.trainer import NNUNetBaselineTrainer as NNUNetBaselineTrainer
