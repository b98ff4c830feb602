"""``nnunet_ext plan_and_preprocess``: knobs in and carried over, mistakes before anything is written."""

import json
import os
from pathlib import Path

import blosc2
import nibabel
import numpy as np
import pytest
from lock_holder import lock_holder
from spoiled_file import spoil

from nnunet_ext.cli.main import main
from nnunet_ext.collection.planning.member_state import check_complete
from nnunet_ext.errors import UserError

PLANS = Path("preprocessed/Dataset901_Phantom/LitePlans.json")
AGAIN = "-d 901 -pl LitePlanner --no_pp --no_pbar"


def plan(words: str) -> int:
    return main(["plan_and_preprocess", *words.split()])


def block(root: Path) -> object:
    return json.loads((root / PLANS).read_text()).get("nnunet_ext")


def edit(root: Path, change) -> dict:
    plans = json.loads((root / PLANS).read_text())
    change(plans)
    (root / PLANS).write_text(json.dumps(plans))
    return plans


def test_knobs_are_written(planned):
    assert block(planned) == {"num_epochs": 7, "seed": 3, "ba_net": {"boundary_width": 5}, "format": 1}


def test_stock_planning_drops_the_knobs(nnunet):
    from nnunetv2.experiment_planning.plan_and_preprocess_api import plan_experiment_dataset

    from nnunet_ext.methods.baseline.planner import LitePlanner

    plan_experiment_dataset(901, LitePlanner)
    assert block(nnunet) is None


def test_planning_again_carries_the_knobs_over(nnunet):
    edit(nnunet, lambda plans: plans["configurations"]["2d"].update(nnunet_ext={"num_epochs": 2}))
    assert plan(AGAIN) == 0
    assert block(nnunet) == {"num_epochs": 7, "seed": 3, "ba_net": {"boundary_width": 5}, "format": 1}
    assert json.loads((nnunet / PLANS).read_text())["configurations"]["2d"]["nnunet_ext"] == {"num_epochs": 2}


def test_planning_again_changes_the_knobs_that_are_set(nnunet):
    assert plan(f"{AGAIN} --set num_epochs=9 ba_net.boundary_loss_weight=0.25") == 0
    expected = {"num_epochs": 9, "seed": 3, "ba_net": {"boundary_width": 5, "boundary_loss_weight": 0.25}, "format": 1}
    assert block(nnunet) == expected


def test_left_and_right(nnunet, capsys):
    """Classes that mirroring turns into each other are told, unless the plans say how to mirror."""
    file = nnunet / "raw/Dataset901_Phantom/dataset.json"
    description = json.loads(file.read_text())
    words = ["plan_and_preprocess", "-d", "901", "-pl", "LitePlanner", "--no_pp", "--no_pbar", "--no_check"]
    assert main(words) == 0
    assert "different classes" not in capsys.readouterr().out
    description["labels"] = {"background": 0, "Eye_L": 1, "Eye_R": 2, "tumour": 3}
    file.write_text(json.dumps(description))
    assert main(words) == 0
    told = "Dataset901_Phantom: Eye_L and Eye_R are different classes, and mirroring turns one into the other"
    assert f"{told}. To train without: --set mirror_axes=[]" in capsys.readouterr().out
    assert main([*words, "--set", "mirror_axes=[0, 1]"]) == 0
    assert "different classes" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("bad", "text", "setting"),
    [
        ({"num_epochs": 7, "format": 2}, "has format 2, this nnunet_ext reads up to 1", ""),
        ({"num_epochs": 7, "format": 2}, "has format 2, this nnunet_ext reads up to 1", " --set seed=4"),
        ({"num_epoch": 7}, "unknown knob 'num_epoch'. Did you mean 'num_epochs'?", ""),
        (7, "the block 'nnunet_ext' must be an object, got 7", " --set seed=4"),
    ],
)
def test_knobs_that_cannot_be_carried_over_are_not_lost(nnunet, mistake, bad, text, setting):
    before = edit(nnunet, lambda plans: plans.update(nnunet_ext=bad))
    assert text in mistake(f"plan_and_preprocess {AGAIN}{setting}")
    assert json.loads((nnunet / PLANS).read_text()) == before


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("-d 901 --set num_epoch=3", "--set: unknown knob 'num_epoch'. Did you mean 'num_epochs'?"),
        ("-d 901 --set num_epochs", "--set expects key=value, got 'num_epochs'."),
        ("-d 901 -pl LitPlanner", "-pl: unknown planner 'LitPlanner'. Did you mean 'LitePlanner'?"),
        ("-d 902", "expected dataset '902', found none. Legal: Dataset901_Phantom."),
    ],
)
def test_wrong_words_stop_before_anything_is_written(nnunet, mistake, words, text):
    before = {file: file.read_bytes() for file in nnunet.rglob("*.json")}
    assert text in mistake(f"plan_and_preprocess --no_pbar {words}")
    assert {file: file.read_bytes() for file in nnunet.rglob("*.json")} == before


