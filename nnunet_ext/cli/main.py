"""Entry point of ``nnunet_ext``."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence

from nnunet_ext import __version__
from nnunet_ext.cli.challenges.convert import Convert
from nnunet_ext.cli.challenges.evaluate import Evaluate
from nnunet_ext.cli.challenges.package import Package
from nnunet_ext.cli.challenges.postprocess import Postprocess
from nnunet_ext.cli.challenges.rank import Rank
from nnunet_ext.cli.challenges.recipe import ShowRecipe
from nnunet_ext.cli.challenges.split_labels import SplitLabels
from nnunet_ext.cli.common import output
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.interruption import interruptible
from nnunet_ext.cli.data.collect import Collect
from nnunet_ext.cli.data.correct_labels import CorrectLabels
from nnunet_ext.cli.data.fuse_raters import FuseRaters
from nnunet_ext.cli.data.hide_labels import HideLabels
from nnunet_ext.cli.data.leave_one_site_out import LeaveOneSiteOut
from nnunet_ext.cli.data.phantoms import Phantoms
from nnunet_ext.cli.data.plan_and_preprocess import PlanAndPreprocess
from nnunet_ext.cli.data.plan_finetune import PlanFinetune
from nnunet_ext.cli.data.preprocess import Preprocess
from nnunet_ext.cli.data.preprocess_raters import PreprocessRaters
from nnunet_ext.cli.data.preprocess_unlabelled import PreprocessUnlabelled
from nnunet_ext.cli.data.propagate_labels import PropagateLabels
from nnunet_ext.cli.data.select_similar import SelectSimilar
from nnunet_ext.cli.models.compare import Compare
from nnunet_ext.cli.models.export import Export
from nnunet_ext.cli.models.export_backbone import ExportBackbone
from nnunet_ext.cli.models.export_onnx import ExportOnnx
from nnunet_ext.cli.models.import_v1 import ImportV1
from nnunet_ext.cli.models.inspect import Inspect
from nnunet_ext.cli.models.interpolate import Interpolate
from nnunet_ext.cli.models.strip import Strip
from nnunet_ext.cli.models.task_views import TaskViews
from nnunet_ext.cli.models.train import Train
from nnunet_ext.cli.models.variant import Variant
from nnunet_ext.cli.predictions.check_parity import CheckParity
from nnunet_ext.cli.predictions.ensemble import Ensemble
from nnunet_ext.cli.predictions.next_cases import NextCases
from nnunet_ext.cli.predictions.predict import Predict
from nnunet_ext.cli.predictions.predict_onnx import PredictOnnx
from nnunet_ext.cli.predictions.predict_tasks import PredictTasks
from nnunet_ext.cli.predictions.qa import Qa
from nnunet_ext.cli.predictions.score_raters import ScoreRaters
from nnunet_ext.cli.predictions.shift_test import ShiftTest
from nnunet_ext.cli.predictions.suspect_labels import SuspectLabels
from nnunet_ext.cli.setup.demo import Demo
from nnunet_ext.cli.setup.doctor import Doctor
from nnunet_ext.cli.setup.info import Info
from nnunet_ext.cli.setup.sockets import Sockets
from nnunet_ext.errors import UserError, nearest
from nnunet_ext.processes.follow_parent import follow_parent

COMMANDS: dict[str, type[Command]] = {
    command.name: command
    for command in (
        Demo,
        Phantoms,
        Convert,
        Collect,
        HideLabels,
        FuseRaters,
        PropagateLabels,
        PlanAndPreprocess,
        PlanFinetune,
        Preprocess,
        PreprocessUnlabelled,
        PreprocessRaters,
        SelectSimilar,
        LeaveOneSiteOut,
        Train,
        Predict,
        Ensemble,
        PredictTasks,
        CheckParity,
        Qa,
        ShiftTest,
        SuspectLabels,
        CorrectLabels,
        NextCases,
        ScoreRaters,
        SplitLabels,
        Evaluate,
        Rank,
        Package,
        ShowRecipe,
        Postprocess,
        TaskViews,
        Export,
        ExportBackbone,
        ExportOnnx,
        PredictOnnx,
        ImportV1,
        Inspect,
        Interpolate,
        Strip,
        Variant,
        Compare,
        Info,
        Doctor,
        Sockets,
    )
}
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def usage() -> str:
    """Return the overview of all sub-commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"nnunet_ext {__version__}: trainers and planners for an unmodified nnU-Net v2",
            "",
            "usage: nnunet_ext COMMAND [options]      (nnunet_ext COMMAND --help for its options)",
            "",
            *lines,
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a sub-command and return its exit code.

    A user's mistake, a full disk or a missing package prints one line and returns 2; a signal returns 128 + its number.
    """
    output.take_any_text()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    if words[0] in ("-V", "--version"):
        print(__version__)
        return 0
    kind = COMMANDS.get(words[0], Command)
    with interruptible(
        kind.after_interruption, workers=kind.has_workers, process_ends=arguments is None
    ) as interruption:
        try:
            if words[0] not in COMMANDS:
                raise UserError(f"unknown command {words[0]!r}. {nearest(words[0], COMMANDS)}")
            code = COMMANDS[words[0]].parse(words[1:]).run()
            return output.PIPE_CLOSED if output.is_closed() else code
        except BaseException as error:
            if output.is_closed():
                return output.PIPE_CLOSED
            if interruption.signum is not None or isinstance(error, KeyboardInterrupt):
                interruption.close()
                return interruption.code
            line = explanation(error)
            if line is None:
                raise
            print(f"nnunet_ext: error: {line}", file=sys.stderr)
            return 2


def explanation(error: BaseException) -> str | None:
    """Return the line for a user's mistake, a full disk or a missing package; None for our own mistakes."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        verb = "read or write" if error.errno == errno.EACCES else "write"
        remedy = "Free space, or correct the permissions of the file or its folder"
        return f"{error.filename or 'a file'}: expected to {verb}, got {error.strerror!r}. {remedy}."
    if isinstance(error, ModuleNotFoundError):
        return f"expected package {error.name}, found none. Run nnunet_ext doctor"
    return None


follow_parent()  # a worker of a command imports this module as its parent did
if __name__ == "__main__":
    sys.exit(main())
