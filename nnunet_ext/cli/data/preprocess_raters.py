"""``nnunet_ext preprocess_raters``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nnunet_ext.cli.data.preprocess_unlabelled import DEFAULT_PROCESSES, PreprocessUnlabelled
from nnunet_ext.processes.cores import usable_cores


@dataclass
class PreprocessRaters(PreprocessUnlabelled):
    """Preprocess the maps of several raters (labelsTr_raters/RATER) with the plans of the dataset.

    Only what is missing is preprocessed, so an interrupted run resumes where it stopped:
    nnunet_ext preprocess_raters -d 7 -p nnUNetPlans -c 3d_fullres
    """

    name: ClassVar[str] = "preprocess_raters"
    purpose: ClassVar[str] = "preprocessing raters"

    def _preprocess(self, raw: Path, folder: Path, plans: dict[str, Any]) -> int:
        from nnunet_ext.labels.raters.preprocessing import preprocess_raters, preprocessed_raters, raters_folder

        configurations = self._configurations(plans)
        preprocess_raters(
            raw,
            folder,
            plans,
            *configurations,
            processes=self.np or min(DEFAULT_PROCESSES, usable_cores()),
            progress=not self.no_pbar,
            again=self.clean,
            stock_resampling=self.stock_resampling,
            say=print,
        )
        for name in configurations:
            print(f"{raters_folder(folder, plans, name)}: {', '.join(preprocessed_raters(folder, plans, name))}")
        return 0
