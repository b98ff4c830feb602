"""``nnunet_ext phantoms``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.errors import UserError
from nnunet_ext.stock import folders
from nnunet_ext.stock.folders import numbers_to_oneself

MEMBERS = 5
CHALLENGES = ("kits21", "segrap2023")


@dataclass
class Phantoms(Command):
    """Write five small phantom datasets into nnUNet_raw, to try a collection on, or the folder of a challenge.

    The five show the same anatomy and label different parts of it, on images with different channels, spacings and
    orientations; one has regions, one an ignore label, one only three cases. With --challenge and -o: phantoms with the
    names, axes and annotators of a challenge, to try nnunet_ext convert on. With --raters the first dataset has the
    label maps of three raters, with --wrong_labels three of its labels are wrong. If all five exist, they are kept.
    """

    name: ClassVar[str] = "phantoms"

    d: int = 901
    raters: bool = False
    wrong_labels: bool = False
    challenge: str | None = None
    o: Path | None = None

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "-d", type=options.whole(1, 1000 - MEMBERS), default=cls.d, help="number of the first dataset [901]"
        )
        parser.add_argument("--raters", action="store_true", help="write what three raters draw in the first dataset")
        parser.add_argument("--wrong_labels", action="store_true", help="spoil three labels of the first dataset")
        parser.add_argument("--challenge", choices=CHALLENGES, help="write the folder of this challenge instead")
        parser.add_argument("-o", type=Path, metavar="DIR", help="with --challenge: the folder, which must not exist")

    def run(self) -> int:
        """Write them, unless they exist, or a number or the folder is taken."""
        if self.challenge is not None:
            return self._write_challenge(self.challenge)
        raw = folders.folder("nnUNet_raw", writable=True, new=True)
        if not 1 <= self.d <= 1000 - MEMBERS:
            raise UserError(f"-d: expected a number from 1 to {1000 - MEMBERS}, got {self.d}. Choose another.")
        with numbers_to_oneself(raw):
            return self._write(raw)

    def _write(self, raw: Path) -> int:
        from nnunet_ext.phantoms.collection import KINDS, write_phantom_collection
        from nnunet_ext.phantoms.raters import write_phantom_raters
        from nnunet_ext.phantoms.wrong_labels import write_wrong_labels

        places = [raw / f"Dataset{self.d + n:03d}_{KINDS[n].name}" for n in range(MEMBERS)]
        taken = [place.name for n in range(self.d, self.d + MEMBERS) for place in raw.glob(f"Dataset{n:03d}_*")]
        whole = all((place / "dataset.json").is_file() for place in places)
        exist = whole and taken == [place.name for place in places]
        if taken and (not exist or self.wrong_labels):
            raise UserError(
                f"{raw}: expected the numbers {self.d} to {self.d + MEMBERS - 1} to be free, found {', '.join(taken)}. "
                f"Choose others with -d."
            )
        if not exist:
            write_phantom_collection(raw, first=self.d, members=MEMBERS, unseen=4)
        for place in places:
            print(f"{place}: exists and is kept" if exist else place)
        if self.raters and not (places[0] / "labelsTr_raters").exists():
            write_phantom_raters(places[0])
            print(f"{places[0] / 'labelsTr_raters'}: three raters, of whom one draws too much and one too little")
        if self.wrong_labels:
            for case, fault in write_wrong_labels(places[0]).items():
                print(f"{places[0] / 'labelsTr' / case}.nii.gz: {fault}")
        return 0

    def _write_challenge(self, challenge: str) -> int:
        from nnunet_ext.challenges.segrap2023 import ORGANS, TUMORS
        from nnunet_ext.phantoms.kits21 import write_kits21_phantoms
        from nnunet_ext.phantoms.segrap2023 import write_segrap2023_phantoms

        if self.o is None or self.o.exists():
            found = "none" if self.o is None else f"{str(self.o)!r}, which exists"
            raise UserError(
                f"-o: expected a new folder for the phantoms of {challenge}, got {found}. Name one with -o."
            )
        is_kits = challenge == "kits21"
        print(write_kits21_phantoms(self.o) if is_kits else write_segrap2023_phantoms(self.o, ORGANS, TUMORS))
        return 0