def test_bad_data_stop_before_anything_is_written(nnunet, mistake, monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", str(nnunet / "empty"))
    file = nnunet / "raw/Dataset901_Phantom/imagesTr/case_001_0000.nii.gz"
    file.write_bytes(file.read_bytes()[:-1000])
    assert mistake(f"plan_and_preprocess {AGAIN}").startswith(f"{file}: expected an intact image, but it is corrupt")
    assert list((nnunet / "empty").iterdir()) == []


def test_planning_again_reads_what_has_changed_only(nnunet, mistake):
    file = nnunet / "raw/Dataset901_Phantom/imagesTr/case_001_0000.nii.gz"
    assert plan(AGAIN) == 0
    spoil(file)
    assert plan(AGAIN) == 0
    assert mistake(f"plan_and_preprocess {AGAIN} --clean").startswith(f"{file}: expected ")
    os.utime(file)
    assert mistake(f"plan_and_preprocess {AGAIN}").startswith(f"{file}: expected ")


def test_a_file_in_place_of_the_preprocessed_folder(nnunet, mistake, monkeypatch):
    (nnunet / "file").write_text("")
    monkeypatch.setenv("nnUNet_preprocessed", str(nnunet / "file"))
    text = mistake(f"plan_and_preprocess {AGAIN}")
    assert text.startswith(f"nnUNet_preprocessed={nnunet / 'file'}: expected a folder that can be written, got ")


def test_a_stock_planner_is_taken(nnunet):
    assert plan("-d 901 --no_pp --no_pbar --no_check -gpu_memory_target 2") == 0
    plans = json.loads((nnunet / PLANS.with_name("nnUNetPlans.json")).read_text())
    assert plans["experiment_planner_used"] == "ExperimentPlanner"
    assert "nnunet_ext" not in plans


def test_preprocessed_data_lie_where_the_plans_say(nnunet):
    assert plan("-d 901 -pl LitePlanner -c 3d_fullres --no_pbar") == 0
    configuration = json.loads((nnunet / PLANS).read_text())["configurations"]["3d_fullres"]
    folder = nnunet / PLANS.parent / configuration["data_identifier"]
    assert sorted(file.name for file in folder.glob("*.pkl")) == ["case_000.pkl", "case_001.pkl", "case_002.pkl"]
    assert int(np.prod(configuration["patch_size"])) <= 90_000


def test_a_configuration_that_exists_nowhere(nnunet, mistake):
    text = mistake("plan_and_preprocess -d 901 -pl LitePlanner --no_pbar -c 3d_fulres")
    assert (
        text
        == "-c: plans 'LitePlans' have no configuration '3d_fulres'. Did you mean '3d_fullres'? Legal: 2d, 3d_fullres."
    )


# collections

COLLECTION = "preprocessed/Dataset900_Pair/CollectionLitePlans.json"
MEMBERS = ("Dataset901_Organs", "Dataset902_Lesion")
PAIR = "-d 900 -pl CollectionLitePlanner --no_pbar --no_check"


def member_file(root: Path, dataset: str, name: str = "CollectionLitePlans_Dataset900_Pair") -> Path:
    return root / "preprocessed" / dataset / f"{name}.json"


def data(root: Path, dataset: str) -> Path:
    return root / "preprocessed" / dataset / "CollectionLitePlans_Dataset900_Pair_3d_fullres"


def all_knobs(root: Path) -> list[dict]:
    files = [root / COLLECTION, *(member_file(root, dataset) for dataset in MEMBERS)]
    return [json.loads(file.read_text())["nnunet_ext"] for file in files]


def times(root: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for dataset in MEMBERS for file in data(root, dataset).iterdir()}


def preprocessed_again(root: Path, words: str, capsys) -> list[str]:
    """Run the command, and return the members that it did not skip, told from what it says and from the files."""
    before = times(root)
    capsys.readouterr()
    assert plan(words) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("member ")]
    assert [line.split()[1:3] for line in lines] == [["1/2", "Dataset901_Organs:"], ["2/2", "Dataset902_Lesion:"]]
    done = [name for name, line in zip(MEMBERS, lines, strict=True) if "already preprocessed" not in line]
    touched = {file.parents[1].name for file, _ in before.items() ^ times(root).items()}
    assert touched == set(done)
    return done


