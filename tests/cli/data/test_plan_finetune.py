"""``nnunet_ext plan_finetune``: from somebody's model and a raw dataset to a trained model of one's own."""

import json
import multiprocessing
import shutil
import time
import zipfile
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from lock_holder import lock_holder
from nnssl_checkpoint import adaptation_plan, network_of, write_nnssl
from small_model import write_small_model

from nnunet_ext.base.init_from import init_from
from nnunet_ext.cli.main import main
from nnunet_ext.methods.fine_tune.trainer import FineTuneTrainer
from nnunet_ext.phantoms.dataset import write_phantom_dataset

TARGET, MODEL = "Dataset902_Target", "Dataset901_Phantom/nnUNetTrainer__nnUNetPlans__3d_fullres"
QUICK = "-pl LitePlanner --no_pbar -npfp 1 -np 1"


@pytest.fixture(scope="session")
def _fingerprinted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw data of two channels, their fingerprint, and a model of one channel whose dataset is not there."""
    root = tmp_path_factory.mktemp("finetune")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("raw", "preprocessed", "results"):
            (root / name).mkdir()
            monkeypatch.setenv(f"nnUNet_{name}", str(root / name))
        monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: SimpleNamespace(Pool=ThreadPool))
        raw = write_phantom_dataset(root / "raw", TARGET, cases=3, unseen=1, channels=2, shape=(12, 32, 32))
        file = raw / "dataset.json"
        description = json.loads(file.read_text())
        description["channel_names"] = {"0": "T2", "1": "CT"}
        description["labels"] = {"background": 0, "wall": 2, "lesion": 3, "organ": 1}
        file.write_text(json.dumps(description))
        write_small_model(root / "elsewhere", normalization_schemes=["CTNormalization"])
        edit(
            root / "elsewhere" / MODEL / "plans.json",
            lambda plans: plans.update(foreground_intensity_properties_per_channel=CT),
        )
        assert main(f"plan_finetune -d 902 --from {root / 'elsewhere' / MODEL} {QUICK} --dry_run".split()) == 0
    return root


CT = {"0": {"mean": 60.0, "std": 40.0, "percentile_00_5": -50.0, "percentile_99_5": 170.0}}


def edit(file: Path, change) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.fixture
def root(_fingerprinted: Path, nnunet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in; nnU-Net's variables point to it."""
    place = Path(shutil.copytree(_fingerprinted, tmp_path / "finetune"))
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(place / name))
    return place


def words(root: Path, more: str = "", source: Path | None = None) -> list[str]:
    return [
        "plan_finetune",
        "-d",
        "902",
        "--from",
        str(source or root / "elsewhere" / MODEL),
        *f"{QUICK} {more}".split(),
    ]


def plans_of(root: Path, name: str = "FineTunePlans") -> dict:
    return json.loads((root / "preprocessed" / TARGET / f"{name}.json").read_text())


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in (root / "preprocessed").rglob("*") if path.is_file()}


def test_from_a_model_to_a_trained_one(root, capsys, monkeypatch):
    """Another channel count, class list and spacing; then one epoch and a prediction by nnU-Net's own entry points."""
    knobs = "--set num_epochs=1 num_iterations_per_epoch=1 num_val_iterations_per_epoch=1"
    assert main(words(root, knobs)) == 0
    text = capsys.readouterr().out
    assert "\nspacing (mm)           2 x 1 x 1   " in text
    assert "kept from the source because yours, 2.5 x 1 x 1, is within a factor of 1.5" in text
    train, predict = text.splitlines()[-2:]
    assert train == "  nnunet_ext train 902 3d_fullres 0 -tr FineTuneTrainer -p FineTunePlans"
    assert predict.endswith("-d 902 -c 3d_fullres -tr FineTuneTrainer -p FineTunePlans -f 0")
    plans = plans_of(root)
    copy = root / "preprocessed" / TARGET / "FineTunePlans_source/checkpoint.pth"
    assert plans["nnunet_ext"]["init_from"] == str(copy)
    assert plans["nnunet_ext"]["fine_tune"] == {"strategy": "all"}
    assert plans["foreground_intensity_properties_per_channel"]["1"] == CT["0"]
    data = root / "preprocessed" / TARGET / "FineTunePlans_3d_fullres"
    assert len(list(data.glob("*.pkl"))) == 3
    assert (data.parent / f"{data.name}.complete.json").is_file()
    shutil.rmtree(root / "elsewhere")  # the copy is enough
    folds = [{"train": ["case_000", "case_001"], "val": ["case_002"]}]
    (root / "preprocessed" / TARGET / "splits_final.json").write_text(json.dumps(folds))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    assert main([*train.split()[1:], "-device", "cpu"]) == 0
    monkeypatch.chdir(root)
    assert main([*predict.replace("IMAGES", f"raw/{TARGET}/imagesTs").split()[1:], "-device", "cpu"]) == 0
    label = nibabel.load(root / "PREDICTIONS/unseen_000.nii.gz")
    assert label.shape == nibabel.load(root / f"raw/{TARGET}/labelsTs/unseen_000.nii.gz").shape


