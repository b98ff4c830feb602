"""Mean Teacher: on unlabelled images a network agrees with the moving average of itself."""

from nnunet_ext.methods.mean_teacher.trainer import MeanTeacherTrainer as MeanTeacherTrainer
