"""What all tests share."""

import functools
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

# nnU-Net and OpenMP read these when they are imported
os.environ.update(nnUNet_def_n_proc="1", nnUNet_n_proc_DA="1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MATPLOTLIBRC", str(Path(__file__).parent / "helpers"))  # small figures, in commands, too
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # waits without spinning
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run beside each other, on tiny networks

import nibabel
import numpy as np
import pytest
from matplotlib.figure import Figure
from quick import DRAW, be_quick
from redundant_channel import NAME as REDUNDANT
from redundant_channel import write_redundant_dataset
from small_unet import GEOMETRIES, KINDS
from thread_context import ThreadContext

PHANTOM_KNOBS = {
    "num_epochs": 1,
    "num_iterations_per_epoch": 10,
    "num_val_iterations_per_epoch": 5,
    "optimizer": "AdamW",
    "initial_lr": 3e-3,
    "seed": 0,
}
LONGEST = ("tests/test_readme.py", "tests/conformance/", "tests/real/", "test_kills.py", "test_demo.py", "test_runs.py")
HALF_LABELLED = "Dataset700_Half"
HALF_LABELLED_MEMBERS: dict[str, dict[str, Any]] = {
    "organ": {"unlabelled": 2},
    "nested": {"regions": True},
    "slab": {"ignore": True, "unlabelled": 1},
    "pair": {"channels": 2, "unlabelled": 1},
}
RATED = "Dataset701_Rated"
REDUNDANT_KNOBS = {"num_val_iterations_per_epoch": 1, "optimizer": "AdamW", "initial_lr": 3e-3, "seed": 0}
SHORT = {"num_epochs": 2, "num_iterations_per_epoch": 3, "num_val_iterations_per_epoch": 1, "seed": 0}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare our own options here: pytest reads those of deeper folders too late."""
    parser.addoption(
        "--conformance-report", metavar="FILE.md", help="write the table of tests/conformance to this file"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first, so that no worker of pytest-xdist waits for another at the end."""

    def place(item: pytest.Item) -> int:
        return next((number for number, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST))

    items.sort(key=place)


@pytest.fixture(autouse=True, scope="session")
def _quick() -> Iterator[None]:
    """Small fingerprints, quick look-ups, figures that are laid out but not drawn."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        be_quick(monkeypatch)
        yield


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn in this test."""
    monkeypatch.setattr(Figure, "savefig", DRAW)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Plain or residual encoder."""
    return request.param


@pytest.fixture(params=list(GEOMETRIES))
def geometry(request: pytest.FixtureRequest) -> str:
    """3d, anisotropic, 2d."""
    return request.param


@pytest.fixture
def fingerprinted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make ``Dataset900_Planned`` out of members that exist as fingerprints only; return its preprocessed folder.

    The function takes the members' settings by task name, what else the manifest says, and the tasks' own settings.
    """
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")

    def make(
        members: dict[str, dict[str, Any]], tasks: dict[str, dict[str, Any]] | None = None, **manifest: str
    ) -> Path:
        entries = {}
        for number, (name, settings) in enumerate(members.items(), start=1):
            dataset = f"Dataset{number:03d}_{name}"
            _write_fingerprinted(tmp_path, dataset, **settings)
            entries[name] = {"dataset": dataset} | (tasks or {}).get(name, {})
        raw = tmp_path / "nnUNet_raw" / "Dataset900_Planned"
        raw.mkdir(exist_ok=True)
        (raw / "dataset.json").write_text(json.dumps({"tasks": entries} | manifest))
        return tmp_path / "nnUNet_preprocessed" / "Dataset900_Planned"

    return make


def _write_fingerprinted(
    root: Path,
    dataset: str,
    *,
    cases: int = 10,
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
    shape: tuple[int, ...] = (40, 40, 40),
    channels: tuple[str, ...] = ("CT",),
    labels: dict[str, Any] | None = None,
    mean: float = 100.0,
    relative: float = 1.0,
    **description: Any,
) -> None:
    raw, preprocessed = root / "nnUNet_raw" / dataset, root / "nnUNet_preprocessed" / dataset
    raw.mkdir(parents=True)
    preprocessed.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), raw / "image.nii.gz")
    case = {"images": ["image.nii.gz"] * len(channels), "label": "image.nii.gz"}
    description = {
        "channel_names": {str(index): name for index, name in enumerate(channels)},
        "labels": labels or {"background": 0, "organ": 1},
        "numTraining": cases,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
        "dataset": {f"case{index}": case for index in range(cases)},
    } | description
    (raw / "dataset.json").write_text(json.dumps(description))
    _write_fingerprint(preprocessed, cases, spacing, shape, len(channels), mean, relative)