def test_the_network_that_is_trained_takes_the_weights(root):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    assert main(words(root, "--no_pp")) == 0
    plans = plans_of(root)
    manager = PlansManager(plans)
    network = nnUNetTrainer.build_network_architecture(manager, manager.get_configuration("3d_fullres"), 2, 4, False)
    description = json.loads((root / "preprocessed" / TARGET / "dataset.json").read_text())
    arguments = {"plans": plans, "configuration": "3d_fullres", "dataset_json": description}
    init_from(network, plans["nnunet_ext"]["init_from"], init_args=arguments)
    source = torch.load(root / "elsewhere" / MODEL / "fold_0/checkpoint_final.pth", weights_only=False)[
        "network_weights"
    ]
    own = network.state_dict()
    name = "encoder.stages.1.0.convs.0.conv.weight"
    assert torch.equal(own[name], source[name])
    first, head = "encoder.stages.0.0.convs.0.conv.weight", "decoder.seg_layers.1.weight"
    assert torch.equal(own[first][:, 1:], source[first])  # CT is the second channel here
    assert torch.equal(own[head][[0, 1, 2]], source[head][[0, 1, 2]])  # background, organ, wall


@pytest.mark.parametrize("planned_before", [False, True])
def test_a_dry_run_writes_no_plans(root, capsys, planned_before):
    copy = root / "preprocessed" / TARGET / "dataset.json"
    if planned_before:
        copy.write_text("as it was planned")
    before = files(root)
    assert main(words(root, "--dry_run")) == 0
    assert files(root) == before
    assert not planned_before or copy.read_text() == "as it was planned"
    assert "patch size" in capsys.readouterr().out


def test_decisions_as_json(root):
    file = root / "decisions.json"
    assert main(words(root, f"--dry_run --json {file} --spacing 5 1 1 --batch_size 4 -p Other")) == 0
    found = json.loads(file.read_text())
    decisions = {entry["what"]: entry for entry in found["decisions"]}
    assert (found["plans_name"], found["configuration"]) == ("Other", "3d_fullres")
    assert decisions["spacing (mm)"]["value"] == [5.0, 1.0, 1.0]
    assert decisions["spacing (mm)"]["from"] == decisions["batch size"]["from"] == "flag"
    assert decisions["spacing (mm)"]["warning"].startswith("spacing: structures have 0.4 x 1 x 1 times the voxels")
    assert found["next"][0].endswith("-p Other")


def mirrored(root: Path, *axes: int) -> None:
    file = root / "elsewhere" / MODEL / "fold_0/checkpoint_final.pth"
    torch.save(torch.load(file, weights_only=False) | {"inference_allowed_mirroring_axes": axes or None}, file)


def test_the_mirroring_of_the_source_is_a_knob_of_the_plans(root, capsys):
    """Also when planned again: what is decided now counts."""
    assert main(words(root, "--no_pp")) == 0
    assert plans_of(root)["nnunet_ext"]["mirror_axes"] is None
    mirrored(root, 0, 1)
    assert main(words(root, "--no_pp")) == 0
    assert plans_of(root)["nnunet_ext"]["mirror_axes"] == [0, 1]
    assert "along 0, 1" in capsys.readouterr().out
    for flag, expected in (("", []), ("2 0", [0, 2]), ("target", None), ("source", [0, 1])):
        assert main(words(root, f"--no_pp --mirror_axes {flag}")) == 0
        assert plans_of(root)["nnunet_ext"]["mirror_axes"] == expected
    assert main(words(root, "--no_pp")) == 0
    assert plans_of(root)["nnunet_ext"]["mirror_axes"] == [0, 1]


