"""The errors by which a full GPU shows."""

from __future__ import annotations

import torch

# of the driver, of Metal, of cuBLAS and cuDNN, and of cuDNN where no algorithm's workspace fits
PHRASES = ("CUDA error: out of memory", "MPS backend out of memory", "ALLOC_FAILED", "unable to find an engine")


def gpu_is_full(error: RuntimeError) -> bool:
    """Whether an error of torch says that the GPU's memory is full.

    Args:
        error: The error.

    Example:
        >>> gpu_is_full(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
        True
    """
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(phrase in str(error) for phrase in PHRASES)
