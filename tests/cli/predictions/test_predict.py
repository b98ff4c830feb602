"""``nnunet_ext predict``: mistakes get one line before anything starts; the labels are nnU-Net's."""

import json
import logging
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hostile_files import PICKLES, lying, torch_zip
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from small_model import phantom, write_image, write_small_model

from nnunet_ext import sockets
from nnunet_ext.challenges.conversion.challenge_record import KEY, ChallengeRecord
from nnunet_ext.cli.main import main
from nnunet_ext.cli.predictions.predict import Predict
from nnunet_ext.collection.task_table import Task, TaskTable

MODEL = "results/Dataset901_Phantom/BANetTrainer__LitePlans__3d_fullres"


@pytest.fixture
def model(nnunet: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder with a checkpoint of fold 1; the door that ``predict`` opens is closed again afterwards."""
    monkeypatch.setenv(sockets.VARIABLE, "")
    folder = nnunet / MODEL
    (folder / "fold_1").mkdir(parents=True)
    shutil.copy(nnunet / "raw/Dataset901_Phantom/dataset.json", folder)
    (folder / "plans.json").write_text(json.dumps({"plans_name": "LitePlans", "image_reader_writer": "SimpleITKIO"}))
    torch.save({"network_weights": {"weight": torch.arange(9000.0)}}, folder / "fold_1" / "checkpoint_final.pth")
    return folder


def words(root: Path, **changes: str) -> list[str]:
    options = {
        "i": str(root / "raw/Dataset901_Phantom/imagesTs"),
        "o": str(root / "out"),
        "d": "901",
        "c": "3d_fullres",
    }
    options |= {"tr": "BANetTrainer", "p": "LitePlans", "f": "1", "device": "cpu"} | changes
    return ["predict", *(word for name, value in options.items() for word in (f"-{name}", value))]


def test_the_model_of_a_collection(nnunet, model, mistake):
    table = TaskTable("Dataset901_Phantom", (Task("liver", "Dataset003_Liver", 1, 2, 9),))
    (model / "plans.json").write_text(json.dumps({"plans_name": "LitePlans", "collection": table.as_json()}))
    text = "expected the model of one dataset, found that of a collection. Predict with a task's view: -d 3 -p Lite"
    assert text in mistake(" ".join(words(nnunet)))


def test_images_are_checked_with_the_reader_that_predicts(nnunet, model, mistake):
    """Not with the one that nnU-Net would choose for the first image."""
    file = nnunet / "raw/Dataset901_Phantom/imagesTs/unseen_000_0000.nii.gz"
    affine = np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(np.asarray(nibabel.load(file).dataobj), affine)
    image.set_sform(affine, 1)
    image.header["qform_code"] = 0
    nibabel.save(image, file)
    text = mistake([*words(nnunet), "--disable_progress_bar"])
    assert text.startswith(f"{file}: expected axes perpendicular to each other, which nnU-Net's SimpleITKIO needs")
    (model / "plans.json").write_text(json.dumps({"plans_name": "LitePlans", "image_reader_writer": "NibabelIO"}))
    Predict.parse(words(nnunet)[1:])._check()


def test_missing_words(nnunet, mistake):
    expected = "expected -i IMAGES -o OUTPUT -d DATASET -c CONFIGURATION, found no -o, -c. Example: nnunet_ext predict"
    assert mistake("predict -i a -d 901").startswith(expected)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tr": "BANettrainer"}, "-tr: unknown trainer 'BANettrainer'. Did you mean 'BANetTrainer'?"),
        ({"d": "902"}, "expected dataset '902', found none. Legal: Dataset901_Phantom."),
        (
            {"p": "B"},
            "BANetTrainer__B__3d_fullres: expected a trained model, found none. Trained here (-tr__-p__-c): BANetT",
        ),
        ({"f": "0"}, "fold_0/checkpoint_final.pth: expected the checkpoint of fold 0, found no file. Trained: -f 1."),
        (
            {"chk": "checkpoint_best.pth"},
            "checkpoint of fold 1, found no file. Finish a training, or choose with -chk.",
        ),
        ({"i": "/nowhere"}, "/nowhere: expected a folder of images, found none."),
    ],
)
def test_wrong_words(nnunet, model, mistake, changes, text):
    assert text in mistake([*words(nnunet, **changes), "--disable_progress_bar"])


def test_no_gpu(nnunet, model, mistake, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    text = mistake(words(nnunet, device="cuda"))
    assert text == "-device cuda: expected a GPU, torch finds none. Add -device cpu, or see nnunet_ext doctor."


def test_an_empty_folder(nnunet, model, mistake):
    (nnunet / "empty").mkdir()
    text = mistake(words(nnunet, i=str(nnunet / "empty")))
    assert text.startswith(f"{nnunet / 'empty'}: expected images named CASE_0000.nii.gz, found none.")


def test_a_file_in_place_of_the_output(nnunet, model, mistake):
    (nnunet / "out").write_text("")
    assert mistake(words(nnunet)).startswith(f"-o {nnunet / 'out'}: expected a folder that can be written, got ")


def test_a_truncated_checkpoint(nnunet, model, mistake):
    file = model / "fold_1" / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes()[:-300])
    assert mistake(words(nnunet)).startswith(f"{file}: expected an intact checkpoint, but it cannot be read (")


def test_a_truncated_image(nnunet, model, mistake, monkeypatch):
    file = nnunet / "raw/Dataset901_Phantom/imagesTs/unseen_000_0000.nii.gz"
    file.write_bytes(file.read_bytes()[:-300])
    text = mistake([*words(nnunet), "--disable_progress_bar"])
    assert text.startswith(f"{file}: expected an intact image, but it is corrupt")


def test_all_words_but_our_own_reach_nnunet(nnunet, model, monkeypatch):
    seen = []
    monkeypatch.setattr("nnunetv2.inference.predict_from_raw_data.predict_entry_point", lambda: seen.append(sys.argv))
    file = nnunet / "raw/Dataset901_Phantom/imagesTs/unseen_000_0000.nii.gz"
    file.write_bytes(b"")
    assert main([*words(nnunet), "--no_check", "--save_probabilities"]) == 0
    assert seen == [["nnUNetv2_predict", *words(nnunet)[1:], "--save_probabilities"]]


def test_all_defaults_are_those_of_nnunet(monkeypatch):
    """Each flag of nnUNetv2_predict, as its parser declares it, has a field of the same name and default."""
    declared = {}

    def declare(_, *flags, **settings):
        declared[flags[0]] = settings

    monkeypatch.setattr("argparse.ArgumentParser.add_argument", declare)
    monkeypatch.setattr("argparse.ArgumentParser.parse_args", stop)
    with pytest.raises(StoppedError):
        predict_entry_point()
    monkeypatch.undo()
    own = Predict.parse([])
    assert len(declared) >= 20
    declared.pop("-h", None)
    for flag, settings in declared.items():
        default = settings.get("default", False if settings.get("action") else None)
        found = getattr(own, flag.lstrip("-"))
        assert found == (list(map(str, default)) if flag == "-f" else default), flag


class StoppedError(Exception):
    """nnU-Net's command has declared its options."""


def stop(*_):
    raise StoppedError


def test_defaults_from_variables(monkeypatch):
    monkeypatch.setenv("nnUNet_npp", "0")
    monkeypatch.setenv("nnUNet_nps", "many")
    own = Predict.parse([])
    assert (own.npp, own.nps) == (0, 3)


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (
            ["-step_size", "1.5"],
            "-step_size: expected a number above 0 and at most 1, got '1.5'. See nnunet_ext",
        ),
        (["-f", "one"], "-f: expected folds 0, 1, 2, ... or all, got 'one'. See nnunet_ext predict --help"),
        (["-device", "gpu"], "-device: expected cpu, cuda, mps, got 'gpu'. See nnunet_ext predict --help"),
        (["--continue"], "unrecognized arguments: --continue. See nnunet_ext predict --help"),  # no abbreviation
        (["-num_parts", "2", "-part_id", "2"], "-part_id 2: expected less than -num_parts, 2, counted from 0. Correct"),
    ],
)
def test_wrong_values(nnunet, model, mistake, extra, text):
    assert mistake([*words(nnunet), *extra]).startswith(text)