def test_which_class_is_which_is_a_knob_of_the_plans(root, capsys):
    """Also when planned again."""
    for flags, value, told in (
        ("--rename_classes lesion=tumour", {"lesion": "tumour"}, "lesion is its tumour"),
        ("--no-keep_classes", "fresh", "as asked: no row of the source's heads is taken"),
        ("", "by_name", "rows by name: background, organ, wall; new: lesion; not taken: tumour"),
    ):
        assert main(words(root, f"--no_pp {flags}")) == 0
        assert plans_of(root)["nnunet_ext"]["init_from_classes"] == value
        assert told in capsys.readouterr().out


def test_classes_that_nobody_annotated(root, capsys):
    """The labels have no organ any more: a line says what to do, unless it was done."""
    for file in (root / "raw" / TARGET / "labelsTr").glob("*.nii.gz"):
        label = nibabel.load(file)
        values = np.asarray(label.dataobj)
        nibabel.save(nibabel.Nifti1Image(np.where(values == 1, 0, values), label.affine), file)
    warning = "WARNING: classes: the model knows organ, annotated in no case or only in some; training would forget"
    assert main(words(root)) == 0
    assert f"{warning} them. To keep them, add --set fine_tune.keep_unannotated=true" in capsys.readouterr().out
    assert main(words(root, "--set fine_tune.keep_unannotated=true")) == 0
    assert "WARNING: classes" not in capsys.readouterr().out
    assert plans_of(root)["nnunet_ext"]["fine_tune"] == {"strategy": "all", "keep_unannotated": True}


def test_warnings_are_lines(root, capsys):
    assert main(words(root, "--dry_run --spacing 5 1 1")) == 0
    assert "\nWARNING: spacing: structures have 0.4 x 1 x 1 times the voxels" in capsys.readouterr().out


def test_all_flags_reach_the_plans(root):
    flags = (
        "--spacing target --patch_size 8 16 16 --batch_size 3 --normalization target --transpose source -c 3d_fullres"
    )
    assert main(words(root, f"--no_pp {flags}")) == 0
    plans = plans_of(root)
    entry = plans["configurations"]["3d_fullres"]
    assert (entry["spacing"], entry["patch_size"], entry["batch_size"]) == ([2.5, 1.0, 1.0], [8, 16, 16], 3)
    assert plans["foreground_intensity_properties_per_channel"]["1"] != CT["0"]
    origins = [entry["from"] for entry in plans["fine_tuned_from"]["decisions"]]
    assert origins.count("flag") == 6


def test_planning_again_keeps_knobs_and_own_configurations(root):
    assert main(words(root, "--no_pp --set num_epochs=7 fine_tune.strategy=lora")) == 0
    added = {
        "mine": {"inherits_from": "3d_fullres", "batch_size": 2, "nnunet_ext": {"num_epochs": 3}},
        "finer": {"inherits_from": "mine"},
        "other": {"patch_size": [8, 8]},
        "of_other": {"inherits_from": "other"},
    }
    edit(root / "preprocessed" / TARGET / "FineTunePlans.json", lambda plans: plans["configurations"].update(added))
    assert main(words(root, "--no_pp --set seed=4")) == 0
    plans = plans_of(root)
    assert plans["configurations"].keys() == {"3d_fullres", "mine", "finer"}
    block = plans["nnunet_ext"]
    assert (block["num_epochs"], block["seed"], block["fine_tune"]) == (7, 4, {"strategy": "lora"})


def test_planning_again_preprocesses_what_has_changed(root, capsys):
    assert main(words(root)) == 0
    assert main(words(root)) == 0
    assert "3d_fullres: already preprocessed" in capsys.readouterr().out
    assert main(words(root, "--spacing target")) == 0
    assert "3d_fullres: 3 cases" in capsys.readouterr().out


def test_other_plans_are_not_lost(root, mistake):
    assert main(["plan_and_preprocess", "-d", "902", *f"{QUICK} --no_pp --no_check".split()]) == 0
    before = plans_of(root, "LitePlans")
    text = mistake(words(root, "-p LitePlans"))
    assert text.startswith(
        "-p LitePlans: expected a new name, or that of plans of plan_finetune, found plans of LitePlan"
    )
    assert plans_of(root, "LitePlans") == before


