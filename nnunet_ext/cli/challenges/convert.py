"""``nnunet_ext convert``."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.processes.run_lock import run_lock
from nnunet_ext.stock import folders
from nnunet_ext.stock.folders import Folders, numbers_to_oneself

if TYPE_CHECKING:
    from nnunet_ext.challenges.conversion.conversion import Conversion

SOURCES = {
    "kits21": "the repository of KiTS21 (or KiTS23), or its folder with case_00000",
    "kits23": "the repository of KiTS23, or its folder with case_00000",
    "segrap2023_oar": "SegRap2023, organs at risk: folder with segrap_0000",
    "segrap2023_gtv": "SegRap2023, tumor volumes: folder with segrap_0000",
    "kipa22": "KiPA22: folder with train/image and train/label",
    "btcv": "BTCV (abdomen): folder with RawData/Training/img and label",
    "overlapping": "any folder with CASE/image.nii.gz and a mask CASE/STRUCTURE.nii.gz for each structure",
}
CONTRASTS = ("non_contrast", "contrast")
SAMPLES = 15  # of KiTS21's five groups of three


@dataclass
class Convert(Command):
    """Make a raw dataset of nnU-Net from the data of a challenge, or from overlapping masks.

    nnunet_ext convert kits21 ~/kits21 -d 21
    nnunet_ext convert kits21 ~/kits21 -d 22 --raters 3
    nnunet_ext convert segrap2023_oar ~/SegRap2023_Training_Set_120cases -d 23 -np 4
    nnunet_ext convert overlapping ~/my_masks -d 50 --channel_names CT

    Everything that is missing in SOURCE is named before anything is written. Images and ready label maps are linked
    (--copy copies them). The same command again writes only what is missing. nnunet_ext convert CHALLENGE --help has
    the options of each.
    """

    name: ClassVar[str] = "convert"
    after_interruption: ClassVar[str] = "Run the same command again: what is done is kept."
    has_workers: ClassVar[bool] = True

    challenge: str
    source: Path
    d: int
    n: str | None = None
    np: int = 1
    copy: bool = False
    no_pbar: bool = False
    channels: tuple[str, ...] = CONTRASTS
    normalization: str = "ct"
    images: tuple[str, ...] = ("image.nii.gz",)
    channel_names: tuple[str, ...] = ()
    min_voxels: int = 1
    absent_is_empty: bool = False
    raters: int = 0

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options of each challenge."""
        kinds = parser.add_subparsers(dest="challenge", required=True, metavar="CHALLENGE")
        for name, source in SOURCES.items():
            named = "folder" if name == "overlapping" else "challenge"
            own = kinds.add_parser(name, help=source, description=f"SOURCE: {source}.")
            add = own.add_argument
            add("source", type=options.folder, metavar="SOURCE", help=source)
            add("-d", type=options.whole(1, 999), required=True, help="number of the new dataset, 1 to 999")
            add("-n", help=f"name of the new dataset [that of the {named}]")
            add("-np", type=options.whole(1), default=cls.np, help="processes; each holds one case in memory [1]")
            add("--copy", action="store_true", help="copy images and ready label maps instead of linking them")
            add("--no_pbar", action="store_true", help="no progress bars")
            if name.startswith("segrap2023"):
                add("--channels", nargs="+", choices=CONTRASTS, default=cls.channels, help="which images [both]")
                normalizations, by_default = ("ct", "zscore"), cls.normalization
                text = "ct: by the dataset's intensities; zscore: image by image, as the challenge's baseline [ct]"
                add("--normalization", choices=normalizations, default=by_default, help=text)
            if name.startswith("kits"):
                text = f"write the first K samples of the annotations, for RatersTrainer: 1 to {SAMPLES} [none]"
                add("--raters", type=options.whole(1, SAMPLES), default=cls.raters, metavar="K", help=text)
            if name == "overlapping":
                add("--images", nargs="+", default=cls.images, metavar="FILE", help="each channel's [image.nii.gz]")
                add("--channel_names", nargs="+", default=(), metavar="NAME", help="for dataset.json, such as CT")
                text = "combinations with fewer voxels in all cases get no label of their own [1]"
                add("--min_voxels", type=options.whole(1), default=cls.min_voxels, metavar="K", help=text)
                add("--absent_is_empty", action="store_true", help="a structure without a file is not in that case")

    def run(self) -> int:
        """Look at the source, take the number, write the dataset."""
        from nnunet_ext.challenges.conversion.lost_voxels import lost_voxels
        from nnunet_ext.challenges.conversion.write_conversion import STATE, ConversionWriter

        conversion = self._read()
        raw = folders.folder("nnUNet_raw", writable=True)
        place = raw / f"Dataset{self.d:03d}_{self.n or conversion.dataset}"
        writer = ConversionWriter(conversion, place, self.copy, self.np, not self.no_pbar)
        self._check_name(place)
        with numbers_to_oneself(raw):
            Folders(raw, *map(folders.if_there, ("nnUNet_preprocessed", "nnUNet_results"))).check_number(
                place.name, "-d"
            )
            writer.claim()
        with run_lock(place, "converting"):
            conversion, records, written = writer.write()
            self._place_folds(conversion, place)
        print(f"{place / 'dataset.json'}: {len(conversion.cases)} cases, {written} written now, {_labels(conversion)}")
        for note in (*_counts(conversion), *_annotations(records), *conversion.notes):
            print(f"Note: {note}.")
        if table := lost_voxels(records.values()):
            print(f"\nWhat the labels do not give back of the masks ({place / STATE} has it by case):\n\n{table}\n")
        print(f"Next: nnunet_ext plan_and_preprocess -d {self.d}")
        return 0

    def _read(self) -> Conversion:
        from nnunet_ext.challenges.conversion.kits import read_kits
        from nnunet_ext.challenges.conversion.label_map_challenges import read_btcv, read_kipa22
        from nnunet_ext.challenges.conversion.overlapping import read_overlapping
        from nnunet_ext.challenges.conversion.segrap import read_segrap_gtv, read_segrap_oar

        channels = dict.fromkeys(self.channels)  # each once
        readers: dict[str, Callable[[Path], Conversion]] = {
            "kits21": lambda source: read_kits(source, 2021, self.raters),
            "kits23": lambda source: read_kits(source, 2023, self.raters),
            "segrap2023_oar": lambda source: read_segrap_oar(source, [*channels], self.normalization),
            "segrap2023_gtv": lambda source: read_segrap_gtv(source, [*channels], self.normalization),
            "kipa22": read_kipa22,
            "btcv": read_btcv,
            "overlapping": lambda source: read_overlapping(
                source,
                self.images,
                self.channel_names,
                min_voxels=self.min_voxels,
                absent_is_empty=self.absent_is_empty,
            ),
        }
        return readers[self.challenge](self.source)

    @staticmethod
    def _check_name(place: Path) -> None:
        from nnunet_ext.collection.manifest import check_dataset_name

        check_dataset_name(place.name, place)

    @staticmethod
    def _place_folds(conversion: Conversion, place: Path) -> None:
        """Put folds where nnU-Net looks for them; what is there stays."""
        from nnunet_ext.data.folds import FILE
        from nnunet_ext.files.json_file import read_json, write_json

        if conversion.folds is None:
            return
        preprocessed = folders.if_there("nnUNet_preprocessed")
        if preprocessed is None:
            print(
                f"Note: nnUNet_preprocessed names no folder. Before training, copy {place / FILE} "
                f"to {place.name} in it."
            )
            return
        file = preprocessed / place.name / FILE
        file.parent.mkdir(exist_ok=True)
        try:
            write_json(file, conversion.folds, new=True)
        except FileExistsError:
            if read_json(file) != conversion.folds:
                print(
                    f"Note: {file} has other folds than {place / FILE} and is kept. Cases that were added since are "
                    f"in no fold of it: copy the latter over it, or add them."
                )


def _labels(conversion: Conversion) -> str:
    structures = len(conversion.record.structures)
    if conversion.regions_class_order:
        return f"{len(conversion.labels)} regions"
    return f"{len(conversion.labels)} labels for {structures} structure{'s' * (structures != 1)}"


def _counts(conversion: Conversion) -> list[str]:
    found, expected = len(conversion.cases), conversion.of_challenge
    return [] if expected in (None, found) else [f"the challenge has {expected} training cases, the source {found}"]


def _annotations(records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say how many annotators drew what a label was made of."""
    found = [record["instances_by_annotations"] for record in records.values() if "instances_by_annotations" in record]
    total: Counter[int] = Counter()
    for each in found:
        total.update({int(annotations): instances for annotations, instances in each.items()})
    (few, first), *rest = [*sorted(total.items())] or [(0, 0)]
    numbers = [f"{first} instances with {few} annotation{'s' * (few != 1)}", *(f"{n} with {few}" for few, n in rest)]
    return [f"labels of {len(found)} cases are the majority of annotators: {', '.join(numbers)}"] if found else []
