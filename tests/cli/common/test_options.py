"""Numbers out of range and wrong kinds of files, in every option of every command: one line and exit code 2."""

from __future__ import annotations

import argparse

import pytest

from nnunet_ext.cli.common import options
from nnunet_ext.cli.common.options import check_words
from nnunet_ext.errors import UserError


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (options.whole(1, 999), ["1", "999", "+7", "007"], ["0", "1000", "-1", "1.0", "", "1e2", "²", "1_0", "nan"]),
        (options.whole(0), ["0", "123456789"], ["-1", "0.5", "all"]),
        (options.real(0, 1), ["1", "0.5", "1e-3"], ["0", "-0.1", "1.01", "nan", "inf", "half", ""]),
        (options.real(0), ["80", "0.1"], ["0", "-8", "nan", "inf"]),
        (options.fold, ["0", "7", "all"], ["-1", "²", "1.0", "ALL", "", "0 1"]),
        (options.device, ["cpu", "cuda", "mps"], ["gpu", "cuda:0", ""]),
    ],
)
def test_kinds(kind, good, bad):
    for text in good:
        kind(text)
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="expected"):
            kind(text)
    assert options.whole(1)("+7") == 7
    assert options.real(0)("1e-3") == 0.001
    assert options.fold("007") == "7"


def test_files_and_folders(tmp_path):
    (tmp_path / "file").touch()
    there, gone = tmp_path / "file", tmp_path / "gone"
    assert options.file(str(there)) == options.new_or_file(str(there)) == there
    assert options.folder(str(tmp_path)) == options.folder_or_new(str(tmp_path)) == tmp_path
    assert options.new_or_file(str(gone)) == options.folder_or_new(str(gone)) == gone
    wrong = [(options.file, gone), (options.file, tmp_path), (options.new_or_file, tmp_path)]
    wrong += [(options.folder, gone), (options.folder, there), (options.folder_or_new, there)]
    for kind, path in wrong:
        with pytest.raises(argparse.ArgumentTypeError, match="expected a f"):
            kind(str(path))


def test_words_of_other_programs():
    kinds = {"-npp": options.whole(0), "-f": options.fold}
    check_words(["-i", "-npp", "0", "-f", "0", "1", "all", "-o", "x"], kinds)
    check_words(["-npp=3"], kinds)
    for words in ("-npp -1", "-npp=-1", "-f 0 x -o", "-o y -f 1 -2"):
        with pytest.raises(UserError, match="expected"):
            check_words(words.split(), kinds)


MODEL = "-d 901 -c 3d_fullres -device cpu"
COLLECTION = "predict_tasks -d 900 -i . -o new"
COMPARE = "compare -d 901 -c 3d_fullres -tr BANetTrainer -o new"


@pytest.mark.parametrize(
    "words",
    [
        f"{COLLECTION} -step_size 0",
        f"{COLLECTION} -step_size 2",
        f"{COLLECTION} -step_size nan",
        f"{COLLECTION} -npp -1",
        f"{COLLECTION} -num_parts 0",
        f"{COLLECTION} -part_id -1",
        f"{COLLECTION} -heads_at_once 0",
        f"{COLLECTION} -nps -1",
        f"{COLLECTION} -f -1",
        f"{COLLECTION} -device gpu",
        "predict_tasks -d 900 -i gone -o new",
        "predict_tasks -d 900 -i . -o file",
        f"predict -i . -o new {MODEL} -step_size 0",
        f"predict -i . -o new {MODEL} -npp -1",
        f"predict -i . -o new {MODEL} -nps x",
        f"predict -i . -o new {MODEL} -f ²",
        f"predict -i . -o new {MODEL} -num_parts 0",
        f"predict -i . -o new {MODEL} -num_parts 2 -part_id 2",
        f"predict -i gone -o new {MODEL}",
        f"predict -i . -o file {MODEL}",
        "predict -i . -o new -d 901 -c 3d_fullres -device gpu",
        "train 901 3d_fullres ²",
        "train 901 3d_fullres 0 -num_gpus 0",
        "train 901 3d_fullres 0 -device gpu",
        "train 901 3d_fullres 0 -pretrained_weights .",
        "train 901 3d_fullres 0 --c --val",
        "train 901 3d_fullres 0 --val_best --disable_checkpointing",
        "plan_and_preprocess -d 0",
        "plan_and_preprocess -d 901 -np 0",
        "plan_and_preprocess -d 901 -npfp 0",
        "plan_and_preprocess -d 901 -gpu_memory_target 0",
        "plan_and_preprocess -d 901 -overwrite_target_spacing 1 0 1",
        "preprocess_unlabelled -d 901 -p LitePlans -np 0",
        "task_views -d 900 -f x",
        "strip -d 901 -c 3d_fullres -f x",
        "export_backbone -d 900 -f x --channels 1 -o new",
        "import_v1 gone --method ba_net -o new",
        "import_v1 file gone --method ba_net -o new",
        "import_v1 file --method ba_net -o file",
        "import_v1 file --method ba_net -d 0 -n A",
        "import_v1 file --method ba_net -o new --mirror_axes 3",
        "import_v1 file --method uniseg -o new --tasks gone",
        "export_backbone -d 900 -f 0 --channels 0 -o new",
        "export_backbone -d 900 -f 0 --channels 1 -o .",
        f"{COMPARE} --epochs 0",
        f"{COMPARE} --iterations 0",
        f"{COMPARE} --seeds -1",
        f"{COMPARE} -f x",
        f"{COMPARE} -device gpu",
        f"{COMPARE} --test_images gone",
        f"{COMPARE} --test_labels file",
        "compare -d 901 -c 3d_fullres -tr BANetTrainer -o file",
        "demo --epochs 0",
        "demo --steps -1",
        "demo --data gone",
        "demo --out file",
        "hide_labels -d 901 -o 1000 --keep 1",
        "hide_labels -d 901 -o 902 --keep 0",
        "hide_labels -d 901 -o 902 --keep 1 --seed -1",
        "hide_labels -d 901 -o 902 --labelled .",
        "hide_labels -d 901 -o 902 --keep 1 --test gone",
        "hide_labels -d 901 -o 902 --every_slice 1",
        "propagate_labels -d 901 -o 0",
        "propagate_labels -d 901 -o 902 --gap 0",
        "propagate_labels -d 901 -o 902 --annotated_share 0",
        "propagate_labels -d 901 -o 902 -np 0",
        "collect -d 0 -n C 901",
        "phantoms -d 996",
    ],
)
def test_wrong_options_of_every_command(nnunet, tmp_path, monkeypatch, mistake, words):
    place = tmp_path / "here"
    place.mkdir()
    (place / "file").touch()
    monkeypatch.chdir(place)
    assert "expected" in mistake(words)
    assert [path.name for path in place.iterdir()] == ["file"]
