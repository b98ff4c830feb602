"""``nnunet_ext plan_and_preprocess``."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.data.preprocess import STOCK_RESAMPLING, preprocess_configurations
from nnunet_ext.cli.planning import fingerprints, plan_collection
from nnunet_ext.cli.planning.earlier_planning import default_plans_name, earlier_plans, is_whole_fingerprint
from nnunet_ext.collection.manifest import Manifest
from nnunet_ext.collection.task_table import CONFIGURATION, TaskTable, member_plans_name
from nnunet_ext.data.check_record import CheckRecord
from nnunet_ext.data.classes import foreground_classes
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError, more, nearest
from nnunet_ext.files.json_file import write_json
from nnunet_ext.processes.cores import usable_cores
from nnunet_ext.processes.run_lock import run_lock
from nnunet_ext.stock import folders
from nnunet_ext.stock.lookup import find_planner
from nnunet_ext.strategies.mirrors import KNOB
from nnunet_ext.strategies.sides import sides

DEFAULT_PROCESSES = {"2d": 8, "3d_fullres": 4, "3d_lowres": 8}  # stock numbers; more than the machine has never helps


@dataclass
class PlanAndPreprocess(Command):
    """Fingerprint, plan and preprocess with our planners or nnU-Net's; takes nnUNetv2_plan_and_preprocess's flags.

    Beyond the stock command it checks the data first, finds planners of nnunet_ext, resamples faster, and writes knobs
    into the plans (--set num_epochs=50 ba_net.boundary_width=5); knobs of earlier plans of the same name are carried
    over. Images in imagesUn, which have no labels, are preprocessed separately; they are
    planned with only if there are no others.
    """

    name: ClassVar[str] = "plan_and_preprocess"
    has_workers: ClassVar[bool] = True

    d: list[int]
    fpe: str = "DatasetFingerprintExtractor"
    npfp: int = 8
    verify_dataset_integrity: bool = False
    no_pp: bool = False
    clean: bool = False
    pl: str = "ExperimentPlanner"
    gpu_memory_target: float | None = None
    preprocessor_name: str = "DefaultPreprocessor"
    overwrite_target_spacing: list[float] | None = None
    overwrite_plans_name: str | None = None
    c: list[str] = field(default_factory=lambda: list(DEFAULT_PROCESSES))
    np: list[int] | None = None
    verbose: bool = False
    no_pbar: bool = False
    set: list[str] = field(default_factory=list)
    no_check: bool = False
    stock_resampling: bool = False

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the stock flags, --set, --no_check and --stock_resampling."""
        add = parser.add_argument
        add("-d", nargs="+", type=options.whole(1, 999), required=True, help="dataset numbers")
        add("-fpe", default=cls.fpe, help="fingerprint extractor (nnU-Net's)")
        add("-npfp", type=options.whole(1), default=cls.npfp, help="processes for the fingerprint")
        add("--verify_dataset_integrity", action="store_true", help="run nnU-Net's own check as well")
        add("--no_pp", action="store_true", help="no preprocessing")
        add("--clean", action="store_true", help="extract the fingerprint and preprocess again")
        add("-pl", default=cls.pl, help="planner, ours or nnU-Net's [%(default)s]")
        add("-gpu_memory_target", type=options.real(0), help="GB of GPU memory to plan for")
        add("-preprocessor_name", default=cls.preprocessor_name, help="preprocessor (nnU-Net's)")
        add(
            "-overwrite_target_spacing",
            nargs=3,
            type=options.real(0),
            help="mm, three numbers; 3d_fullres and cascade only",
        )
        add("-overwrite_plans_name", help="name of the plans")
        add("-c", nargs="+", default=list(DEFAULT_PROCESSES), help="configurations to preprocess")
        add(
            "-np",
            nargs="+",
            type=options.whole(1),
            help="processes for preprocessing, one number or one per configuration",
        )
        add("--verbose", action="store_true", help="let nnU-Net print more")
        add("--no_pbar", action="store_true", help="no progress bars")
        add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="knobs to write into the plans")
        add("--no_check", action="store_true", help="skip reading all images and labels first")
        add("--stock_resampling", action="store_true", help=STOCK_RESAMPLING)

    def run(self) -> int:
        """Check, fingerprint, plan, write the knobs, preprocess."""
        from nnunet_ext.base.knobs import parse

        block = parse(self.set)
        raw = [folders.dataset("nnUNet_raw", number) for number in self.d]
        preprocessed = folders.folder("nnUNet_preprocessed", writable=True)
        planner = find_planner(self.pl)
        collections = [plan_collection.read(place) for place in raw]
        for place, manifest in zip(raw, collections, strict=True):
            plan_collection.check_words(self.pl, planner, place.name, manifest, self._named_configurations())
        checked, fingerprinted = self._check(preprocessed, raw, collections)
        with contextlib.ExitStack() as locks:
            for folder in self._written(preprocessed, raw, collections, fingerprinted):
                folder.mkdir(exist_ok=True)
                locks.enter_context(run_lock(folder, "planning and preprocessing", say=print))
            for dataset in checked:
                if dataset.has_images_alone:  # these are read each time
                    continue
                CheckRecord(preprocessed / dataset.folder.name).write(dataset.description, dataset.cases())
            self._fingerprint(fingerprinted)
            self._plan_and_preprocess(planner, preprocessed, raw, collections, block)
        return 0

    @staticmethod
    def _written(
        preprocessed: Path, raw: list[Path], collections: list[Manifest | None], fingerprinted: list[Path]
    ) -> list[Path]:
        """Return the folders that are written to, each once."""
        members = [task.dataset for manifest in collections if manifest for task in manifest.tasks]
        return [preprocessed / name for name in sorted({place.name for place in (*raw, *fingerprinted)}.union(members))]

    def _plan_and_preprocess(
        self,
        planner: type,
        preprocessed: Path,
        raw: list[Path],
        collections: list[Manifest | None],
        block: dict[str, Any],
    ) -> None:
        for number, place, manifest in zip(self.d, raw, collections, strict=True):
            members = [preprocessed / task.dataset for task in manifest.tasks] if manifest else []
            plans_name = self._plan(number, planner, preprocessed / place.name, block, members)
            if not self.no_pp:
                self._preprocess(number, plans_name)

    def _check(
        self, preprocessed: Path, raw: list[Path], collections: list[Manifest | None]
    ) -> tuple[list[RawDataset], list[Path]]:
        """Check datasets, or a collection's members instead of it; return them, and those that need fingerprints.

        What earlier planning has checked is not read again, unless --clean is given.
        """
        from nnunet_ext.data.dataset_check import check_dataset

        wanted, fingerprinted = [], []
        for place, manifest in zip(raw, collections, strict=True):
            members = plan_collection.members(manifest) if manifest else [place]
            for each in members:
                self._check_beside(each, raters=manifest is None)
            wanted += members
            fingerprinted += plan_collection.fingerprinted(manifest) if manifest else [place]
        missing = [place for place in fingerprinted if not is_whole_fingerprint(fingerprints.fingerprint_file(place))]
        wanted += fingerprinted if self.clean else missing
        checked = []
        for place in () if self.no_check else dict.fromkeys(wanted):
            record = None if self.clean else CheckRecord(preprocessed / place.name)
            checked.append(check_dataset(place, record=record, show_progress=not self.no_pbar))
        return checked, list(dict.fromkeys(fingerprinted))

    def _fingerprint(self, places: list[Path]) -> None:
        options = {"verify": self.verify_dataset_integrity, "again": self.clean, "verbose": self.verbose}
        fingerprints.extract(places, self.fpe, self.npfp, progress=not self.no_pbar, **options)

    def _check_beside(self, place: Path, *, raters: bool) -> None:
        """Check unlabelled images, and the maps of raters, where there are any."""
        from nnunet_ext.labels.raters.raw_raters import check_raters, find_raters, has_raters
        from nnunet_ext.semi_supervised.raw_images import check_images_un, find_unlabelled, has_unlabelled

        if has_unlabelled(place):
            cases = find_unlabelled(place)
            check_images_un(place, [] if self.no_check else cases, show_progress=not self.no_pbar)
        if raters and has_raters(place):
            rated = find_raters(place)
            check_raters(place, [] if self.no_check else rated, show_progress=not self.no_pbar)

    def _preprocess(self, number: int, plans_name: str) -> None:
        from nnunet_ext.semi_supervised.images_alone.planning import clear_labelled

        plans = folders.plans(number, plans_name)
        processes = self.np or [min(DEFAULT_PROCESSES.get(name, 4), usable_cores()) for name in self.c]
        of_each = dict(zip(self.c, processes if len(processes) > 1 else processes * len(self.c), strict=False))
        table, options = TaskTable.read(plans), {"verbose": self.verbose, "progress": not self.no_pbar}
        options["stock_resampling"] = self.stock_resampling
        if table is None:
            self._check_configurations(plans_name, plans["configurations"])
            planned = {name: number for name, number in of_each.items() if name in plans["configurations"]}
            if RawDataset.read(folders.dataset("nnUNet_raw", number)).has_images_alone:
                clear_labelled(folders.dataset("nnUNet_preprocessed", number), plans, planned)
            else:
                preprocess_configurations(number, plans, planned, again=self.clean, **options)
            self._preprocess_beside(number, plans, min(processes))
            return
        plan_collection.preprocess_members(table, plans_name, of_each[CONFIGURATION], again=self.clean, **options)

    def _preprocess_beside(self, number: int, plans: dict[str, Any], processes: int) -> None:
        """Preprocess what nnU-Net must not find: unlabelled images, and the maps of raters."""
        from nnunet_ext.labels.raters.preprocessing import preprocess_raters
        from nnunet_ext.labels.raters.raw_raters import has_raters
        from nnunet_ext.semi_supervised.preprocessing import preprocess_unlabelled
        from nnunet_ext.semi_supervised.raw_images import has_unlabelled

        raw, folder = folders.dataset("nnUNet_raw", number), folders.dataset("nnUNet_preprocessed", number)
        planned = [name for name in self.c if name in plans["configurations"]]
        options: dict[str, Any] = {"processes": processes, "progress": not self.no_pbar, "again": self.clean}
        options |= {"check": False, "stock_resampling": self.stock_resampling, "say": print}
        for is_there, preprocess in ((has_unlabelled, preprocess_unlabelled), (has_raters, preprocess_raters)):
            if is_there(raw):
                preprocess(raw, folder, plans, *planned, **options)

    def _named_configurations(self) -> list[str]:
        """What the user gave after -c."""
        return [] if self.c == list(DEFAULT_PROCESSES) else self.c

    def _check_configurations(self, plans_name: str, planned: dict[str, Any]) -> None:
        """A default that was not planned is skipped, as stock does; a name that exists nowhere is a mistake."""
        for name in self.c:
            if name not in planned and name not in DEFAULT_PROCESSES:
                raise UserError(f"-c: plans {plans_name!r} have no configuration {name!r}. {nearest(name, planned)}")

    def _plan(self, number: int, planner: type, place: Path, block: dict[str, Any], members: list[Path]) -> str:
        """Plan one dataset or collection, put the knobs into its plans and its members', and return their name."""
        from nnunetv2.experiment_planning.plan_and_preprocess_api import plan_experiment_dataset

        from nnunet_ext.base import knobs
        from nnunet_ext.semi_supervised.images_alone.planning import planner_of_images_alone

        name = self.overwrite_plans_name or default_plans_name(planner)
        if not members and RawDataset.read(folders.folder("nnUNet_raw") / place.name).has_images_alone:
            planner = planner_of_images_alone(planner)
        before = earlier_plans(place, name)
        for member in members:
            before |= earlier_plans(member, member_plans_name(name, place.name))
        plans, plans_name = plan_experiment_dataset(
            number,
            planner,
            self.gpu_memory_target,
            self.preprocessor_name,
            tuple(self.overwrite_target_spacing) if self.overwrite_target_spacing else None,
            self.overwrite_plans_name,
        )
        file = place / f"{plans_name}.json"
        of_members = [member / f"{member_plans_name(plans_name, place.name)}.json" for member in members]
        recipe = {key: value for key, value in plans.pop(knobs.BLOCK, {}).items() if key != "format"}
        try:
            knobs.carry_over(before.get(file, {}), plans)
            knobs.put(plans, block)
            for configuration in plans["configurations"]:
                knobs.resolve(plans, configuration)
            knobs.recommend(plans, recipe)  # of the planner, unless the user has named an optimizer
        except UserError:
            for written in (file, *of_members):  # stock planning has just dropped the knobs of the plans in this file
                if written in before:
                    write_json(written, before[written])
            raise
        for written in of_members:
            theirs = folders.read_json(written)
            knobs.carry_over(plans, theirs)
            write_json(written, theirs)
        write_json(file, plans)
        if not members:
            _tell_of_sides(place.name, plans)
        return plans_name


def _tell_of_sides(dataset: str, plans: dict[str, Any]) -> None:
    """Say that classes come in a left and a right, unless the plans say along which axes to mirror."""
    from nnunet_ext.base.knobs import is_set

    raw = folders.folder("nnUNet_raw") / dataset
    pairs = sides(foreground_classes(RawDataset.read(raw).description))
    if pairs and not any(is_set(plans, name, KNOB) for name in plans["configurations"]):
        left, right = pairs[0]
        print(
            f"{dataset}: {left} and {right}{more(len(pairs) - 1, 'pair')} are different classes, and "
            f"mirroring turns one into the other. To train without: --set {KNOB}=[]"
        )
