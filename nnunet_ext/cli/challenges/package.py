"""``nnunet_ext package``."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from nnunet_ext.cli.challenges.chosen_challenge import CHALLENGES, CUSTOM
from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.command import Command
from nnunet_ext.cli.common.output import shown_logs
from nnunet_ext.errors import UserError

if TYPE_CHECKING:
    from nnunet_ext.challenges.container.interface import Interface

METHODS = ("exec", "invoke")
UNITS = {"s": 1, "min": 60, "h": 3600}
GIB = 2**30


def duration(text: str) -> float:
    """Read ``20min``, ``90s`` or ``1.5h``; return seconds."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(s|min|h)", text)
    if match is None or float(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"expected a time such as 20min, 90s or 1h, got {text!r}")
    return float(match[1]) * UNITS[match[2]]


@dataclass
class Package(Command):
    """Write the folder from which the container of a challenge is built: Dockerfile, model, wheels, test, scripts.

    nnunet_ext package --challenge kits21 --model nnUNet_results/Dataset021_KiTS2021/TRAINER__PLANS__3d --out kits
    nnunet_ext package --challenge custom --interface my_challenge.json --model model.zip --out mine --self_test

    Time and memory are estimated first, against the limits of the platform. The container keeps to the time: it drops
    mirroring, then folds.
    """

    name: ClassVar[str] = "package"
    after_interruption: ClassVar[str] = "Remove the folder, and run the same command again."

    challenge: str
    interface: Path | None
    model: Path
    out: Path
    folds: list[str]
    chk: str
    api_method: str
    step_size: float
    no_mirroring: bool
    time_limit: float
    gpu_memory: float
    ram: float
    tflops: float
    image_size: list[int] | None
    no_estimate: bool
    self_test: bool

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Declare the options; those that nnUNetv2_predict has as well have its names."""
        add = parser.add_argument
        add(
            "--challenge",
            choices=CHALLENGES,
            required=True,
            help="whose inputs and output; custom: those of --interface",
        )
        add("--interface", type=options.file, metavar="FILE", help="custom: JSON file with inputs and output")
        add("--model", type=Path, required=True, help="folder TRAINER__PLANS__CONFIGURATION, or a zip file of a model")
        add("--out", type=options.folder_or_new, required=True, metavar="DIR", help="folder to write, empty or new")
        text = "folds [all that were trained]"
        add("-f", "--folds", dest="folds", nargs="+", type=options.fold, default=[], metavar="FOLD", help=text)
        add("-chk", default="checkpoint_final.pth", help="checkpoint [checkpoint_final.pth]")
        add("--api_method", choices=METHODS, default="exec", help="what the image tells the platform [exec]")
        add("-step_size", type=options.real(0, 1), default=0.5, help="step of the sliding window in patches [0.5]")
        add("--no_mirroring", action="store_true", help="do not average over mirrorings, as --disable_tta of predict")
        add("--time_limit", type=duration, default="20min", help="of a case: 20min, 90s, 1h [20min]")
        add("--gpu_memory", type=options.real(0), default=16.0, metavar="GIB", help="of the GPU [16]")
        add("--ram", type=options.real(0), default=32.0, metavar="GIB", help="memory [32]")
        text = "speed of the GPU that the time is estimated with; an assumption for a T4 [8]"
        add("--tflops", type=options.real(0), default=8.0, help=text)
        text = "voxels of the image to estimate, in the plans' order of axes [the largest training image]"
        add("--image_size", type=options.whole(1), nargs=3, metavar=("D", "H", "W"), help=text)
        add("--no_estimate", action="store_true", help="do not estimate time and memory")
        add(
            "--self_test",
            action="store_true",
            help="then predict the test input in a process of its own, on this machine",
        )

    def run(self) -> int:
        """Write the folder, and test it if asked."""
        interface = self._interface()
        from nnunet_ext.challenges.packaging.build_context import PackageOptions, write_package
        from nnunet_ext.challenges.packaging.estimate import Limits
        from nnunet_ext.challenges.packaging.trial_run import trial_run

        limits = Limits(self.time_limit, self.gpu_memory * GIB, self.ram * GIB, self.tflops * 1e12)
        how = PackageOptions(
            self.api_method,
            tuple(dict.fromkeys(self.folds)),
            self.chk,
            self.step_size,
            not self.no_mirroring,
            None if self.image_size is None else tuple(self.image_size),
            not self.no_estimate,
        )
        with shown_logs():
            made = write_package(interface, self.model, self.out, limits, how)
        print(f"{self.out} written: {interface.name}, folds {', '.join(made.settings.folds)}, {self.api_method}")
        if made.record is None:
            print("Note: dataset.json has no key 'challenge': the model's labels are written as they are.")
        if self.self_test:
            print(f"Self-test passed, without docker: {trial_run(self.out)}")
        print(f"Next, where docker runs: {self.out}/do_test_run.sh, then {self.out}/do_save.sh")
        return 0

    def _interface(self) -> Interface:
        from nnunet_ext.challenges.container.interface import INTERFACES, Interface

        if (self.challenge == CUSTOM) != (self.interface is not None):
            raise UserError(
                f"--challenge {self.challenge}: expected --interface FILE with {CUSTOM}, and only with it. See "
                f"docs/package.md."
            )
        return INTERFACES[self.challenge] if self.interface is None else Interface.read(self.interface)
