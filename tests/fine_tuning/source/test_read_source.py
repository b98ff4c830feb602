"""A model is read from its folder, a zip file or a checkpoint; everything else is one line."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from nnssl_checkpoint import adaptation_plan, kwargs_of, network_of, write_nnssl
from small_model import write_small_model

from nnunet_ext.collection.task_table import TaskTable
from nnunet_ext.errors import UserError
from nnunet_ext.fine_tuning.source.read_source import read_source


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_small_model(tmp_path / "results", folds=(0, 3))


def change(file: Path, **entries) -> dict:
    """Replace entries of a checkpoint; None removes one."""
    content = torch.load(file, weights_only=False) | entries
    torch.save({key: value for key, value in content.items() if value is not None}, file)
    return content


def checkpoint(model: Path, fold: str = "0") -> Path:
    return model / f"fold_{fold}" / "checkpoint_final.pth"


def read(*places: Path, **options):
    return read_source(places, places[0].parent / "unpacked", **options)


def equal(found, file: Path) -> bool:
    weights = torch.load(file, weights_only=False)["network_weights"]
    return found.weights.keys() == weights.keys() and all(
        torch.equal(found.weights[key], weights[key]) for key in weights
    )


def test_a_folder(model):
    found = read(model)
    assert equal(found, checkpoint(model))
    assert found.plans == json.loads((model / "plans.json").read_text())
    assert (found.configuration_name, found.trainer, found.mirroring_axes) == ("3d_fullres", "nnUNetTrainer", (0, 1, 2))
    assert (found.channel_names, found.classes) == (["CT"], ["organ", "wall", "tumour"])


def test_which_fold(model):
    assert equal(read(model, fold="3"), checkpoint(model, "3"))
    shutil.copytree(model / "fold_3", model / "fold_all")
    assert equal(read(model), checkpoint(model, "all"))
    assert equal(read(model, fold="0"), checkpoint(model))
    shutil.rmtree(model / "fold_0")
    shutil.rmtree(model / "fold_all")
    with pytest.raises(UserError, match=r"expected checkpoint_final.pth of fold 0, found none. Give --fold 3\."):
        read(model)
    checkpoint(model, "3").rename(model / "fold_3/checkpoint_best.pth")
    with pytest.raises(UserError, match=r"Give -chk checkpoint_best.pth\."):
        read(model)
    assert read(model, fold="3", checkpoint="checkpoint_best.pth").trainer == "nnUNetTrainer"


def test_a_zip(model, tmp_path):
    file = tmp_path / "somebody.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for path in model.rglob("*.*"):
            archive.write(path, path.relative_to(model.parents[1]))
    found = read(file)
    assert equal(found, checkpoint(model))
    assert found.file == file
    with pytest.raises(UserError, match=f"--from {file}: expected checkpoint_final.pth of fold 1"):
        read_source([file], tmp_path / "again", fold="1")


def test_a_checkpoint_in_a_models_folder_has_what_lies_beside(model):
    content = torch.load(checkpoint(model), weights_only=False)
    change(checkpoint(model), init_args=content["init_args"] | {"plans": {"configurations": {}}, "dataset_json": {}})
    assert read(checkpoint(model)).plans == json.loads((model / "plans.json").read_text())


def test_a_checkpoint_alone(model, tmp_path):
    content = torch.load(checkpoint(model), weights_only=False)
    plans, description = (json.loads((model / name).read_text()) for name in ("plans.json", "dataset.json"))
    alone = Path(shutil.copy(checkpoint(model), tmp_path / "alone.pth"))
    change(alone, init_args={"configuration": "3d_fullres", "plans": plans, "dataset_json": description})
    found = read(alone)
    assert equal(found, checkpoint(model))
    assert found.classes == ["organ", "wall", "tumour"]
    change(alone, init_args=None, trainer_name=None, inference_allowed_mirroring_axes=None)
    with pytest.raises(
        UserError, match=r"holds its plans, found none. Give them after it: --from alone.pth plans.json"
    ):
        read(alone)
    found = read(alone, model / "plans.json")
    assert (found.configuration_name, found.dataset_json, found.trainer) == ("3d_fullres", None, "")
    assert found.mirroring_axes is None
    for order in (("plans.json", "dataset.json"), ("dataset.json", "plans.json")):
        assert read(alone, *(model / name for name in order)).classes == ["organ", "wall", "tumour"]
    assert content.keys() >= {"init_args"}


@pytest.mark.parametrize("names", [["plans.json", "plans.json"], ["other.json"], ["missing.json"]])
def test_other_files_after_a_checkpoint(model, names):
    (model / "other.json").write_text("{}")
    with pytest.raises(UserError, match=r"expected its plans.json or dataset.json, each at most once, found "):
        read(checkpoint(model), *(model / name for name in names))


def test_folders_that_hold_no_model(model, tmp_path):
    with pytest.raises(UserError, match=r"Give one of the models in it: nnUNetTrainer__nnUNetPlans__3d_fullres\."):
        read(model.parent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="Give the folder with fold_0"):
        read(tmp_path / "empty")
    with pytest.raises(UserError, match="expected a model's folder, its zip file or a checkpoint, found none"):
        read(tmp_path / "missing")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"nnssl_adaptation_plan": {}, "network_weights": {}}, "for 'architecture_plans' of nnssl_adaptation_plan, fo"),
        ({"nnssl_adaptation_plan": {"a": torch.zeros(1)}, "network_weights": {}}, "nnssl_adaptation_plan of text and "),
        ({"nnssl_adaptation_plan": {}, "network_weights": [1]}, "expected tensors by name under 'network_weights'"),
        (
            {"spark_weights": {}, "network_weights": {}},
            "with nnssl's add_adaptation_plan, or give --from file.pth adap",
        ),
        ({"state_dict": {}, "epoch": 3, "plot_stuff": []}, "found one of v1"),
        ({"weights": {}}, "found no 'network_weights' in it"),
        ([1], "found no 'network_weights' in it"),
        (
            {"network_weights": {"a": 1}},
            "expected tensors by name under 'network_weights', found dict with other values",
        ),
        ({"network_weights": [1]}, "expected tensors by name under 'network_weights', found list with other values"),
        ({"network_weights": {}, "init_args": {"plans": {"x": torch.zeros(1)}}}, "of text and numbers in init_args"),
        ({"network_weights": {}, "inference_allowed_mirroring_axes": 3}, "expected axes or None under"),
        ({"network_weights": {}, "inference_allowed_mirroring_axes": ["x"]}, "expected axes or None under"),
        ({"network_weights": {}, "init_args": [1]}, "expected a checkpoint that holds its plans, found none"),
    ],
)
def test_other_checkpoints(tmp_path, content, text):
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(UserError) as error:
        read(tmp_path / "file.pth")
    assert text in str(error.value)


def test_a_file_that_looks_like_a_zip(tmp_path):
    (tmp_path / "file.pth").write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(UserError, match=r"file.pth: expected an intact checkpoint"):
        read(tmp_path / "file.pth")


class Harmful:
    def __reduce__(self):
        return print, ("run",)


def test_code_in_a_checkpoint_is_not_run(model, capsys):
    change(checkpoint(model), logging=Harmful())
    with pytest.raises(UserError, match="may run code"):
        read(model)
    assert capsys.readouterr().out == ""
    assert equal(read(model, trust=True), checkpoint(model))
    assert capsys.readouterr().out.startswith("run\n")


@pytest.mark.parametrize("trainer", ["MultiHeadTrainer", "UniSegTrainer"])
def test_a_task_view(untrained, trainer):
    """Its plans, its classes and the collection's weights with its heads; the collection has no classes of its own."""
    results = untrained / "results"
    (view,) = (results / "Dataset902_Nested").glob(f"{trainer}__*")
    found = read(view)
    assert (found.classes, found.plans["dataset_name"]) == (["organ", "wall", "tumour"], "Dataset902_Nested")
    shared = results / "Dataset900_Shared" / f"{trainer}__CollectionLitePlans__3d_fullres"
    table = TaskTable.read(found.plans)
    number = table.index("nested")
    first = sum(table.heads[:number]) if trainer == "MultiHeadTrainer" else 0
    assert number > 0
    for model, file in ((found, checkpoint(shared)), (read(checkpoint(view, "1")), checkpoint(shared, "1"))):
        whole = torch.load(file, weights_only=False)["network_weights"]
        heads = {name: tensor[first : first + 3] for name, tensor in whole.items() if "seg_layers" in name}
        assert heads
        assert model.weights.keys() == whole.keys()
        assert all(torch.equal(tensor, (whole | heads)[name]) for name, tensor in model.weights.items())
        assert model.classes == ["organ", "wall", "tumour"]
    for place in (shared, checkpoint(shared)):
        with pytest.raises(
            UserError, match=r"found that of a collection, .* a task's view \(organ, nested, slab, pair, co"
        ):
            read(place)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_weights_of_a_wrapped_network(model, prefix):
    """DDP and torch.compile put prefixes before all names."""
    content = torch.load(checkpoint(model), weights_only=False)
    bare = content["network_weights"]
    change(checkpoint(model), network_weights={f"{prefix}{name}": tensor for name, tensor in bare.items()})
    found = read(model).weights
    assert list(found) == list(bare)
    assert all(torch.equal(found[name], bare[name]) for name in bare)