def test_members_are_preprocessed_and_marked(pair):
    for dataset in MEMBERS:
        assert sorted(file.name for file in data(pair, dataset).glob("*.pkl")) == [
            "case_000.pkl",
            "case_001.pkl",
            "case_002.pkl",
        ]
        marker = json.loads(member_file(pair, dataset, f"{data(pair, dataset).name}.complete").read_text())
        assert set(marker["files"]) == {file.name for file in data(pair, dataset).iterdir()}
    assert [path.name for path in (pair / "preprocessed/Dataset900_Pair").iterdir() if path.is_dir()] == []


def test_a_second_call_changes_nothing(pair, capsys):
    before = {file: file.read_bytes() for file in pair.rglob("*.json")}
    assert preprocessed_again(pair, PAIR, capsys) == []
    assert {file: file.read_bytes() for file in pair.rglob("*.json")} == before


def test_only_members_whose_marker_does_not_match_are_preprocessed_again(pair, capsys):
    next(data(pair, MEMBERS[1]).glob("case_001.b2nd")).write_bytes(b"short")
    assert preprocessed_again(pair, PAIR, capsys) == ["Dataset902_Lesion"]
    assert preprocessed_again(pair, PAIR, capsys) == []


def test_a_spacing_in_the_manifest_is_preprocessed(pair, capsys):
    manifest = pair / "raw/Dataset900_Pair/dataset.json"
    content = json.loads(manifest.read_text())
    content["tasks"]["organs"]["spacing"] = [1.5, 1.5, 1.5]
    manifest.write_text(json.dumps(content))
    assert preprocessed_again(pair, PAIR, capsys) == ["Dataset901_Organs"]


def test_a_case_more_and_clean(pair, capsys):
    raw = pair / "raw/Dataset901_Organs"
    for file in ("imagesTr/case_000_0000.nii.gz", "labelsTr/case_000.nii.gz"):
        (raw / file.replace("case_000", "case_new")).write_bytes((raw / file).read_bytes())
    edited = json.loads((raw / "dataset.json").read_text()) | {"numTraining": 4}
    (raw / "dataset.json").write_text(json.dumps(edited))
    assert preprocessed_again(pair, PAIR, capsys) == ["Dataset901_Organs"]
    assert (data(pair, "Dataset901_Organs") / "case_new.pkl").is_file()
    assert preprocessed_again(pair, f"{PAIR} --clean", capsys) == list(MEMBERS)


def test_who_resamples_the_members(pair, capsys):
    for words, by in (("--clean", "nnunet_ext"), ("--clean --stock_resampling", "nnU-Net, as asked")):
        capsys.readouterr()
        assert plan(f"{PAIR} {words}") == 0
        said = [line for line in capsys.readouterr().out.splitlines() if "are resampled by" in line]
        assert said == 2 * [f"3d_fullres: images and labels are resampled by {by}"]