def test_another_source_for_plans_that_were_trained(root, mistake):
    """The same source again is fine, and so is another one for plans that nobody has trained with."""
    assert main(words(root, "--no_pp")) == 0
    trained = root / "results" / TARGET / "FineTuneTrainer__FineTunePlans__3d_fullres/fold_1/checkpoint_best.pth"
    trained.parent.mkdir(parents=True)
    trained.write_bytes(b"of a training")
    assert main(words(root, "--no_pp --set seed=1")) == 0
    file = root / "elsewhere" / MODEL / "fold_0/checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    content["network_weights"]["encoder.stages.1.0.convs.0.norm.bias"] += 1
    torch.save(content, file)
    before = plans_of(root), files(root)
    assert mistake(words(root, "--no_pp")) == (
        f"-p FineTunePlans: expected the source that {trained.parent} was trained from, found other weights. Give "
        f"another -p, or delete these results."
    )
    assert (plans_of(root), files(root)) == before
    assert main(words(root, "--dry_run")) == 0
    assert main(words(root, "--no_pp -p Other")) == 0
    trained.unlink()
    assert main(words(root, "--no_pp")) == 0


def test_plans_that_were_cut_short_are_written_again(root):
    file = root / "preprocessed" / TARGET / "FineTunePlans.json"
    file.write_text('{"configurations": {')
    assert main(words(root, "--no_pp")) == 0
    assert plans_of(root)["plans_name"] == "FineTunePlans"


class Killed(BaseException):
    """Ends the command at an instant."""


def test_a_kill_while_writing_leaves_the_earlier_plans(root, monkeypatch):
    """The copy is there, the plans are not: nothing points to it, and the same command completes it."""
    assert main(words(root, "--no_pp")) == 0
    before, there = plans_of(root), files(root)

    def killed(*_, **__):
        raise Killed

    for writer in ("nnunet_ext.cli.data.plan_finetune.write_json", "torch.save"):
        with monkeypatch.context() as patch:
            patch.setattr(writer, killed)
            with pytest.raises(Killed):
                main(words(root, "--no_pp --set seed=4"))
        assert (plans_of(root), files(root)) == (before, there)
    assert main(words(root, "--no_pp --set seed=4")) == 0
    assert plans_of(root)["nnunet_ext"]["seed"] == 4


def test_partial_files_of_a_killed_command_are_removed(root):
    folder = root / "preprocessed" / TARGET / "FineTunePlans_source"
    folder.mkdir(parents=True)
    (folder / "checkpoint.pth.999999999.partial").write_bytes(b"half")
    assert main(words(root, "--no_pp")) == 0
    assert [path.name for path in folder.iterdir()] == ["checkpoint.pth"]