@pytest.mark.parametrize("kind", ["resenc", "plain"])
def test_a_network_that_nnssl_pre_trained(tmp_path, kind):
    """Its encoder alone, with plans of nnU-Net; the decoder restored images."""
    network = network_of(kind)
    found = read(write_nnssl(tmp_path / "a.pth", network, adaptation_plan(network)))
    encoder = {name for name in network.state_dict() if name.removeprefix("decoder.").startswith("encoder.")}
    assert found.weights.keys() == encoder
    assert all(torch.equal(found.weights[name], network.state_dict()[name]) for name in encoder)
    assert (found.dataset_json, found.trainer, found.mirroring_axes) == (None, "BaseMAETrainer_BS8", (0, 1, 2))
    assert (found.configuration_name, found.spacing, found.patch_size) == ("onemmiso", (1.0,) * 3, (160,) * 3)
    assert found.architecture["arch_kwargs"] == kwargs_of(network)
    assert found.pretraining.dataset == "Dataset745_OpenMind"


def test_a_network_that_restores_images(model):
    """Encoder and decoder, although nnssl's adaptation plan is there; its heads know no class."""
    network = network_of()
    before = change(checkpoint(model), nnssl_adaptation_plan=adaptation_plan(network))
    arguments = before["init_args"] | {"nnunet_ext": {"restores_images": True}}
    change(checkpoint(model), init_args=arguments)
    found = read(model)
    assert found.weights.keys() == {name for name in before["network_weights"] if "seg_layers" not in name}
    assert any("transpconvs" in name for name in found.weights)
    assert (found.classes, found.pretraining) == ([], None)


