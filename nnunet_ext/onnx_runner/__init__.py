"""Predicts models in the ONNX format as nnU-Net would, with numpy, scipy, SimpleITK and onnxruntime, without torch."""
