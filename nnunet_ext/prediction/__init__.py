"""Prediction with any model of nnU-Net's: the labels of ``nnUNetv2_predict``, in less time and memory."""

from nnunet_ext.prediction.predictor import Predictor as Predictor
