"""The preprocessed maps of several raters of one configuration: where they are, how those of a case are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import write_pickle
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2

from nnunet_ext.data.image_case import Case
from nnunet_ext.data.preprocessed.data_beside import DataBeside
from nnunet_ext.files.file_stamp import FileStamp, changed_file
from nnunet_ext.labels.raters.raw_raters import RatedCase

MAPS, PROPERTIES = ".b2nd", ".pkl"
MISSING = -2  # in all voxels of a rater who left the case out
IMAGES = ""  # key of the images among the files that a case is made from; no rater has this name


@dataclass(frozen=True)
class RaterData(DataBeside):
    """The preprocessed maps of several raters.

    A case's ``.b2nd`` holds one channel for each rater, int16, with the crop and the resampling of the image; its
    ``.pkl`` says where nnU-Net's loader finds foreground that any of the raters drew.

    Args:
        raters: Their names, in the order of the channels.
    """

    kind: ClassVar[str] = "raters"
    endings: ClassVar[tuple[str, ...]] = (MAPS, PROPERTIES)
    what: ClassVar[str] = "maps of raters"
    which: ClassVar[str] = "rated"

    raters: tuple[str, ...] = ()

    def stamps(self, cases: Iterable[Case]) -> dict[str, Any]:
        """Return the identity of the cases' files by name of the rater, and of their images."""
        return {case.name: {name: _stamps(files) for name, files in _files(case).items()} for case in cases}

    def changed(self, case: Case, recorded: Any) -> Path | None:
        """Return a file of a case that was added, removed or changed since."""
        now = _files(case)
        if now.keys() != recorded.keys():
            different = min(now.keys() ^ recorded.keys())
            return now.get(different, [Path(different)])[0]
        changed = (changed_file(files, recorded[name]) for name, files in now.items())
        return next((file for file in changed if file is not None), None)

    def missing(self, cases: Any, *, again: bool = False) -> list[Any]:
        """Return the cases to preprocess: all of them if other raters were preprocessed."""
        return super().missing(cases, again=again or recorded_raters(self) != self.raters)

    def write(self, case: Case) -> None:
        """Preprocess the maps of a case as nnU-Net's preprocessor does a label, all at once, equal ones once.

        Of a case that nobody rated, the locations of foreground are those of its own label.
        """
        assert isinstance(case, RatedCase)
        folder = self.partial / case.name
        folder.mkdir()
        reader = self.plans_manager.image_reader_writer_class()
        image, properties = reader.read_images([str(file) for file in case.images])
        drawn = [reader.read_seg(str(file))[0][0] for file in case.maps.values() or [case.label]]
        first = [next(n for n, other in enumerate(drawn) if np.array_equal(other, own)) for own in drawn]
        distinct = sorted(set(first))
        _, maps, properties = self.configuration_manager.preprocessor_class(verbose=False).run_case_npy(
            image,
            np.stack([drawn[n] for n in distinct]),
            properties,
            self.plans_manager,
            self.configuration_manager,
            self.dataset_json,
        )
        every = np.full((len(self.raters), *maps.shape[1:]), MISSING, np.int16)
        for rater, own in zip(case.maps, first, strict=False):
            every[self.raters.index(rater)] = maps[distinct.index(own)]
        blocks, chunks = comp_blosc2_params(every.shape, tuple(self.configuration_manager.patch_size), every.itemsize)
        nnUNetDatasetBlosc2.save_seg(every, str(folder / case.name), chunks, blocks)
        write_pickle({"class_locations": properties["class_locations"]}, str(folder / f"{case.name}{PROPERTIES}"))
        self.take(folder, case)


def recorded_raters(data: DataBeside) -> tuple[str, ...]:
    """Return the raters whose maps were preprocessed, in the order of the channels; none if none were."""
    return tuple(sorted({name for recorded in data.marker.sources().values() for name in recorded} - {IMAGES}))


def _files(case: Case) -> dict[str, list[Path]]:
    maps = case.maps if isinstance(case, RatedCase) else {}
    own = [] if maps or case.label is None else [case.label]
    return {name: [file] for name, file in maps.items()} | {IMAGES: [*case.images, *own]}


def _stamps(files: Iterable[Path]) -> list[Any]:
    return [FileStamp.of(file).as_json() for file in files]
