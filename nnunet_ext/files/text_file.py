"""Text that a user wrote with any editor."""

from __future__ import annotations

import codecs
from pathlib import Path

from nnunet_ext.errors import UserError

MARKS = {
    codecs.BOM_UTF8: "UTF-8 with a byte-order mark, which nnU-Net does not read",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(file: Path, *, mark: bool = False) -> str:
    """Return the text of a file in UTF-8.

    Args:
        file: The file.
        mark: Also accept a byte-order mark, which some editors put at the start of a file.

    Raises:
        OSError: It cannot be read.
        UserError: It is in another encoding.
    """
    content = file.read_bytes()
    if mark:
        content = content.removeprefix(codecs.BOM_UTF8)
    for start, found in MARKS.items():
        if content.startswith(start):
            raise UserError(f"{file}: expected plain UTF-8, got {found}. Save it as UTF-8.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{file}: expected UTF-8, got the byte 0x{content[error.start]:02x} in line {line}, as in Latin-1. Save it "
            f"as UTF-8."
        ) from error