def test_two_at_once_are_refused(root, mistake):
    (root / "preprocessed" / TARGET).mkdir(exist_ok=True)
    with lock_holder(root / "preprocessed" / TARGET):
        assert "expected" in mistake(words(root, "--no_pp"))
    assert not (root / "preprocessed" / TARGET / "FineTunePlans.json").exists()


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("--spacing 1 1", "--spacing 1 1: expected source, target or 3 numbers. Correct it."),
        ("--spacing 1 0 1", "--spacing: expected a number above 0, got '0'. Correct it."),
        ("--spacing sorce", "--spacing sorce: expected source, target or 3 numbers"),
        ("--patch_size source 8 8", "--patch_size source 8 8: expected source, target or 2 or 3 numbers"),
        ("--patch_size 8 8 8.5", "--patch_size: expected a number from 1 up, got '8.5'"),
        (
            "--patch_size 8 18 16",
            "--patch_size 8 18 16: expected multiples of 2 4 4, which the source's strides divide",
        ),
        ("--transpose 0 1 3", "--transpose: expected a number from 0 to 2, got 3"),
        ("--transpose 0 0 1", "--transpose 0 0 1: expected 0, 1 and 2 in some order"),
        ("--batch_size 0", "--batch_size: expected a number from 1 up, got 0"),
        ("--normalization both", "--normalization: invalid choice: 'both'"),
        (
            "--normalization source",
            "--normalization source: expected a channel of the source for each of T2, CT, found 1",
        ),
        ("--fold 7", "expected checkpoint_final.pth of fold 7, found none. Give --fold 0."),
        (
            "-chk checkpoint_best.pth",
            "expected checkpoint_best.pth of fold 0, found none. Give -chk checkpoint_final.pth.",
        ),
        ("-c 2d", "found a 3d model (3d_fullres), whose kernels have 3 axes"),
        ("-c 3d_fulres", "-c 3d_fulres: not among the configurations that Dataset902_Target has of its own."),
        ("-p a__b", "-p 'a__b': expected letters, digits, single _"),
        ("-pl LitPlanner", "-pl: unknown planner 'LitPlanner'. Did you mean 'LitePlanner'?"),
        (
            "-pl CollectionLitePlanner",
            "-pl CollectionLitePlanner: expected another planner, because Dataset902_Target is",
        ),
        ("--set num_epoch=3", "--set: unknown knob 'num_epoch'. Did you mean 'num_epochs'?"),
        ("--mirror_axes 0 3", "--mirror_axes: expected a number from 0 to 2, got 3"),
        ("--mirror_axes 0 0", "--mirror_axes 0 0: expected axes from 0 to 2, each at most once"),
        ("--set mirror_axes=[0]", "--set mirror_axes: expected other knobs, because --mirror_axes decides it"),
        ("--rename_classes lesion", "--rename_classes lesion: expected NAME=OTHER with each name once, got 'lesion'"),
        ("--rename_classes a=organ b=organ", "expected NAME=OTHER with each name once, got 'b=organ'"),
        (
            "--rename_classes lesion=tumor",
            "--rename_classes: unknown class 'tumor' of the source. Did you mean 'tumour'",
        ),
        ("--no-keep_classes --rename_classes lesion=tumour", "--rename_classes: expected --keep_classes"),
        ("--set init_from_classes=fresh", "because --keep_classes and --rename_classes decide it"),
        ("--set init_from=x", "--set init_from: expected other knobs, because the model after --from is it."),
    ],
)
def test_wrong_words_write_nothing(root, mistake, more, text):
    before = files(root)
    assert text in mistake(words(root, more))
    assert files(root) - before <= {
        f"preprocessed/{TARGET}/dataset.json",
        f"preprocessed/{TARGET}/.nnunet_ext_checked.json",
    }


def trained_by(root: Path, trainer: str) -> None:
    file = root / "elsewhere" / MODEL / "fold_0/checkpoint_final.pth"
    torch.save(torch.load(file, weights_only=False) | {"trainer_name": trainer}, file)


def recipe_of(root: Path) -> list:
    block = plans_of(root)["nnunet_ext"]
    return [block.get(name) for name in ("optimizer", "initial_lr", "warm_up", "num_epochs")]


def test_other_trainers_than_fine_tune_trainer_get_its_recipe(root):
    """In the plans, where the user has not said otherwise, now or earlier."""
    assert main(words(root, "--no_pp")) == 0
    assert recipe_of(root) == [None] * 4  # FineTuneTrainer has it itself
    trained_by(root, "BANetTrainer")
    assert main(words(root, "--no_pp")) == 0
    assert recipe_of(root) == ["SGD", 1e-3, 0.1, 150]
    assert main(words(root, "--no_pp --set optimizer=AdamW")) == 0
    assert recipe_of(root) == ["AdamW", 1e-4, 0.1, 150]
    assert main(words(root, "--no_pp -p Other --set num_epochs=7 optimizer=PlainSGD")) == 0
    block = plans_of(root, "Other")["nnunet_ext"]
    assert (block["num_epochs"], block["optimizer"], block["initial_lr"]) == (7, "PlainSGD", 1e-3)
    assert main(words(root, "--no_pp -p Other --set warm_up=0.2")) == 0
    block = plans_of(root, "Other")["nnunet_ext"]
    assert (block["num_epochs"], block["optimizer"], block["warm_up"]) == (7, "PlainSGD", 0.2)


def test_no_such_dataset_or_a_collection(root, mistake):
    assert "expected dataset '903', found none" in mistake([*words(root), "-d", "903"])
    (root / "raw/Dataset900_All").mkdir()
    (root / "raw/Dataset900_All/dataset.json").write_text(json.dumps({"tasks": {"a": {"dataset": TARGET}}}))
    assert mistake([*words(root), "-d", "900"]).startswith(
        "-d 900: expected one dataset, got the collection Dataset900_All"
    )