def test_help(capsys):
    with pytest.raises(SystemExit) as end:
        main(["predict", "-h"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert "usage: nnunet_ext predict" in told
    assert "--stock" in told


@pytest.fixture
def small(nnunet: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stock model of the phantoms with random weights in folds 0 and 1, and two images to predict."""
    monkeypatch.setenv(sockets.VARIABLE, "")
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    write_small_model(nnunet / "results", folds=(0, 1))
    for number, name in enumerate("ab"):
        write_image(nnunet / "images" / f"{name}_0000.nii.gz", phantom((8, 16, 12), seed=number)[0], (2, 1.2, 1.2))
    return nnunet


def small_words(root: Path, *more: str, **changes: str) -> list[str]:
    options = {"tr": "nnUNetTrainer", "p": "nnUNetPlans", "f": "0", "i": str(root / "images")} | changes
    return [*words(root, **options), "--disable_progress_bar", *more]


def label_maps(folder: Path) -> dict[str, np.ndarray]:
    return {file.name: np.asarray(nibabel.load(file).dataobj) for file in sorted(folder.glob("*.nii.gz"))}


def test_the_labels_of_nnunet(small, capsys):
    """And its other files; what ours and nnU-Net's command tell apart is only the time."""
    both = ["-step_size", "0.7", "--disable_tta", "-npp", "0", "-nps", "0"]
    assert main([*small_words(small, *both), "-f", "1", "0"]) == 0
    told = capsys.readouterr()
    assert "nnunet_ext: images are resampled by nnunet_ext" in told.err
    assert "| case | reading, s | resampling, s | network, s | export, s | peak memory, GiB |" in told.out
    assert told.out.endswith(f"2 cases predicted in {small / 'out'}\n")
    theirs = small_words(small, *both, "--no_check", "--stock", o=str(small / "theirs"))
    assert main([*theirs, "-f", "1", "0"]) == 0
    told = capsys.readouterr()
    assert "nnunet_ext: nnU-Net's own prediction is used: --stock" in told.err
    assert "Please cite" in told.out
    expected = label_maps(small / "theirs")
    assert sorted(expected) == ["a.nii.gz", "b.nii.gz"]
    for name, labels in label_maps(small / "out").items():
        np.testing.assert_array_equal(labels, expected[name])
        assert len(np.unique(labels)) > 1
    assert sorted(f.name for f in (small / "out").iterdir()) == sorted(f.name for f in (small / "theirs").iterdir())
    for name in ("plans.json", "dataset.json"):
        assert json.loads((small / "out" / name).read_text()) == json.loads((small / "theirs" / name).read_text())
    kept = json.loads((small / "out" / "predict_from_raw_data_args.json").read_text())
    stock = json.loads((small / "theirs" / "predict_from_raw_data_args.json").read_text())
    assert kept | {"output_folder_or_list_of_truncated_output_files": str(small / "theirs")} == kept | stock


def test_a_missing_channel(small, mistake, caplog):
    """Images are checked as those of the other channels; what is left to nnU-Net is refused."""
    shutil.rmtree(small / "results")
    write_small_model(small / "results", channels=2, normalization_schemes=["ZScoreNormalization"] * 2)
    plans = small / "results/Dataset901_Phantom/nnUNetTrainer__nnUNetPlans__3d_fullres/plans.json"
    plans.write_text(plans.read_text().replace("[false]", "[false, false]"))
    assert "expected 2 channels of case 'a'" in mistake(small_words(small))
    description = json.loads((plans.parent / "dataset.json").read_text())
    structures = {name: [label] for name, label in description["labels"].items() if label}
    record = ChallengeRecord("mine", structures, {}, ("CT", "MR 1"))
    (plans.parent / "dataset.json").write_text(json.dumps(description | {KEY: record.as_json()}))
    assert main(small_words(small, "--missing_channel", "MR 1")) == 0
    assert "the model was trained without the knob channel_dropout" in caplog.text
    assert sorted(label_maps(small / "out")) == ["a.nii.gz", "b.nii.gz"]
    assert json.loads((small / "out/predict_from_raw_data_args.json").read_text())["missing_channels"] == [1]
    for more, text in (
        (
            ["MR 1", "--stock"],
            "--missing_channel: expected what nnunet_ext predicts, found what is left to nnU-Net: --s",
        ),
        (["2"], "missing channel 2: expected one of 0 (CT), 1 (MR 1), found none of them. Give its number."),
        (["0", "1", "--no_check"], "missing channels: expected one that is there, of 0 (CT), 1 (MR 1), found none"),
    ):
        assert mistake(small_words(small, "--missing_channel", *more)).startswith(text)
    for image in list((small / "images").glob("*_0000.nii.gz")):
        image.rename(str(image).replace("_0000", "_0001"))
    assert main(small_words(small, "--missing_channel", "0", "--structures", "image")) == 0
    assert sorted(path.name for path in (small / "out" / "structures").iterdir()) == ["a.mha", "b.mha"]


def test_fast(small, capsys):
    assert main(small_words(small, "--fast")) == 0
    assert "nnunet_ext: --fast: no mirroring. Labels differ from those with mirroring, nnU-Net's default" in (
        capsys.readouterr().err
    )
    for output, extra in {"tta": [], "none": ["--disable_tta"]}.items():
        assert main(small_words(small, *extra, o=str(small / output))) == 0
    fast, tta, none = (label_maps(small / output) for output in ("out", "tta", "none"))
    for name, labels in fast.items():
        np.testing.assert_array_equal(labels, none[name])
    assert any((labels != tta[name]).any() for name, labels in fast.items())


@pytest.mark.parametrize(
    ("extra", "reason", "passed"),
    [
        (["--stock", "--fast"], "--stock", ["--disable_tta"]),
        (["--save_probabilities"], "probabilities are wanted of all classes at", ["--save_probabilities"]),
        (["-prev_stage_predictions", "x"], "predictions of a previous stage", ["-prev_stage_predictions", "x"]),
    ],
)
def test_what_is_left_to_nnunet(small, capsys, monkeypatch, extra, reason, passed):
    seen = []
    monkeypatch.setattr("nnunetv2.inference.predict_from_raw_data.predict_entry_point", lambda: seen.append(sys.argv))
    assert main(small_words(small, *extra)) == 0
    assert f"nnunet_ext: nnU-Net's own prediction is used: {reason}" in capsys.readouterr().err
    assert seen == [["nnUNetv2_predict", *small_words(small)[1:], *passed]]


OF_SMALL = "results/Dataset901_Phantom/nnUNetTrainer__nnUNetPlans__3d_fullres"
MORE = ([], ["--stock"], ["--save_probabilities"], ["--no_check"])


@pytest.mark.parametrize(
    ("name", "more"), [*((name, ["--stock"]) for name in PICKLES), *(("eval", more) for more in MORE)]
)
def test_a_checkpoint_that_would_run_code(small, tmp_path, mistake, name, more):
    """Also where nnU-Net would read it next, which runs it."""
    marker = tmp_path / "marker"
    file = torch_zip(small / OF_SMALL / "fold_0" / "checkpoint_final.pth", PICKLES[name][1](marker))
    assert mistake(small_words(small, *more)).startswith(
        f"{file}: expected only weights, numbers and text, but it asks"
    )
    assert not marker.exists()
    assert not (small / "out").exists()


@pytest.mark.parametrize("more", MORE)
def test_a_checkpoint_that_claims_more_numbers_than_it_has(small, mistake, more):
    file = lying(small / OF_SMALL / "fold_0" / "checkpoint_final.pth", (2**40,), (0,))
    text = f"{file}: expected tensors whose numbers are in the file, found one of shape (1099511627776,) with 4 numbers"
    assert mistake(small_words(small, *more)).startswith(text)


@pytest.mark.parametrize("more", MORE)
def test_plans_that_would_run_code(small, tmp_path, mistake, more):
    file = small / OF_SMALL / "plans.json"
    plans = json.loads(file.read_text())
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    architecture["arch_kwargs"] |= {"nonlin": "subprocess.Popen", "nonlin_kwargs": {"args": ["touch", "marker"]}}
    file.write_text(json.dumps(plans))
    expected = f"{file}: expected classes of networks, but configuration '3d_fullres' names 'subprocess.Popen', which"
    assert mistake(small_words(small, *more)).startswith(expected)


def test_trust(small, tmp_path, mistake, monkeypatch):
    """What a method of another package keeps in its checkpoints."""
    file = small / OF_SMALL / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(file, weights_only=False) | {"odd": Path("a")}, file)
    told = mistake(small_words(small))
    assert "but it asks for pathlib." in told
    assert "add --trust" in told
    assert main(small_words(small, "--trust", "--disable_tta", "-step_size", "1")) == 0
    assert len(list((small / "out").glob("*.nii.gz"))) == 2
    seen = []
    monkeypatch.setattr("nnunetv2.inference.predict_from_raw_data.predict_entry_point", lambda: seen.append(sys.argv))
    assert main(small_words(small, "--trust", "--stock")) == 0
    assert seen == [["nnUNetv2_predict", *small_words(small)[1:]]]


@pytest.mark.parametrize(
    ("given", "passed"), [(["-npp", "0"], ["-npp", "1", "-nps", "3"]), (["-nps", "0"], ["-npp", "3", "-nps", "1"])]
)
def test_nnunet_gets_a_process_where_one_number_is_0(small, monkeypatch, given, passed):
    """With one of them 0 and the other not, nnU-Net ends in an AssertionError or a ValueError."""
    seen = []
    monkeypatch.setattr("nnunetv2.inference.predict_from_raw_data.predict_entry_point", lambda: seen.append(sys.argv))
    assert main(small_words(small, "--stock", *given)) == 0
    assert seen[0][-4:] == passed


def test_a_second_stage_needs_the_first(small, mistake):
    file = small / "results/Dataset901_Phantom/nnUNetTrainer__nnUNetPlans__3d_fullres/plans.json"
    plans = json.loads(file.read_text())
    plans["configurations"]["3d_fullres"]["previous_stage"] = "3d_lowres"
    file.write_text(json.dumps(plans))
    expected = "-prev_stage_predictions: expected the label maps that configuration 3d_lowres predicts, found no "
    remedy = " Predict with -c 3d_lowres first, and give its -o."
    assert mistake(small_words(small)) == f"{expected}such option.{remedy}"
    (small / "first").mkdir()
    (small / "first" / "a.nii.gz").touch()
    message = mistake(small_words(small, "-prev_stage_predictions", str(small / "first")))
    assert message == f"{expected}{small / 'first' / 'b.nii.gz'}.{remedy}"


def test_a_truncated_image_without_the_check_before(small, capsys):
    """SimpleITK would fill the missing end with zeros."""
    image = small / "images" / "b_0000.nii.gz"
    image.write_bytes(image.read_bytes()[:-200])
    assert main(small_words(small, "--no_check", "--disable_tta")) == 1
    assert "1 case not predicted:" in capsys.readouterr().err
    assert sorted(label_maps(small / "out")) == ["a.nii.gz"]


def test_another_resampler_in_the_plans(small, capsys):
    file = small / "results/Dataset901_Phantom/nnUNetTrainer__nnUNetPlans__3d_fullres/plans.json"
    plans = json.loads(file.read_text())
    planned = plans["configurations"]["3d_fullres"]
    planned["resampling_fn_probabilities"] = "resample_torch_fornnunet"
    planned["resampling_fn_probabilities_kwargs"] = {"is_seg": False, "force_separate_z": False}
    file.write_text(json.dumps(plans))
    assert main(small_words(small, "-npp", "0", "-nps", "0", "--disable_tta")) == 0
    told = capsys.readouterr()
    assert "prediction is used: the plans name resample_torch_fornnunet for logits" in told.err
    assert sorted(label_maps(small / "out")) == ["a.nii.gz", "b.nii.gz"]


def test_a_corrupt_case(small, capsys):
    (small / "images" / "a_0000.nii.gz").write_bytes(b"no image")
    assert main(small_words(small, "--no_check", "--disable_tta")) == 1
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert lines[-2] == "1 case not predicted:"
    assert lines[-1].startswith(f"a: {small / 'images' / 'a_0000.nii.gz'}: expected an intact image, but it is corrupt")
    assert any(line.startswith("nnunet_ext: case a was not predicted: ") for line in lines)
    assert "Traceback" not in told.err
    assert "1 case predicted" in told.out
    assert sorted(label_maps(small / "out")) == ["b.nii.gz"]
    (small / "images" / "b_0000.nii.gz").write_bytes(b"no image")
    assert main(small_words(small, "--no_check", "--verbose", o=str(small / "none"))) == 1
    told = capsys.readouterr()
    assert "Traceback" in told.err
    assert told.out == f"0 cases predicted in {small / 'none'}\n"


def test_continuing_in_parts(small, capsys):
    (small / "out").mkdir()
    (small / "out" / "a.nii.gz").write_bytes(b"kept")
    extra = ["--continue_prediction", "--disable_tta", "-num_parts", "2"]
    assert main(small_words(small, *extra, "-part_id", "0")) == 0
    assert "0 cases predicted" in capsys.readouterr().out
    assert sorted(file.name for file in (small / "out").glob("*.nii.gz")) == ["a.nii.gz"]
    assert main(small_words(small, *extra, "-part_id", "1")) == 0
    assert (small / "out" / "a.nii.gz").read_bytes() == b"kept"
    assert (small / "out" / "b.nii.gz").stat().st_size > len(b"kept")


def test_the_logs_are_silent_again(small, capsys):
    package = logging.getLogger("nnunet_ext")
    before = package.handlers[:], package.level
    assert main(small_words(small, "--disable_tta")) == 0
    assert (package.handlers, package.level) == before


def test_the_options_of_the_network(small, monkeypatch):
    """What the predictor is made with, and the threads of torch as nnUNetv2_predict sets them."""
    made, threads = [], []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    monkeypatch.setattr("nnunet_ext.cli.predictions.predict.check_device", lambda _: None)

    class MadeError(Exception):
        """The predictor would have been made."""

    def make(*arguments, **options):
        made.append(options)
        raise MadeError

    monkeypatch.setattr("nnunet_ext.prediction.Predictor", make)
    for device in ("cpu", "cuda"):
        with pytest.raises(MadeError):
            main(small_words(small, "--not_on_device", device=device))
    assert threads == [7, 1]
    assert made[1] == {
        "device": "cuda",
        "step_size": 0.5,
        "mirroring": True,
        "on_device": False,
        "trust": False,
        "missing_channels": [],
    }
