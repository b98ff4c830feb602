"""``nnunet_ext postprocess``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nnunet_ext import __version__
from nnunet_ext.cli.challenges.chosen_challenge import CHALLENGES, CUSTOM, EMPTY, chosen_challenge
from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.errors import UserError
from nnunet_ext.files.json_file import read_object, whole_file, write_json, write_text
from nnunet_ext.stock.folders import check_writable

if TYPE_CHECKING:
    from nnunet_ext.challenges.postprocessing.learning import Learned

LEARN = "learn"


@dataclass
class Postprocess(Command):
    """Learn which components of predictions to remove, by a challenge's metric; apply that to label maps.

    nnunet_ext postprocess learn kits21 MODEL kits21/data --majority -o rules.json
    nnunet_ext postprocess apply rules.json predictions -o postprocessed
    """

    name: ClassVar[str] = "postprocess"
    after_interruption: ClassVar[str] = "Run the same command again; label maps that apply has written are kept."
    has_workers: ClassVar[bool] = True

    action: str
    predictions: Path
    o: Path
    np: int | None
    challenge: str = CUSTOM
    references: Path = Path()
    rules: Path = Path()
    metrics: str | None = None
    djfile: Path | None = None
    empty: str | None = None
    majority: bool = False
    folds: int = 5

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options of both."""
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        learn = actions.add_parser(LEARN, help="choose rules by predictions of a cross-validation")
        add = learn.add_argument
        add("challenge", choices=CHALLENGES, help="whose metrics; custom: those of --metrics, for any dataset")
        text = "folder of a trained model, whose validation cases are taken, or of label maps CASE.nii.gz"
        add("predictions", type=options.folder, metavar="PRED", help=text)
        add("references", type=options.folder, metavar="REF", help="folder of the references")
        add("-o", type=options.new_or_file, metavar="FILE", required=True, help="rules.json; .csv and .png beside it")
        add("--metrics", help="custom: dice, hd95, hd95_area, nsd@2mm, separated by commas [dice]")
        add("-djfile", type=options.file, metavar="FILE", help="custom: dataset.json [in PRED, REF or above REF]")
        add("--empty", choices=EMPTY, help="custom: what two empty masks count as [leave_out]")
        add("--majority", action="store_true", help="kits21: compare with majority votes, which is much faster")
        text = "parts of the cases, where PRED has no folds or one [5]"
        add("--folds", type=options.whole(2), default=cls.folds, metavar="N", help=text)
        apply = actions.add_parser("apply", help="write label maps without the components that rules remove")
        apply.add_argument("rules", type=options.file, metavar="RULES", help="file that learn wrote")
        apply.add_argument("predictions", type=options.folder, metavar="PRED", help="folder of label maps")
        apply.add_argument("-o", type=options.folder_or_new, metavar="OUT", required=True, help="another folder")
        for each in (learn, apply):
            text = "processes, each with one case in memory [usable cores]"
            each.add_argument("-np", type=options.whole(1), metavar="N", help=text)

    def run(self) -> int:
        """Learn rules, or apply them."""
        return self._learn() if self.action == LEARN else self._apply()

    def _learn(self) -> int:
        from nnunet_ext.challenges.postprocessing.learning import learn
        from nnunet_ext.challenges.postprocessing.rules_file import RulesFile
        from nnunet_ext.challenges.postprocessing.tables import decisions_csv, decisions_json, summary
        from nnunet_ext.processes.cores import usable_cores

        if self.o.suffix != ".json":
            raise UserError(f"-o {self.o}: expected a file that ends in .json, found another ending. Correct it.")
        check_writable(self.o.parent, f"-o {self.o}")
        beside = self.predictions / "dataset.json"
        description = read_object(beside) if beside.is_file() else {}
        challenge = chosen_challenge(
            self.challenge,
            self.references,
            metrics=self.metrics,
            djfile=beside if self.challenge == CUSTOM and self.djfile is None and description else self.djfile,
            empty=self.empty,
            majority=self.majority,
        )
        learned = learn(
            challenge,
            self.predictions,
            self.references,
            parts=self.folds,
            processes=self.np or usable_cores(),
        )
        origin = {
            "predictions": str(self.predictions),
            "references": str(self.references),
            "written_by": f"nnunet_ext {__version__}",
        }
        rules = RulesFile.of(challenge, learned.rules, description.get("labels"))
        write_text(self.o.with_suffix(".csv"), decisions_csv(learned))
        self._draw(learned)
        write_json(self.o, rules.as_json() | decisions_json(learned) | origin)
        print(summary(learned))
        count = len(learned.rules)
        print(f"\n{self.o}: {count} rule{'s' * (count != 1)}. Apply: nnunet_ext postprocess apply {self.o} PRED -o OUT")
        return 0

    def _draw(self, learned: Learned) -> None:
        from nnunet_ext.challenges.postprocessing.gain_figure import gain_figure

        if learned.decisions:
            with whole_file(self.o.with_suffix(".png")) as partial:
                gain_figure(learned).savefig(partial, dpi=100, format="png")

    def _apply(self) -> int:
        from nnunet_ext.challenges.postprocessing.postprocess_folder import postprocess_folder
        from nnunet_ext.challenges.postprocessing.rules_file import RulesFile
        from nnunet_ext.processes.cores import usable_cores

        rules = RulesFile.read(self.rules)
        check_writable(self.o, f"-o {self.o}")
        done = postprocess_folder(rules, self.predictions, self.o, processes=self.np or usable_cores())
        changed = sum(case.voxels > 0 for case in done)
        print(f"{self.o}: {len(done)} case{'s' * (len(done) != 1)} written, {changed} of them changed")
        return 0