def test_a_model_that_cannot_be_a_source(root, mistake):
    assert "expected a model's folder, its zip file or a checkpoint, found none" in mistake(
        words(root, source=root / "no")
    )
    file = root / "elsewhere" / MODEL / "plans.json"
    edit(file, lambda plans: plans["configurations"]["3d_fullres"]["architecture"].update(network_class_name="a.b.Net"))
    assert "names 'a.b.Net', which nnU-Net would call" in mistake(words(root))
    assert "expected the network class a.b.Net of its plans, found none" in mistake(words(root, "--trust"))


def test_images_smaller_than_the_bottleneck(root, mistake):
    file = root / "elsewhere" / MODEL / "plans.json"

    def deeper(plans):
        plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["strides"] = [[1] * 3, [8] * 3, [8] * 3]

    edit(file, deeper)
    text = mistake(words(root))
    assert "expected images that a patch of this network can be cut from, 64 voxels or more along axis 0" in text


@pytest.mark.parametrize(
    ("trainer", "unlabelled", "expected"),
    [
        ("nnUNetTrainerDA5", False, "FineTuneTrainer"),
        ("BANetTrainer", False, "BANetTrainer"),
        ("UniSegTrainer", False, "FineTuneTrainer"),
        ("NNUNetBaselineTrainer", False, "FineTuneTrainer"),
        ("MeanTeacherTrainer", True, "FineTuneTrainer"),
        ("MCNetPlusTrainer", False, "FineTuneTrainer"),
        ("MCNetPlusTrainer", True, "MCNetPlusTrainer"),
    ],
)
def test_who_continues_the_training(root, capsys, trainer, unlabelled, expected):
    trained_by(root, trainer)
    if unlabelled:
        shutil.copytree(root / "raw" / TARGET / "imagesTs", root / "raw" / TARGET / "imagesUn")
    assert main(words(root, "--dry_run")) == 0
    assert f"nnunet_ext train 902 3d_fullres 0 -tr {expected} -p FineTunePlans" in capsys.readouterr().out


def test_images_alone(root, mistake):
    target = root / "raw" / TARGET
    (target / "imagesTr").rename(target / "imagesUn")
    shutil.rmtree(target / "labelsTr")
    description = json.loads((target / "dataset.json").read_text())
    for key in ("labels", "numTraining", "regions_class_order"):
        description.pop(key, None)
    (target / "dataset.json").write_text(json.dumps(description))
    assert f"{TARGET}: expected labelled cases in imagesTr and labelsTr, found unlabelled images alone" in mistake(
        words(root)
    )


@pytest.mark.parametrize("place", ["folder", "zip", "checkpoint in its folder", "checkpoint", "checkpoint and plans"])
def test_plans_that_would_start_a_program(root, capsys, place):
    """Refused before nnU-Net builds the network that they describe; with --trust, it is built."""
    model, marker = root / "elsewhere" / MODEL, root / "marker"

    def hostile(plans: dict) -> None:
        architecture = plans["configurations"]["3d_fullres"]["architecture"]
        program = {"nonlin": "subprocess.Popen", "nonlin_kwargs": {"args": ["touch", str(marker)]}}
        architecture["arch_kwargs"].update(program)
        architecture["_kw_requires_import"] = sorted({*architecture["_kw_requires_import"], "nonlin"})

    edit(model / "plans.json", hostile)
    checkpoint, alone, archive = model / "fold_0/checkpoint_final.pth", root / "alone.pth", root / "model.zip"
    plans, description = (json.loads((model / name).read_text()) for name in ("plans.json", "dataset.json"))
    content = torch.load(checkpoint, weights_only=False)
    arguments = {"plans": plans, "configuration": "3d_fullres", "dataset_json": description}
    torch.save(content | ({"init_args": arguments} if place == "checkpoint" else {}), alone)
    with zipfile.ZipFile(archive, "w") as written:
        for path in model.rglob("*.*"):
            written.write(path, path.relative_to(model.parents[1]))
    given = {
        "folder": [model],
        "zip": [archive],
        "checkpoint in its folder": [checkpoint],
        "checkpoint": [alone],
        "checkpoint and plans": [alone, model / "plans.json", model / "dataset.json"],
    }[place]
    command = [*words(root)[:3], "--from", *map(str, given), *f"{QUICK} --dry_run".split()]
    assert main(command) == 2
    shown = checkpoint if place == "folder" else given[0]
    assert f"{shown}: expected classes of networks, but configuration '3d_fullres' names 'subprocess.Popen'" in (
        capsys.readouterr().err
    )
    time.sleep(0.2)  # a program that was started would have written it
    assert not marker.exists()
    assert main([*command, "--trust"]) == 2  # what Popen returns is no layer
    assert "expected classes of networks" not in capsys.readouterr().err
    for _ in range(100):
        if marker.exists():
            break
        time.sleep(0.05)
    assert marker.exists()