def _write_fingerprint(
    folder: Path,
    cases: int,
    spacing: tuple[float, ...],
    shape: tuple[int, ...],
    channels: int,
    mean: float = 100.0,
    relative: float = 1.0,
) -> None:
    intensities = {"mean": mean, "median": mean, "std": 3, "min": mean - 9, "max": mean + 9}
    intensities |= {"percentile_00_5": mean - 8, "percentile_99_5": mean + 8}
    fingerprint = {
        "spacings": [spacing] * cases,
        "shapes_after_crop": [shape] * cases,
        "foreground_intensity_properties_per_channel": {str(index): intensities for index in range(channels)},
        "median_relative_size_after_cropping": relative,
    }
    (folder / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))


@pytest.fixture(scope="session")
def _untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nnunet_ext.methods.baseline.planner import CollectionLitePlanner
    from nnunet_ext.phantoms.dataset import write_phantom_dataset

    root = tmp_path_factory.mktemp("untrained")
    members: dict[str, dict[str, Any]] = {
        "organ": {},
        "nested": {"regions": True},
        "slab": {"ignore": True},
        "pair": {"channels": 2},
        "coarse": {},
    }
    tasks: dict[str, dict[str, Any]] = {}
    for number, (task, settings) in enumerate(members.items(), start=901):
        name = f"Dataset{number}_{task.capitalize()}"
        write_phantom_dataset(root / "raw", name, cases=2, unseen=2, seed=number, shape=(12, 30, 40), **settings)
        tasks[task] = {"dataset": name}
        planned = root / "preprocessed" / name
        planned.mkdir(parents=True)
        _write_fingerprint(planned, 2, (2.5, 1.0, 1.0), (12, 30, 40), settings.get("channels", 1))
    tasks["coarse"]["spacing"] = [2.5, 1.5, 1.5]
    manifest = root / "raw" / "Dataset900_Shared" / "dataset.json"
    manifest.parent.mkdir()
    manifest.write_text(json.dumps({"tasks": tasks, "spacing": "one", "normalization": "one"}))
    with pytest.MonkeyPatch.context() as monkeypatch:
        point_nnunet_at(root, monkeypatch)
        CollectionLitePlanner(900).plan_experiment()
        for trainer in ("UniSegTrainer", "MultiHeadTrainer", "DoDNetTrainer", "TransDoDNetTrainer"):
            _write_untrained_model(root, trainer)
    return root


@pytest.fixture
def untrained(_untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A collection, Dataset900_Shared, and models with random weights in two folds, with views; free to be changed.

    Three one-channel members (labels, regions, ignore label) are preprocessed alike, ``coarse`` is not, and ``pair``
    has two channels.
    """
    root = Path(shutil.copytree(_untrained, tmp_path / "untrained", symlinks=True))
    point_nnunet_at(root, monkeypatch)
    return root


def point_nnunet_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set nnU-Net's variables, threads for worker pools, and one torch thread."""
    import torch

    from nnunet_ext import sockets

    for name in ("raw", "preprocessed", "results"):
        (root / name).mkdir(exist_ok=True)
        monkeypatch.setenv(f"nnUNet_{name}", str(root / name))
    monkeypatch.setenv(sockets.VARIABLE, str(sockets.folder("trainers")))
    get_context = multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: ThreadContext(get_context(method)))
    monkeypatch.setattr("nnunetv2.utilities.utils.Pool", ThreadPool)
    monkeypatch.setattr("nnunet_ext.data.preprocessed.workers.ProcessPoolExecutor", lambda n, *_: ThreadPoolExecutor(n))
    process, set_num_threads = os.getpid(), torch.set_num_threads
    # not of this process; a forked worker with more than one thread would hang
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None if os.getpid() == process else set_num_threads(n))


def _write_untrained_model(root: Path, trainer: str) -> None:
    import torch
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunet_ext import sockets
    from nnunet_ext.collection.prediction.task_views import write_views

    planned = root / "preprocessed" / "Dataset900_Shared"
    plans = json.loads((planned / "CollectionLitePlans.json").read_text())
    plans["nnunet_ext"] = {"multi_dataset": {"view_weights": "links"}}  # small
    manager = PlansManager(plans)
    build = sockets.load("trainers", trainer).build_network_architecture  # type: ignore[attr-defined]
    model = root / "results" / "Dataset900_Shared" / f"{trainer}__CollectionLitePlans__3d_fullres"
    for fold in (0, 1):
        torch.manual_seed(fold)
        network = build(manager, manager.get_configuration("3d_fullres"), 2, 4)
        checkpoint = {
            "network_weights": network.state_dict(),
            "trainer_name": trainer,
            "init_args": {"plans": plans, "configuration": "3d_fullres", "fold": fold},
            "inference_allowed_mirroring_axes": (0, 1, 2),
        }
        (model / f"fold_{fold}").mkdir(parents=True)
        torch.save(checkpoint, model / f"fold_{fold}" / "checkpoint_final.pth")
        (model / f"fold_{fold}" / "progress.png").write_bytes(b"curve")
    (model / "plans.json").write_text(json.dumps(plans))
    for name in ("dataset.json", "dataset_fingerprint.json"):
        shutil.copy(planned / name, model / name)
    for fold in (0, 1):
        write_views(plans, trainer, "3d_fullres", fold)