def test_an_adaptation_plan_outside_of_the_checkpoint(tmp_path):
    """As in nnssl's folder; a sparse network's checkpoint has none. Its own one wins."""
    network = network_of()
    folder = tmp_path / "SparkMAETrainer__nnsslPlans__onemmiso"
    (folder / "fold_all").mkdir(parents=True)
    file = write_nnssl(folder / "fold_all/checkpoint_final.pth", network, None, spark_weights={})
    plan = folder / "adaptation_plan.json"
    plan.write_text(json.dumps(adaptation_plan(network, spacing=[2.0, 2.0, 2.0])))
    for content in ({}, {"nnssl_adaptation_plan": None}):
        torch.save(torch.load(file, weights_only=False) | content, file)
        for places in ((folder,), (file, plan), (file,)):
            assert read_source(places, tmp_path).spacing == (2.0, 2.0, 2.0)
    both = tmp_path / "as_downloaded"
    both.mkdir()
    shutil.copy(plan, both)
    shutil.copy(file, both)
    assert read(both).spacing == (2.0, 2.0, 2.0)
    write_nnssl(file, network, adaptation_plan(network))
    assert read(folder).spacing == (1.0, 1.0, 1.0)
    (folder / "plans.json").write_text("{}")  # nnssl's own may lie there, too
    assert read(folder).spacing == (1.0, 1.0, 1.0)
    (folder / "plans.json").unlink()
    (folder / "dataset.json").write_text("{}")  # a folder of nnU-Net's
    with pytest.raises(UserError, match=r"expected a model's folder with plans.json and dataset.json"):
        read(folder)


def test_code_that_an_adaptation_plan_names(tmp_path):
    network = network_of()
    plan = adaptation_plan(network)
    plan["architecture_plans"]["arch_kwargs"]["nonlin"] = "subprocess.Popen"
    file = write_nnssl(tmp_path / "a.pth", network, plan)
    with pytest.raises(
        UserError, match=r"expected classes of networks, but configuration 'onemmiso' names 'subprocess.Po"
    ):
        read(file)
    assert read(file, trust=True).architecture["arch_kwargs"]["nonlin"] == "subprocess.Popen"
