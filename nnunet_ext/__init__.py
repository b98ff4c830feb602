"""nnunet_ext: trainers, planners and network architectures that plug into an unmodified nnU-Net v2.

``from nnunet_ext import BANet`` imports a public name when it is asked for; ``import nnunet_ext`` alone imports neither
torch nor nnU-Net, nor anything else that may be missing: ``nnunet_ext doctor`` runs on a machine with only Python.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "BANet": "methods.ba_net.architecture",
    "BANetLoss": "methods.ba_net.loss",
    "BCPLoss": "methods.bcp.loss",
    "BoundaryLoss": "methods.ba_net.loss",
    "CollectionPlanner": "collection.planning.planner",
    "CoTr": "methods.cotr.architecture",
    "DoDNet": "collection.network.dodnet",
    "ExtPlanner": "base.planner",
    "ExtTrainer": "base.trainer",
    "Knob": "base.method",
    "LeFeD": "methods.lefed.architecture",
    "LeFeDLoss": "methods.lefed.loss",
    "MCNetPlus": "methods.mc_net_plus.architecture",
    "MCNetPlusLoss": "methods.mc_net_plus.loss",
    "MeanTeacherLoss": "methods.mean_teacher.loss",
    "Method": "base.method",
    "MethodLoss": "base.method_loss",
    "MultiHead": "methods.multi_head.architecture",
    "MultiTaskTrainer": "collection.training.trainer",
    "PseudoLabelLoss": "semi_supervised.pseudo_labelled.loss",
    "SemiSupervisedTrainer": "semi_supervised.trainer",
    "TaskNetwork": "collection.network.task_network",
    "TrainingStep": "base.method_loss",
    "TransDoDNet": "methods.transdodnet.architecture",
    "UniSeg": "methods.uniseg.architecture",
    "UserError": "errors",
    "write_phantom_collection": "phantoms.collection",
    "write_phantom_dataset": "phantoms.dataset",
}
__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public name (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, whether imported or not."""
    return sorted({*globals(), *_PUBLIC})


if TYPE_CHECKING:
    from nnunet_ext.base.method import Knob as Knob
    from nnunet_ext.base.method import Method as Method
    from nnunet_ext.base.method_loss import MethodLoss as MethodLoss
    from nnunet_ext.base.method_loss import TrainingStep as TrainingStep
    from nnunet_ext.base.planner import ExtPlanner as ExtPlanner
    from nnunet_ext.base.trainer import ExtTrainer as ExtTrainer
    from nnunet_ext.collection.network.dodnet import DoDNet as DoDNet
    from nnunet_ext.collection.network.task_network import TaskNetwork as TaskNetwork
    from nnunet_ext.collection.planning.planner import CollectionPlanner as CollectionPlanner
    from nnunet_ext.collection.training.trainer import MultiTaskTrainer as MultiTaskTrainer
    from nnunet_ext.errors import UserError as UserError
    from nnunet_ext.methods.ba_net.architecture import BANet as BANet
    from nnunet_ext.methods.ba_net.loss import BANetLoss as BANetLoss
    from nnunet_ext.methods.ba_net.loss import BoundaryLoss as BoundaryLoss
    from nnunet_ext.methods.bcp.loss import BCPLoss as BCPLoss
    from nnunet_ext.methods.cotr.architecture import CoTr as CoTr
    from nnunet_ext.methods.lefed.architecture import LeFeD as LeFeD
    from nnunet_ext.methods.lefed.loss import LeFeDLoss as LeFeDLoss
    from nnunet_ext.methods.mc_net_plus.architecture import MCNetPlus as MCNetPlus
    from nnunet_ext.methods.mc_net_plus.loss import MCNetPlusLoss as MCNetPlusLoss
    from nnunet_ext.methods.mean_teacher.loss import MeanTeacherLoss as MeanTeacherLoss
    from nnunet_ext.methods.multi_head.architecture import MultiHead as MultiHead
    from nnunet_ext.methods.transdodnet.architecture import TransDoDNet as TransDoDNet
    from nnunet_ext.methods.uniseg.architecture import UniSeg as UniSeg
    from nnunet_ext.phantoms.collection import write_phantom_collection as write_phantom_collection
    from nnunet_ext.phantoms.dataset import write_phantom_dataset as write_phantom_dataset
    from nnunet_ext.semi_supervised.pseudo_labelled.loss import PseudoLabelLoss as PseudoLabelLoss
    from nnunet_ext.semi_supervised.trainer import SemiSupervisedTrainer as SemiSupervisedTrainer