def test_a_marker_says_so_while_a_member_is_preprocessed(pair, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def marked(dataset: str) -> dict:
        return json.loads(member_file(pair, dataset, f"{data(pair, dataset).name}.complete").read_text())

    next(data(pair, MEMBERS[0]).glob("case_001.b2nd")).unlink()
    with monkeypatch.context() as interrupted:
        interrupted.setattr("nnunetv2.experiment_planning.plan_and_preprocess_api.preprocess", stop)
        assert plan(PAIR) == 130
    assert [marked(dataset)["files"] is None for dataset in MEMBERS] == [True, False]
    assert plan(PAIR) == 0  # the case was written already, the labels were not copied
    assert [marked(dataset)["files"] is None for dataset in MEMBERS] == [False, False]


def test_a_corrected_label_of_a_source_reaches_the_network(pair, capsys):
    """Its member is preprocessed again, and training on the old labels is refused until then."""
    label = pair / "raw/Dataset902_Lesion/labelsTr/case_001.nii.gz"
    image = nibabel.load(label)
    nibabel.save(nibabel.Nifti1Image(np.zeros_like(np.asarray(image.dataobj)), image.affine), label)
    plans = json.loads(member_file(pair, MEMBERS[1]).read_text())
    with pytest.raises(UserError, match=rf"found case case_001 from before {label} was changed\. Run nnunet_ext plan_"):
        check_complete(pair / "preprocessed/Dataset902_Lesion", plans, "3d_fullres")
    assert preprocessed_again(pair, PAIR, capsys) == ["Dataset902_Lesion"]
    assert blosc2.open(str(data(pair, MEMBERS[1]) / "case_001_seg.b2nd"))[:].max() == 0
    check_complete(pair / "preprocessed/Dataset902_Lesion", plans, "3d_fullres")
    assert preprocessed_again(pair, PAIR, capsys) == []


def test_knobs_reach_all_members_and_are_carried_over(pair):
    assert all_knobs(pair) == [{"num_epochs": 7, "format": 1}] * 3
    assert plan(f"{PAIR} --no_pp --set seed=3") == 0
    assert all_knobs(pair) == [{"num_epochs": 7, "seed": 3, "format": 1}] * 3


def test_knobs_that_cannot_be_carried_over_are_not_lost_in_members(pair, mistake):
    edited = json.loads((pair / COLLECTION).read_text()) | {"nnunet_ext": {"num_epoch": 7}}
    (pair / COLLECTION).write_text(json.dumps(edited))
    before = {dataset: json.loads(member_file(pair, dataset).read_text()) for dataset in MEMBERS}
    assert "unknown knob 'num_epoch'" in mistake(f"plan_and_preprocess {PAIR} --no_pp")
    assert json.loads((pair / COLLECTION).read_text()) == edited
    assert {dataset: json.loads(member_file(pair, dataset).read_text()) for dataset in MEMBERS} == before


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            "-d 900",
            "-pl ExperimentPlanner: expected a planner for collections, because Dataset900_Pair is a collection. Take "
            "one of CollectionLitePlanner, DoDNetPlanner, DoDNetResEncLPlanner, DoDNetResEncMPlanner, "
            "TransDoDNetPlanner, TransDoDNetResEncLPlanner, TransDoDNetResEncMPlanner, UniSegPlanner, "
            "UniSegResEncLPlanner, UniSegResEncMPlanner, VerSemiPlanner, VerSemiResEncLPlanner, VerSemiResEncMPlanner.",
        ),
        (
            "-d 901 900 -pl UniSegPlanner",
            "-pl UniSegPlanner: expected another planner, because Dataset901_Organs is an ordinary dataset. Take one "
            "of BANetPlanner, BANetResEncLPlanner, BANetResEncMPlanner, CoTrPlanner, CoTrResEncLPlanner, "
            "CoTrResEncMPlanner, LeFeDPlanner, LeFeDResEncLPlanner, LeFeDResEncMPlanner, LitePlanner, "
            "MCNetPlusPlanner, MCNetPlusResEncLPlanner, MCNetPlusResEncMPlanner, SemiSupervisedPlanner, "
            "SemiSupervisedResEncLPlanner, SemiSupervisedResEncMPlanner, or one of nnU-Net.",
        ),
        (
            "-d 900 -pl UniSegPlanner -c 2d 3d_fullres",
            "-c 2d: a collection has the one configuration 3d_fullres, because its members share one 3d network (2d "
            "needs another, and the second stage of a cascade takes the labels of one member as input). Give -c "
            "3d_fullres, or leave -c out.",
        ),
    ],
)
def test_words_that_do_not_fit_collections(pair, mistake, words, text):
    before = {file: file.read_bytes() for file in pair.rglob("*.json")}
    assert mistake(f"plan_and_preprocess --no_pbar {words}") == text
    assert {file: file.read_bytes() for file in pair.rglob("*.json")} == before


