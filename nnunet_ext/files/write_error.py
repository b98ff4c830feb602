"""Errors that say that a file could not be written."""

from __future__ import annotations

OF_TORCH = ("PytorchStreamWriter", "inline_container", "Parent directory", "cannot be opened")


def is_write_error(error: Exception) -> bool:
    """Tell a file that cannot be written from other errors of ``torch.save``, such as one of CUDA.

    For a full disk torch raises a ``RuntimeError``, and so does CUDA for an error in an earlier kernel, which comes up
    when the weights are copied to the CPU.
    """
    return isinstance(error, OSError) or (type(error) is RuntimeError and any(word in str(error) for word in OF_TORCH))