@pytest.fixture(scope="session")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with ``raw`` and ``preprocessed`` of Dataset900_Phantoms and its members; not to be changed."""
    from nnunet_ext.cli.main import main
    from nnunet_ext.phantoms.collection import write_phantom_collection

    root = tmp_path_factory.mktemp("collection")
    members = write_phantom_collection(root / "raw", cases=5, unseen=1, shape=(18, 20, 20))
    manifest = root / "raw" / "Dataset900_Phantoms" / "dataset.json"
    manifest.parent.mkdir()
    manifest.write_text(json.dumps({"tasks": {place.name[11:].lower(): {"dataset": place.name} for place in members}}))
    with pytest.MonkeyPatch.context() as monkeypatch:
        point_nnunet_at(root, monkeypatch)
        monkeypatch.setenv("nnUNet_n_proc_DA", "0")
        words = ["-d", "900", "-pl", "CollectionLitePlanner", "-npfp", "1", "-np", "1", "--no_pbar", "--no_check"]
        knobs = [f"{key}={value}" for key, value in PHANTOM_KNOBS.items()]
        assert main(["plan_and_preprocess", *words, "--set", *knobs]) == 0
    return root


@pytest.fixture
def collection(planned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the collection that a test may change; nnU-Net's variables point to it."""
    shutil.copytree(planned, tmp_path, dirs_exist_ok=True)
    point_nnunet_at(tmp_path, monkeypatch)
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    return tmp_path


@pytest.fixture(scope="session")
def _sharing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nnunet_ext.cli.main import main
    from nnunet_ext.phantoms.dataset import write_phantom_dataset

    root = tmp_path_factory.mktemp("sharing")
    whole = write_phantom_dataset(root / "raw", "Dataset910_Whole", cases=5, seed=910, shape=(12, 20, 20))
    description = json.loads((whole / "dataset.json").read_text())
    cases = sorted(file.name.removesuffix(".nii.gz") for file in (whole / "labelsTr").iterdir())
    description["dataset"] = {
        f"again_{number}": {
            "images": [f"../{whole.name}/imagesTr/{case}_0000.nii.gz"],
            "label": f"../{whole.name}/labelsTr/{case}.nii.gz",
        }
        for number, case in enumerate(reversed(cases))
    }
    (root / "raw" / "Dataset911_Again").mkdir()
    (root / "raw" / "Dataset911_Again" / "dataset.json").write_text(json.dumps(description))
    (root / "four.txt").write_text("\n".join(cases[:4]))
    with pytest.MonkeyPatch.context() as monkeypatch:
        point_nnunet_at(root, monkeypatch)
        part = f"910:cases={root / 'four.txt'},name=Four"
        assert main(["collect", "-d", "920", "-n", "First", part]) == 0  # Dataset921_Four
        part = f"921:cases={root / 'four.txt'},labels=organ,name=Part"
        assert main(["collect", "-d", "930", "-n", "Sharing", "910", "911", part]) == 0  # Dataset931_Part
        words = ["-d", "930", "-pl", "CollectionLitePlanner", "-npfp", "1", "-np", "1", "--no_pbar", "--no_check"]
        assert main(["plan_and_preprocess", *words, "--set", "num_epochs=1"]) == 0
    return root


