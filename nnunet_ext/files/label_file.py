"""Write a label map so that it is there whole or not at all."""

from __future__ import annotations

import glob
import os
import re
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from nnunet_ext.processes.run_lock import Holder


class LabelWriter(Protocol):
    """A reader and writer of nnU-Net's, or another that writes label maps as those do."""

    def write_seg(self, seg: NDArray[Any], output_fname: str, properties: dict[str, Any]) -> None:
        """Write labels (D, H, W) with the geometry that the reader noted in ``properties``."""


def write_label_map(writer: LabelWriter, labels: NDArray[Any], file: Path, properties: Mapping[str, Any]) -> None:
    """Write a label map with a writer such as nnU-Net's into a folder beside, and rename it.

    What the writer puts beside it, such as the spacing of a ``.tif``, is renamed before it. A writer that was killed
    leaves a hidden folder ``.CASE.nii.gz.HOST.PID.partial``, which the next one for this case on this host removes.

    Args:
        writer: The one of the model's plans.
        labels: Labels (D, H, W).
        file: The file; an existing one is replaced.
        properties: What the reader noted of the image.

    Raises:
        OSError: It could not be written; what was there is unchanged.
    """
    host = socket.gethostname()
    start = f".{file.name}.{host}."
    for other in file.parent.glob(f"{glob.escape(start)}*.partial"):
        pid = re.fullmatch(r"(\d{1,9})\.partial", other.name.removeprefix(start))
        # one of our own number is of an earlier process: in containers, numbers recur
        if pid and (int(pid[1]) == os.getpid() or not Holder(int(pid[1]), host, "", "", "").is_alive()):
            shutil.rmtree(other, ignore_errors=True)
    folder = file.with_name(f"{start}{os.getpid()}.partial")
    folder.mkdir()
    try:
        writer.write_seg(labels, str(folder / file.name), dict(properties))
        for beside in sorted(folder.iterdir()):
            if beside.name != file.name:
                beside.replace(file.with_name(beside.name))
        (folder / file.name).replace(file)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