def test_the_one_configuration_may_be_named(pair):
    assert plan(f"{PAIR} -c 3d_fullres -np 2") == 0
    assert plan(f"{PAIR} -np 1 2 3") == 0


def test_members_are_checked(pair, mistake, monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", str(pair / "empty"))
    file = pair / "raw/Dataset902_Lesion/imagesTr/case_001_0001.nii.gz"
    file.write_bytes(file.read_bytes()[:-1000])
    words = "plan_and_preprocess -d 900 -pl CollectionLitePlanner --no_pbar"
    assert mistake(words).startswith(f"{file}: expected an intact image, but it is corrupt")
    assert list((pair / "empty").iterdir()) == []


def test_the_source_of_a_part_is_checked_and_fingerprinted_in_its_place(pair, mistake, monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", str(pair / "empty"))
    manifest = pair / "raw/Dataset900_Pair/dataset.json"
    tasks = {"organs": {"dataset": "Dataset903_Part", "source": "Dataset901_Organs"}}
    manifest.write_text(json.dumps({"tasks": tasks}))
    part = pair / "raw/Dataset903_Part"
    part.mkdir()
    source = pair / "raw/Dataset901_Organs"
    cases = {
        f"case_00{i}": {
            "images": [f"../Dataset901_Organs/imagesTr/case_00{i}_0000.nii.gz"],
            "label": f"../Dataset901_Organs/labelsTr/case_00{i}.nii.gz",
        }
        for i in range(2)
    }
    description = json.loads((source / "dataset.json").read_text()) | {"numTraining": 2, "dataset": cases}
    (part / "dataset.json").write_text(json.dumps(description))
    assert plan("-d 900 -pl CollectionLitePlanner --no_pbar") == 0
    fingerprints = [pair / "empty" / name / "dataset_fingerprint.json" for name in ("Dataset901_Organs", part.name)]
    assert fingerprints[0].read_bytes() == fingerprints[1].read_bytes()
    assert len(json.loads(fingerprints[1].read_text())["spacings"]) == 3
    preprocessed = pair / "empty" / part.name / "CollectionLitePlans_Dataset900_Pair_3d_fullres"
    assert sorted(file.name for file in preprocessed.glob("*.pkl")) == ["case_000.pkl", "case_001.pkl"]
    (source / "labelsTr/case_002.nii.gz").unlink()
    assert plan("-d 900 -pl CollectionLitePlanner --no_pbar") == 0
    words = "plan_and_preprocess -d 900 -pl CollectionLitePlanner --no_pbar --clean"
    assert mistake(words).startswith(f"{source / 'labelsTr/case_002.nii.gz'}: expected the label of a training case")


def test_two_at_once_on_one_data_set_are_refused_and_the_folder_is_given_back(nnunet, mistake):
    place = nnunet / "preprocessed" / "Dataset901_Phantom"
    before = sorted(place.iterdir())
    words = "plan_and_preprocess -d 901 -pl LitePlanner --no_pp --no_pbar --no_check"
    with lock_holder(place) as process:
        assert f"found training, process {process.pid}" in mistake(words)
    assert main(words.split()) == 0
    assert sorted(place.iterdir()) == before