@pytest.fixture
def sharing(_sharing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A preprocessed collection whose three members have the same images; a test may change it.

    ``Dataset910_Whole``; ``Dataset911_Again``, which lists its files in the opposite order under other names; and
    ``Dataset931_Part``, four of its cases by way of a part of another collection.
    """
    root = Path(shutil.copytree(_sharing, tmp_path / "sharing"))
    point_nnunet_at(root, monkeypatch)
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    return root


@pytest.fixture(scope="session")
def _unlabelled_members(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nnunet_ext.cli.main import main
    from nnunet_ext.phantoms.dataset import write_phantom_dataset

    root, tasks = tmp_path_factory.mktemp("versemi"), {}
    knobs = PHANTOM_KNOBS | {"num_epochs": 2, "num_iterations_per_epoch": 4, "num_val_iterations_per_epoch": 2}
    for number, (task, settings) in enumerate(HALF_LABELLED_MEMBERS.items(), start=901):
        name = f"Dataset{number}_{task.capitalize()}"
        write_phantom_dataset(root / "raw", name, cases=4, unseen=1, seed=number, shape=(10, 20, 20), **settings)
        tasks[task] = {"dataset": name}
    manifest = root / "raw" / "Dataset900_Mixed" / "dataset.json"
    manifest.parent.mkdir()
    manifest.write_text(json.dumps({"tasks": tasks}))
    with pytest.MonkeyPatch.context() as monkeypatch:
        point_nnunet_at(root, monkeypatch)
        monkeypatch.setenv("nnUNet_n_proc_DA", "0")
        words = ["-d", "900", "-pl", "CollectionLitePlanner", "-npfp", "1", "-np", "1", "--no_pbar", "--no_check"]
        assert main(["plan_and_preprocess", *words, "--set", *(f"{k}={v}" for k, v in knobs.items())]) == 0
    return root


@pytest.fixture
def unlabelled_members(_unlabelled_members: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Dataset900_Mixed: organ (labels), nested (regions), slab (ignore label), and pair, which has two channels.

    All but nested have unlabelled images. A test may change it.
    """
    root = Path(shutil.copytree(_unlabelled_members, tmp_path / "versemi"))
    point_nnunet_at(root, monkeypatch)
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    return root


@pytest.fixture
def one_channel(collection: Path) -> Path:
    """The collection with only those tasks that can be mixed in a batch: organs, lung, kidney; mixed batches are on."""
    plans_name, name = "CollectionLitePlans", "Dataset900_Phantoms"
    file = collection / "preprocessed" / name / f"{plans_name}.json"
    plans = json.loads(file.read_text())
    tasks = [task for task in plans["collection"]["tasks"] if task["channels"] == 1]
    for each in (file, *(file.parents[1] / task["dataset"] / f"{plans_name}_{name}.json" for task in tasks)):
        content = json.loads(each.read_text())
        content["collection"]["tasks"] = tasks
        content["nnunet_ext"]["multi_dataset"] = {"mixed_batches": True}
        each.write_text(json.dumps(content))
    (collection / "raw" / name / "dataset.json").unlink()  # the manifest has all tasks
    return collection


@pytest.fixture(scope="session")
def _half_labelled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @functools.cache
    def prepare(labels: str) -> Path:
        from nnunet_ext.cli.main import main
        from nnunet_ext.phantoms.dataset import write_phantom_dataset

        root = tmp_path_factory.mktemp("half_labelled")
        write_phantom_dataset(
            root / "raw",
            HALF_LABELLED,
            cases=5,
            unlabelled=3,
            seed=700,
            shape=(16, 24, 24),
            regions="regions" in labels,
            ignore="ignore" in labels,
        )
        with pytest.MonkeyPatch.context() as monkeypatch:
            point_nnunet_at(root, monkeypatch)
            monkeypatch.setenv("nnUNet_n_proc_DA", "1")  # stock planning needs one
            words = ["-d", "700", "-pl", "LitePlanner", "-c", "2d", "3d_fullres", "-np", "1", "-npfp", "1"]
            assert main(["plan_and_preprocess", *words, "--no_pbar", "--no_check"]) == 0
        return root

    return prepare


@pytest.fixture
def half_labelled(
    _half_labelled: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """A preprocessed phantom dataset of five labelled and three unlabelled cases, which a test may change.

    The function makes a trainer on it, in ``results/NAME`` (``run``), of plans with these knobs::

        half_labelled(MeanTeacherTrainer, "2d", labels="regions ignore", seed=1, unlabelled={"batch_size": 3})
    """
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")

    def make(
        trainer: type[Any],
        configuration: str = "3d_fullres",
        *,
        labels: str = "plain",
        run: str = "results",
        fold: int | str = 0,
        continued: bool = False,
        **knobs: Any,
    ) -> Any:
        import torch

        root = tmp_path / labels
        if not root.exists():
            shutil.copytree(_half_labelled(labels), root)
        workers = os.environ["nnUNet_n_proc_DA"]
        point_nnunet_at(root, monkeypatch)
        monkeypatch.setenv("nnUNet_n_proc_DA", workers)
        monkeypatch.setenv("nnUNet_results", str(root / run))
        planned = root / "preprocessed" / HALF_LABELLED
        plans = json.loads((planned / "LitePlans.json").read_text())
        plans["nnunet_ext"] = SHORT | knobs
        plans["continue_training"] = continued
        description = json.loads((planned / "dataset.json").read_text())
        return trainer(plans, configuration, fold, description, torch.device("cpu"))

    return make


@pytest.fixture(scope="session")
def _redundant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from nnunet_ext.cli.main import main

    root = tmp_path_factory.mktemp("redundant")
    write_redundant_dataset(root / "raw")
    with pytest.MonkeyPatch.context() as monkeypatch:
        point_nnunet_at(root, monkeypatch)
        monkeypatch.setenv("nnUNet_n_proc_DA", "1")
        words = ["-d", "990", "-pl", "LitePlanner", "-c", "2d", "-np", "1", "-npfp", "1", "--no_pbar", "--no_check"]
        assert main(["plan_and_preprocess", *words]) == 0
    return root


@pytest.fixture
def redundant(_redundant: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Preprocessed images with two channels, of which the second shows what the first does; some have no label.

    The function makes a trainer on them, in 2d, in ``run``, of plans with these knobs. Its attribute ``root`` is the
    folder with ``raw`` and ``preprocessed``.
    """
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    point_nnunet_at(_redundant, monkeypatch)
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setattr(nnUNetTrainer, "_save_debug_information", lambda _: None)

    def make(trainer: type[Any], *, run: str = "run", continued: bool = False, **knobs: Any) -> Any:
        import torch

        monkeypatch.setenv("nnUNet_results", str(tmp_path / run))
        planned = _redundant / "preprocessed" / REDUNDANT
        plans = json.loads((planned / "LitePlans.json").read_text())
        plans |= {"nnunet_ext": REDUNDANT_KNOBS | knobs, "continue_training": continued}
        return trainer(plans, "2d", 0, json.loads((planned / "dataset.json").read_text()), torch.device("cpu"))

    make.root = _redundant  # type: ignore[attr-defined]
    return make


@pytest.fixture(scope="session")
def _rated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @functools.cache
    def prepare(labels: str) -> Path:
        from nnunet_ext.cli.main import main
        from nnunet_ext.phantoms.dataset import IGNORE, write_phantom_dataset
        from nnunet_ext.phantoms.raters import write_phantom_raters

        root, modes = tmp_path_factory.mktemp("rated"), {mode: mode in labels for mode in ("regions", "ignore")}
        folder = write_phantom_dataset(root / "raw", RATED, cases=5, seed=701, shape=(16, 24, 24), **modes)
        write_phantom_raters(folder, seed=1, ignore=IGNORE if modes["ignore"] else None)
        (folder / "labelsTr_raters" / "strict" / "case_001.nii.gz").unlink()
        for rater in (folder / "labelsTr_raters").iterdir():  # nobody rated this one
            (rater / "case_002.nii.gz").unlink()
        with pytest.MonkeyPatch.context() as monkeypatch:
            point_nnunet_at(root, monkeypatch)
            monkeypatch.setenv("nnUNet_n_proc_DA", "1")
            words = ["-d", "701", "-pl", "LitePlanner", "-c", "2d", "3d_fullres", "-np", "1", "-npfp", "1"]
            assert main(["plan_and_preprocess", *words, "--no_pbar", "--no_check"]) == 0
        return root

    return prepare


@pytest.fixture
def rated(_rated: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A preprocessed phantom dataset of five cases and three raters, which a test may change.

    ``strict`` left out case_001, and everybody case_002. The function makes a trainer on it, in ``results/NAME``
    (``run``), of plans with these knobs. Without a trainer, it returns the folder with ``raw`` and ``preprocessed``.
    """
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")

    def make(
        trainer: type[Any] | None,
        configuration: str = "3d_fullres",
        *,
        labels: str = "plain",
        run: str = "results",
        fold: int | str = "all",
        continued: bool = False,
        **knobs: Any,
    ) -> Any:
        import torch

        root = tmp_path / labels
        if not root.exists():
            shutil.copytree(_rated(labels), root)
        workers = os.environ["nnUNet_n_proc_DA"]
        point_nnunet_at(root, monkeypatch)
        monkeypatch.setenv("nnUNet_n_proc_DA", workers)
        monkeypatch.setenv("nnUNet_results", str(root / run))
        if trainer is None:
            return root
        planned = root / "preprocessed" / RATED
        plans = json.loads((planned / "LitePlans.json").read_text())
        plans |= {"nnunet_ext": SHORT | knobs, "continue_training": continued}
        description = json.loads((planned / "dataset.json").read_text())
        return trainer(plans, configuration, fold, description, torch.device("cpu"))

    return make
