"""``nnunet_ext plan_finetune``."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from nnunet_ext import sockets
from nnunet_ext.cli.common import options
from nnunet_ext.cli.data.plan_and_preprocess import PlanAndPreprocess
from nnunet_ext.cli.data.preprocess import STOCK_RESAMPLING
from nnunet_ext.cli.planning import plan_collection
from nnunet_ext.cli.planning.earlier_planning import descendants, earlier_plans, unchanged
from nnunet_ext.data.plans_file import check_plans_name
from nnunet_ext.data.raw_dataset import RawDataset
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import write_json
from nnunet_ext.stock import folders

if TYPE_CHECKING:
    from nnunet_ext.fine_tuning.fine_tuning_plans import FineTuningPlans, Wanted
    from nnunet_ext.fine_tuning.source.source_model import SourceModel
    from nnunet_ext.weights.class_matching import ClassMatching

TRAINER, CONTROL = "FineTuneTrainer", "NNUNetBaselineTrainer"
METHOD = "fine_tune"  # key of its card
DECIDED = {
    "init_from": "the model after --from is it",
    "mirror_axes": "--mirror_axes decides it",
    "init_from_classes": "--keep_classes and --rename_classes decide it",
}


@dataclass
class PlanFinetune(PlanAndPreprocess):
    """Plan and preprocess a dataset to continue the training of someone else's model.

    Network and, where your data allow it, spacing and normalization stay those of the model; the rest is planned from
    your data. A table says why; each row has an option to change it:
    nnunet_ext plan_finetune -d 4 --from Dataset300_Liver/nnUNetTrainer__nnUNetPlans__3d_fullres
    """

    name: ClassVar[str] = "plan_finetune"

    source: list[Path] = field(default_factory=list)
    fold: str | None = None
    chk: str = "checkpoint_final.pth"
    trust: bool = False
    plans_name: str = "FineTunePlans"
    configuration: str | None = None
    spacing: list[str] | None = None
    patch_size: list[str] | None = None
    batch_size: int | None = None
    normalization: str | None = None
    transpose: list[str] | None = None
    mirror_axes: list[str] | None = None
    keep_classes: bool = True
    rename_classes: list[str] = field(default_factory=list)
    dry_run: bool = False
    json: Path | None = None
    _model: SourceModel | None = field(default=None, init=False, repr=False)
    _next: list[str] = field(default_factory=list, init=False, repr=False)

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options; those of plan_and_preprocess have its names."""
        add = parser.add_argument
        add("-d", nargs=1, type=options.whole(1, 999), required=True, help="dataset number of your data")
        add(
            "--from",
            dest="source",
            nargs="+",
            type=Path,
            required=True,
            metavar="MODEL",
            help="a model's folder, its zip file, or a checkpoint (with plans.json and dataset.json, if it has none)",
        )
        add("--fold", type=options.fold, metavar="FOLD", help="the model's fold [all if it was trained, else 0]")
        add("-chk", default=cls.chk, help="the model's checkpoint [checkpoint_final.pth]")
        add("--trust", action="store_true", help=options.TRUST)
        add("-p", "--plans_name", default=cls.plans_name, help="name of the new plans [FineTunePlans]")
        add("-c", dest="configuration", help="configuration of your data that takes the network [the model's]")
        add("-pl", default=cls.pl, help="planner for your data, ours or nnU-Net's [%(default)s]")
        add("-gpu_memory_target", type=options.real(0), help="GB of GPU memory to plan for")
        sides = "source, target or numbers"
        add("--spacing", nargs="+", metavar="MM", help=f"{sides}: mm, three, in the axis order of your images")
        add("--patch_size", nargs="+", metavar="VOXELS", help=f"{sides}: one for each axis, in the order of the plans")
        add("--batch_size", type=options.whole(1), help="samples of a batch")
        add("--normalization", choices=options.SIDES, help="of all channels: the model's, or that of your own plans")
        add("--transpose", nargs="+", metavar="AXIS", help=f"{sides}: the image's axes in the order of the plans")
        add("--mirror_axes", nargs="*", metavar="AXIS", help=f"{sides}: axes of a patch, in the order of the plans")
        keep = argparse.BooleanOptionalAction
        add("--keep_classes", action=keep, default=True, help="start classes that have the same name from the model's")
        rename = "which of your classes is which of the model's, if names differ"
        add("--rename_classes", nargs="+", default=[], metavar="YOURS=MODELS", help=rename)
        add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="knobs to write into the plans")
        add("--dry_run", action="store_true", help="print the table only: no plans, no preprocessing")
        add("--json", type=options.new_or_file, metavar="FILE", help="also write the decisions to this file")
        add("--no_pp", action="store_true", help="no preprocessing")
        add("--clean", action="store_true", help="extract the fingerprint and preprocess again")
        add("-npfp", type=options.whole(1), default=cls.npfp, help="processes for the fingerprint")
        add("-np", nargs=1, type=options.whole(1), help="processes for preprocessing")
        add("--verbose", action="store_true", help="let nnU-Net print more")
        add("--no_pbar", action="store_true", help="no progress bars")
        add("--no_check", action="store_true", help="skip reading all images and labels first")
        add("--stock_resampling", action="store_true", help=STOCK_RESAMPLING)

    def run(self) -> int:
        """Read the model, decide, write the plans and a copy of the weights, preprocess."""
        from nnunet_ext.fine_tuning.source.read_source import read_source
        from nnunet_ext.fine_tuning.source_network import SourceNetwork

        self._wanted()
        self._check_options()
        with TemporaryDirectory(prefix="nnunet_ext_source_") as unpacked:
            self._model = read_source(
                self.source, Path(unpacked), fold=self.fold, checkpoint=self.chk, trust=self.trust
            )
            SourceNetwork(self._model)  # refused before images are read
            self._check_trained()
            self.no_pp |= self.dry_run
            code = super().run()
        print("\nNext:", *self._next, sep="\n  ")
        return code

    def _check_options(self) -> None:
        check_plans_name(self.plans_name, "-p")
        for knob, why in DECIDED.items():
            if any(word.startswith(f"{knob}=") for word in self.set):
                raise UserError(f"--set {knob}: expected other knobs, because {why}. Leave it out.")
        raw = folders.dataset("nnUNet_raw", self.d[0])
        if plan_collection.read(raw) is not None:
            raise UserError(
                f"-d {self.d[0]}: expected one dataset, got the collection {raw.name}. Plan one of its members, or the "
                f"collection with nnunet_ext plan_and_preprocess, whose trainers take the knob init_from."
            )
        file = folders.folder("nnUNet_preprocessed", writable=True) / raw.name / f"{self.plans_name}.json"
        if not self.dry_run:
            self._check_earlier(earlier_plans(file.parent, self.plans_name).get(file))

    def _check_earlier(self, plans: dict[str, Any] | None) -> None:
        from nnunet_ext.fine_tuning.fine_tuning_plans import BLOCK

        if plans is not None and BLOCK not in plans:
            raise UserError(
                f"-p {self.plans_name}: expected a new name, or that of plans of plan_finetune, found plans of "
                f"{plans.get('experiment_planner_used', 'another command')}, which would be lost. Choose another name."
            )

    def _check_trained(self) -> None:
        """Refuse another source for plans that a fold was trained with: it would be resumed with another start."""
        from nnunet_ext.fine_tuning.source.source_copy import NAME, is_copy_of

        assert self._model is not None
        dataset = folders.dataset("nnUNet_raw", self.d[0]).name
        copy = folders.folder("nnUNet_preprocessed") / dataset / f"{self.plans_name}_source"
        if self.dry_run or not (copy / NAME).is_file():
            return
        results = folders.folder("nnUNet_results") / dataset
        trained = sorted(results.glob(f"*__{self.plans_name}__*/fold_*/checkpoint_*.pth"))
        if trained and not is_copy_of(copy, self._model):
            raise UserError(
                f"-p {self.plans_name}: expected the source that {trained[0].parent} was trained from, found other "
                f"weights. Give another -p, or delete these results."
            )

    def _wanted(self) -> Wanted:
        """Read what the options decide."""
        from nnunet_ext.fine_tuning.fine_tuning_plans import Wanted

        return Wanted(
            configuration=self.configuration,
            spacing=options.side_or_numbers("--spacing", self.spacing, options.real(0), (3,)),
            patch_size=options.side_or_numbers("--patch_size", self.patch_size, options.whole(1), (2, 3)),
            batch_size=self.batch_size,
            normalization=self.normalization,
            transpose=options.side_or_numbers("--transpose", self.transpose, options.whole(0, 2), (3,)),
            mirror_axes=options.side_or_numbers("--mirror_axes", self.mirror_axes, options.whole(0, 2), (0, 1, 2, 3)),
            classes=self._matching(),
        )

    def _matching(self) -> ClassMatching:
        """Return the value of the knob ``init_from_classes``."""
        from nnunet_ext.weights.class_matching import BY_NAME, FRESH

        if self.rename_classes and not self.keep_classes:
            raise UserError("--rename_classes: expected --keep_classes, got --no-keep_classes. Leave one of them out.")
        renamed = options.pairs("--rename_classes", self.rename_classes)
        return renamed or (BY_NAME if self.keep_classes else FRESH)

    def _plan(self, number: int, planner: type, place: Path, block: dict[str, Any], members: list[Path]) -> str:
        """Decide, print the table, and write plans and weights; the name of the plans."""
        from nnunet_ext.fine_tuning.fine_tuning_plans import FineTuningPlans
        from nnunet_ext.fine_tuning.own_plans import OwnPlans

        assert self._model is not None
        memory = {} if self.gpu_memory_target is None else {"gpu_memory_target_in_gb": self.gpu_memory_target}
        if not members:
            RawDataset.read(folders.folder("nnUNet_raw") / place.name).cases()  # refuses images alone
        with unchanged(place / "dataset.json") if self.dry_run else contextlib.nullcontext():
            own = OwnPlans(place.name, planner, self.plans_name, preprocessor_name=self.preprocessor_name, **memory)
        made = FineTuningPlans.make(self._model, own, self.plans_name, self._wanted())
        self.c = [made.configuration]
        self._next = self._commands(number, made.configuration)
        self._report(made)
        if not self.dry_run:
            self._write(made, place, block, number)
        return self.plans_name

    def _report(self, made: FineTuningPlans) -> None:
        rows = [decision.row() for decision in made.decisions]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for what, value, why in rows:  # reasons are too long for a table that pads them
            print(f"{what:<{widths[0]}}  {value:<{widths[1]}}  {why}")
        warnings = [decision.warning for decision in made.decisions if decision.warning]
        for warning in warnings:
            print(f"WARNING: {warning}")
        if self.json is not None:
            content = {
                "model": [str(place) for place in self.source],
                "plans_name": self.plans_name,
                "configuration": made.configuration,
                "decisions": [decision.as_json() for decision in made.decisions],
                "next": self._next,
            }
            write_json(self.json, content)

    def _write(self, made: FineTuningPlans, place: Path, block: dict[str, Any], number: int) -> None:
        from nnunet_ext.base import knobs
        from nnunet_ext.base.method import methods
        from nnunet_ext.fine_tuning.source.source_copy import NAME, write_source_copy

        assert self._model is not None
        file, folder = place / f"{self.plans_name}.json", place / f"{self.plans_name}_source"
        before = earlier_plans(place, self.plans_name).get(file)
        self._check_earlier(before)
        plans = made.plans
        plans.pop(knobs.BLOCK, None)  # a planner's recipe is one for trainings from scratch
        if before is not None:
            plans["configurations"] |= descendants(before, made.configuration)
            knobs.carry_over(before, plans)
        strategy = {METHOD: {"strategy": "all"}} if METHOD in methods() else {}
        carried = plans.get(knobs.BLOCK, {}).get(METHOD, {})
        knobs.put(plans, {} if "strategy" in carried else strategy)
        decided: dict[str, Any] = {"init_from": str((folder / NAME).absolute()), "mirror_axes": made.mirror_axes}
        decided["init_from_classes"] = self._matching()
        knobs.put(plans, decided | block)
        if self._trainer(number) != TRAINER and METHOD in methods():  # FineTuneTrainer has the recipe itself
            card, named = methods()[METHOD], plans[knobs.BLOCK].get("optimizer")
            recipe = card.recipe if named is None else card.recipe_with[named]
            knobs.put(plans, {name: value for name, value in recipe.items() if name not in plans[knobs.BLOCK]})
        for configuration in plans["configurations"]:
            knobs.resolve(plans, configuration)
        write_source_copy(self._model, folder)
        write_json(file, plans)
        print(f"{file} written, with a copy of the weights in {folder}")

    def _preprocess(self, number: int, plans_name: str) -> None:
        """Preprocess, and tell of classes of the model that nobody annotated."""
        from nnunet_ext.fine_tuning.missing_classes import missing_classes

        super()._preprocess(number, plans_name)
        assert self._model is not None
        plans, place = folders.plans(number, plans_name), folders.dataset("nnUNet_preprocessed", number)
        folder = place / plans["configurations"][self.c[0]]["data_identifier"]
        description = folders.read_json(place / "dataset.json")
        if names := missing_classes(self._model, plans, self.c[0], description, folder):
            print(
                f"WARNING: classes: the model knows {', '.join(names)}, annotated in no case or only in some; "
                f"training would forget them. To keep them, add --set {METHOD}.keep_unannotated=true"
            )

    def _commands(self, number: int, configuration: str) -> list[str]:
        """Return the commands that train and predict."""
        trainer = self._trainer(number)
        model = f"-tr {trainer} -p {self.plans_name}"
        return [
            f"nnunet_ext train {number} {configuration} 0 {model}",
            f"nnunet_ext predict -i IMAGES -o PREDICTIONS -d {number} -c {configuration} {model} -f 0",
        ]

    def _trainer(self, number: int) -> str:
        """Return the trainer that continues the model: its own if it has another network and what else it needs."""
        from nnunet_ext.base.method import methods
        from nnunet_ext.collection.training.trainer import MultiTaskTrainer
        from nnunet_ext.semi_supervised.raw_images import has_unlabelled

        assert self._model is not None
        general = TRAINER if TRAINER in sockets.names("trainers") else CONTROL
        name = self._model.trainer
        kind: Any = sockets.load("trainers", name) if name in sockets.names("trainers") else None
        if kind is None or issubclass(kind, MultiTaskTrainer) or not kind.has_own_network():
            return general
        needs_more = any("unlabelled images" in card.supports for card in methods().values() if name in card.trainers)
        return general if needs_more and not has_unlabelled(folders.dataset("nnUNet_raw", number)) else name