def pretrained(root: Path, **changes) -> Path:
    """A checkpoint of nnssl, of a small residual network and one channel."""
    network = network_of()
    return write_nnssl(root / "nnssl.pth", network, adaptation_plan(network, **changes))


def test_a_pre_training_of_nnssl(root, capsys):
    assert main(words(root, "--no_pp", pretrained(root))) == 0
    text = capsys.readouterr().out
    assert "nnssl's BaseMAETrainer_BS8); decoder and heads start at random, as in nnU-Net's own" in text
    assert "\nWARNING: network: decoder and heads start at random; the 150 epochs of FineTuneTrainer, 15 of" in text
    assert "WARNING: classes" not in text
    assert "-tr FineTuneTrainer -p FineTunePlans" in text
    plans = plans_of(root)
    assert plans["configurations"]["3d_fullres"]["architecture"]["network_class_name"].endswith("ResidualEncoderUNet")
    assert plans["nnunet_ext"]["mirror_axes"] is None
    assert main(words(root, "--no_pp --set seed=3", pretrained(root))) == 0  # the same source again


def test_a_network_of_nnssl_that_plans_cannot_describe(root, mistake):
    file = pretrained(root, architecture_plans={"arch_class_name": "PrimusM"})
    assert "found PrimusM. Take nnssl's weights of a ResEnc-L (ResEncL) instead." in mistake(words(root, source=file))


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ResEncL", None])
def test_from_a_pre_training_of_nnssl_to_a_prediction(root, capsys, monkeypatch, preset):
    """Two channels for one; two epochs, whose weights at the start are the encoder's, then label maps."""
    file = pretrained(root, preset=preset)
    knobs = "--set num_epochs=2 num_iterations_per_epoch=2 num_val_iterations_per_epoch=1"
    assert main(words(root, knobs, file)) == 0
    train, predict = capsys.readouterr().out.splitlines()[-2:]
    theirs = torch.load(file, weights_only=False)["network_weights"]
    file.unlink()  # the copy is enough
    folds = [{"train": ["case_000", "case_001"], "val": ["case_002"]}]
    (root / "preprocessed" / TARGET / "splits_final.json").write_text(json.dumps(folds))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    starts = []

    def score_start(trainer) -> None:
        starts.append({name: tensor.clone() for name, tensor in trainer.bare_network.state_dict().items()})

    monkeypatch.setattr(FineTuneTrainer, "_score_start", score_start)
    assert main([*train.split()[1:], "-device", "cpu"]) == 0
    (start,) = starts
    stem = "encoder.stem.convs.0.conv.weight"
    assert torch.equal(start[stem], theirs[stem].repeat(1, 2, 1, 1, 1) / 2)
    deep = "encoder.stages.2.blocks.1.conv2.conv.weight"
    assert torch.equal(start[deep], theirs[deep])
    decoder = "decoder.stages.0.convs.0.conv.weight"
    assert start[decoder].shape == theirs[decoder].shape
    assert not torch.equal(start[decoder], theirs[decoder])
    fold = root / "results" / TARGET / "FineTuneTrainer__FineTunePlans__3d_fullres/fold_0"
    trained = torch.load(fold / "checkpoint_final.pth", weights_only=False)["network_weights"]
    assert not torch.equal(trained[deep], theirs[deep])
    counts = json.loads((fold / "init_from.json").read_text())["counts"]
    assert (counts["unused"], counts["mapped"], counts["fresh"] > 0) == (0, 4, True)  # the stem under its four names
    monkeypatch.chdir(root)
    assert main([*predict.replace("IMAGES", f"raw/{TARGET}/imagesTs").split()[1:], "-device", "cpu"]) == 0
    label = nibabel.load(root / "PREDICTIONS/unseen_000.nii.gz")
    assert label.shape == nibabel.load(root / f"raw/{TARGET}/labelsTs/unseen_000.nii.gz").shape
