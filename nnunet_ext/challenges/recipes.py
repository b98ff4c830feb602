"""What teams of challenges are known to have set, and where that is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nnunet_ext.errors import UserError, nearest

OF_CONFIGURATION = ("patch_size", "batch_size")
CONFIGURATION = "3d_fullres"
UNISEG = "paper of team UniSeg"
ASTARAKEE = "paper of the team, github.com/Astarakee/segrap2023"
MULTITALENT = "paper of team DKFZ"
POSTERS = "posters of several teams: crucial, as left and right are different organs"
ORGANIZERS = "code of the organizers, neheller/kits21"
README = "README of a re-implementation by others; not confirmed"
BA_NET = "code of the authors, ShishuaiHu/BA-Net"
TRAIN = "nnunet_ext train ID 3d_fullres {} -tr NNUNetBaselineTrainer -p NAME"  # stock trainers know no knobs
EVERY = TRAIN.format("all")
NONE = "no command does it"


@dataclass(frozen=True)
class Setting:
    """One setting of a team.

    Args:
        name: A knob, ``patch_size`` or ``batch_size``; or, with a command, what is set.
        value: Its value.
        source: Where it is written.
        command: What does it where the plans cannot.
    """

    name: str
    value: Any
    source: str
    command: str = ""


@dataclass(frozen=True)
class Recipe:
    """A team's settings.

    Args:
        team: Its name, in lower case.
        result: What it reached.
        settings: What is known.
    """

    team: str
    result: str
    settings: tuple[Setting, ...]

    @property
    def knobs(self) -> dict[str, Any]:
        """The settings that are knobs."""
        return {each.name: each.value for each in self._of_plans if each.name not in OF_CONFIGURATION}

    @property
    def configuration(self) -> dict[str, Any]:
        """Patch and batch size of :data:`CONFIGURATION`, if they are known."""
        return {each.name: each.value for each in self._of_plans if each.name in OF_CONFIGURATION}

    @property
    def _of_plans(self) -> list[Setting]:
        return [each for each in self.settings if not each.command]


def _multitalent(channel: str, name: str, result: str) -> Recipe:
    return Recipe(
        "multitalent",
        result,
        (
            Setting("warm_up", 0.05, f"{MULTITALENT}: 50 epochs to 1e-2, then as nnU-Net"),
            Setting(
                "heads alone",
                "10 epochs before, up to 1e-3",
                MULTITALENT,
                "--set fine_tune.strategy=head_first fine_tune.head_epochs=0.01, which has one rate for both parts",
            ),
            Setting(
                "channels", f"{channel} alone", MULTITALENT, f"nnunet_ext convert {name} SRC -d ID --channels {channel}"
            ),
        ),
    )


_KITS = (
    Recipe(
        "baseline",
        "organizers' nnU-Net v1, probably in cross-validation: Dice 0.9747, 0.8799, 0.8491 of kidney and masses, "
        "masses, tumor; 3d_lowres alone has 0.8508 for the tumor",
        (
            Setting(
                "configurations",
                "3d_lowres, then 3d_cascade_fullres, 5 folds each",
                ORGANIZERS,
                "nnunet_ext train ID 3d_lowres FOLD, then nnunet_ext train ID 3d_cascade_fullres FOLD",
            ),
            Setting(
                "prediction",
                "no mirroring, steps of 0.5 and 0.75",
                ORGANIZERS,
                "nnunet_ext predict ... --disable_tta -step_size 0.5 (3d_lowres), 0.75 (3d_cascade_fullres)",
            ),
        ),
    ),
    Recipe(
        "winner",
        "1st of KiTS21, mean Dice 0.9077, mean surface Dice 0.8262 (JunMa11/SOTA-MedSeg)",
        (
            Setting(
                "spacing",
                "about 0.78 mm",
                README,
                "nnunet_ext plan_and_preprocess -d ID -overwrite_target_spacing 0.78 0.78 0.78",
            ),
            Setting("stages", "kidneys coarse, kidneys fine, then tumor and masses in their region", README, NONE),
            Setting(
                "small components",
                "dropped below 20000 (kidney), 200 (tumor), 50 (cyst) voxels, and masses outside of the kidney",
                README,
                "nnunet_ext postprocess learn, which finds volumes of its own and what has to touch; then apply",
            ),
        ),
    ),
)

RECIPES: dict[str, tuple[Recipe, ...]] = {
    "kits21": _KITS,
    "kits23": _KITS,  # none is known of its own teams
    "segrap2023_oar": (
        Recipe(
            "uniseg",
            "2nd; validation DSC 88.82 after 1000 epochs, 89.01 after 1500, 88.94 after 2000, 89.25 of the last two",
            (
                Setting("num_epochs", 1500, UNISEG),
                Setting("mirror_axes", [], POSTERS),
                Setting("patch_size", [32, 192, 192], UNISEG),
                Setting("batch_size", 2, UNISEG),
                Setting("cases", "all 120", UNISEG, EVERY),
                Setting(
                    "ensemble",
                    "of trainings with 1500 and 2000 epochs",
                    UNISEG,
                    "nnunet_ext variant -d ID -p NAME --as NAME2000 --set num_epochs=2000, "
                    "then nnunet_ext ensemble MODEL MODEL2000",
                ),
                Setting(
                    "initial weights",
                    "of a UniSeg of 11 tasks",
                    UNISEG,
                    "nnunet_ext import_v1, then nnunet_ext plan_finetune",
                ),
            ),
        ),
        Recipe(
            "astarakee",
            "6th; test DSC 0.854, NSD 0.849",
            (
                Setting("num_epochs", 2500, ASTARAKEE),
                Setting("mirror_axes", [], ASTARAKEE),
                Setting("cases", "all", ASTARAKEE, EVERY),
                Setting("intensities", "cut to -300..800, contrast -400..2000", ASTARAKEE, NONE),
                Setting("field of view", "cropped to the body, found by TotalSegmentator", ASTARAKEE, NONE),
            ),
        ),
        _multitalent(
            "non_contrast",
            "segrap2023_oar",
            "test DSC 84.77, NSD 84.41; disqualified for memory and time of its export",
        ),
    ),
    "segrap2023_gtv": (
        Recipe(
            "astarakee",
            "1st; test DSC 0.731, NSD 0.498",
            (
                Setting("num_epochs", 700, ASTARAKEE),
                Setting("mirror_axes", [], ASTARAKEE),
                Setting("cases", "all", ASTARAKEE, EVERY),
                Setting("intensities", "cut to -600..600, contrast -1000..1000", ASTARAKEE, NONE),
                Setting("field of view", "cropped to the body, found by TotalSegmentator", ASTARAKEE, NONE),
            ),
        ),
        Recipe(
            "uniseg",
            "2nd; validation DSC 79.19, NSD 0.7441 after 1000 epochs, 79.13 after 1500",
            (
                Setting("num_epochs", 1000, UNISEG),
                Setting("patch_size", [64, 192, 192], UNISEG),
                Setting("batch_size", 2, UNISEG),
                Setting("folds", "5", UNISEG, TRAIN.format("FOLD")),
                Setting("images", "blocks of 96 x 256 x 256, not resampled", UNISEG, NONE),
                Setting(
                    "initial weights",
                    "of a UniSeg of 11 tasks",
                    UNISEG,
                    "nnunet_ext import_v1, then nnunet_ext plan_finetune",
                ),
            ),
        ),
        _multitalent("contrast", "segrap2023_gtv", "best mean test DSC, 73.44"),
    ),
    "kipa22": (
        Recipe(
            "ba_net",
            "mean Dice 89.65 % in 4-fold cross-validation",
            (
                Setting(
                    "network",
                    "BA-Net on a residual encoder",
                    BA_NET,
                    "nnunet_ext plan_and_preprocess -d ID -pl BANetResEncMPlanner, then "
                    "nnunet_ext train ID 3d_fullres FOLD -tr BANetTrainer -p BANetResEncMPlans",
                ),
                Setting(
                    "folds",
                    "4, two models averaged",
                    BA_NET,
                    "your own splits_final.json; nnunet_ext ensemble MODEL MODEL2",
                ),
            ),
        ),
    ),
}


def recipe(challenge: str, team: str | None = None) -> Recipe:
    """Return a team's recipe.

    Args:
        challenge: One of :data:`RECIPES`.
        team: The team; None: the first.

    Raises:
        UserError: The challenge has no such team.

    Example:
        >>> recipe("segrap2023_gtv").knobs
        {'num_epochs': 700, 'mirror_axes': []}
    """
    known = {each.team: each for each in RECIPES[challenge]}
    if team is not None and team not in known:
        raise UserError(f"--team: {challenge} has no team {team!r}. {nearest(team, known)}")
    return known[team or next(iter(known))]
