"""``python -m nnunet_ext.challenges.container``: writable folders first, then everything else is imported."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter

START = perf_counter()
# nnU-Net, matplotlib and torch read these when they are imported; of all folders only the temporary one can be written
FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "MPLCONFIGDIR", "XDG_CACHE_HOME")
OF_TORCH = ("TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")


def use_temporary_folder() -> None:
    """Let everything that is written besides the output go to the temporary folder."""
    root = Path(tempfile.gettempdir()) / "nnunet_ext"
    for name in (*FOLDERS, *OF_TORCH):
        os.environ[name] = str(root / name)
        (root / name).mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    use_temporary_folder()
    from nnunet_ext.challenges.container.entry_point import main

    sys.exit(main(sys.argv[1:], START))
