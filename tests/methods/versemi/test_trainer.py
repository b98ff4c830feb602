"""VerSemiTrainer: what a step sees, computes and learns; reductions, refusals, resume."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunet_ext.cli.main import main
from nnunet_ext.errors import UserError
from nnunet_ext.methods.dodnet.trainer import DoDNetTrainer
from nnunet_ext.methods.versemi.card import WEIGHTS
from nnunet_ext.methods.versemi.trainer import VerSemiTrainer
from nnunet_ext.methods.versemi.unlabelled_members import frame_sources

NAME, PLANS = "Dataset900_Mixed", "CollectionLitePlans"
OFF = dict.fromkeys(WEIGHTS, 0)


def trainer(
    root: Path, kind: type = VerSemiTrainer, tasks: tuple[str, ...] = (), start: bool = True, **knobs: Any
) -> Any:
    """Make a trainer; with ``tasks`` of these members alone."""
    folder = root / "preprocessed" / NAME
    plans, description = (json.loads((folder / f"{name}.json").read_text()) for name in (PLANS, "dataset"))
    if tasks:
        _keep(root, plans, tasks)
    plans["nnunet_ext"] |= knobs
    run = kind(plans | {"continue_training": False}, "3d_fullres", 0, description, torch.device("cpu"))
    run.initialize()
    if start:
        run.dataloader_train, run.dataloader_val = run.get_dataloaders()
        run.on_train_epoch_start()
    return run


def _keep(root: Path, plans: dict[str, Any], tasks: tuple[str, ...]) -> None:
    kept = [task for task in plans["collection"]["tasks"] if task["name"] in tasks]
    plans["collection"]["tasks"] = kept
    for task in kept:
        file = root / "preprocessed" / task["dataset"] / f"{PLANS}_{NAME}.json"
        theirs = json.loads(file.read_text())
        theirs["collection"]["tasks"] = kept
        file.write_text(json.dumps(theirs))
    (root / "raw" / NAME / "dataset.json").unlink(missing_ok=True)


def steps(run: Any, number: int = 8) -> list[dict]:
    outputs = []
    for step in range(number):
        if step and step % run.num_iterations_per_epoch == 0:
            run.current_epoch += 1
            run.on_train_epoch_start()
        outputs.append(run.train_step(next(run.dataloader_train)))
    return outputs


ONE_CHANNEL = ("organ", "nested", "slab")
FAITHFUL = {"detach": False, "ema_decay": None, "other_task_threshold": None, "ramp": 0}


def test_labels_regions_ignored_voxels_and_another_number_of_channels(unlabelled_members):
    run = trainer(unlabelled_members)
    outputs = steps(run)
    run.on_train_epoch_end(outputs)
    run.on_validation_epoch_end([run.validation_step(next(run.dataloader_val)) for _ in range(4)])
    logged = run.task_logger.my_fantastic_logging
    assert all(math.isfinite(logged[name][-1]) for name in run.loss_parts)
    assert 0 <= logged["masked"][-1] <= 1
    found = [logged[f"foreground of {task} on unlabelled images"][-1] for task in (*ONE_CHANNEL, "pair")]
    assert all(0 < mean < 1 for mean in found)
    assert all(not output["foreground"] for output in outputs[:4])  # the warm-up
    assert all(output["consistency_loss"] == output["box_loss"] == 0 for output in outputs[:4])
    assert all(output["box_loss"] > 0 for output in outputs[4:])
    before = run.teacher().network.synthetic.clone()
    assert not torch.equal(before, run.network.synthetic)


def test_with_all_weights_zero_it_is_dodnet_bit_for_bit(unlabelled_members):
    weights, losses = [], []
    for kind, knobs in ((DoDNetTrainer, {}), (VerSemiTrainer, {"versemi": OFF})):
        run = trainer(unlabelled_members, kind, ONE_CHANNEL, multi_dataset={"mixed_batches": True}, **knobs)
        losses.append([float(output["loss"]) for output in steps(run)])
        weights.append(run.network.state_dict())
        assert run.loss_parts == ()
    assert losses[0] == losses[1]
    assert set(weights[1]) - set(weights[0]) == {"synthetic"}
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    assert "teacher" not in run.extra_state()


def test_a_step_has_one_pass_of_two_and_a_half_times_the_samples(unlabelled_members):
    run, seen = trainer(unlabelled_members, tasks=ONE_CHANNEL), []
    for part in (run.network.encoder, run.teacher().network.encoder):
        part.register_forward_hook(lambda module, given, _: seen.append((module.training, len(given[0]))))
    assert run.batch_size == 2
    steps(run, 5)
    of_student = [samples for trains, samples in seen if trains]
    of_teacher = [samples for trains, samples in seen if not trains]
    assert of_student == [3, 3, 3, 3, 5]  # two labelled and a pair; after the warm-up two frames more
    assert of_teacher == [1, 1, 1, 1, 3]


@pytest.mark.parametrize(
    ("own", "of_student", "of_teacher"),
    [
        ({"other_task_threshold": None}, [3, 5], [2]),  # only frames need the tasks
        ({"consistency_weight": 0, "box_weight": 0}, [3, 3], [1, 1]),
        ({"synthetic_weight": 0, "specific_weight": 0}, [2, 4], [2]),
        ({"ema_decay": None}, [3, 5], []),
    ],
)
def test_what_a_weight_or_a_teacher_costs(unlabelled_members, own, of_student, of_teacher):
    run, seen = trainer(unlabelled_members, tasks=ONE_CHANNEL, num_iterations_per_epoch=1, versemi=own), []
    teacher = run.teacher().network.encoder if run.ema_decay is not None else torch.nn.Identity()
    for name, part in (("student", run.network.encoder), ("teacher", teacher)):
        part.register_forward_hook(lambda _, given, __, name=name: seen.append((name, len(given[0]))))
    steps(run, 2)
    assert [samples for name, samples in seen if name == "student"] == of_student
    assert [samples for name, samples in seen if name == "teacher"] == of_teacher


@pytest.mark.parametrize("own", [FAITHFUL, FAITHFUL | {"detach": True, "aggregate": "noisy_or"}, {"mix": "within"}])
def test_other_knobs_train(unlabelled_members, own):
    run = trainer(unlabelled_members, num_iterations_per_epoch=1, versemi=own)
    outputs = steps(run, 2)
    assert all(math.isfinite(output["loss"]) for output in outputs)
    assert ("teacher" in run.extra_state()) is (run.ema_decay is not None)


@pytest.mark.parametrize(
    ("tasks", "frames"),
    [
        (("organ",), {0}),  # its unlabelled images
        (("nested",), set()),  # nothing is unlabelled
        (("nested", "slab"), {0, 1}),  # labelled images of one for the other task, too
        (("nested", "pair"), {1}),  # no other task reads the images of nested
    ],
)
def test_members_with_and_without_unlabelled_images(unlabelled_members, tasks, frames):
    run = trainer(unlabelled_members, tasks=tasks, start=False)
    assert {source.task for source in frame_sources(run)} == frames
    run.dataloader_train, _ = run.get_dataloaders()
    run.on_train_epoch_start()
    assert all(math.isfinite(output["loss"]) for output in steps(run, 5))


def test_labelled_images_are_drawn_as_often_as_unlabelled_ones(unlabelled_members):
    sources = frame_sources(trainer(unlabelled_members, start=False))
    assert [source.task for source in sources] == [0, 0, 1, 2, 2, 3]
    # three cases to train on, and two, none, one or one that are unlabelled
    assert [source.share for source in sources] == pytest.approx([0.4, 0.6, 1, 0.25, 0.75, 1])


def test_the_weight_of_the_agreement_grows_after_the_warm_up(unlabelled_members):
    run = trainer(unlabelled_members, num_epochs=10, num_iterations_per_epoch=10, start=False)
    assert [run._ramp(step) for step in (50, 55, 60, 99)] == pytest.approx([0, 0.5, 1, 1])
    run.knobs["versemi"]["ramp"] = 0
    assert run._ramp(50) == 1


def test_the_teacher_is_restored(unlabelled_members):
    run = trainer(unlabelled_members, tasks=ONE_CHANNEL)
    steps(run, 3)
    other = trainer(unlabelled_members, tasks=ONE_CHANNEL, start=False)
    other.load_extra_state(run.extra_state())
    theirs = other.teacher().network.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in run.teacher().network.state_dict().items())
    assert other.teacher().updates == 3


def test_gpu_memory_counts_all_samples(unlabelled_members):
    run = trainer(unlabelled_members, start=False)
    assert run.needed_gpu_memory(0).samples == 5
    run._weights = [1, 0, 0, 0]
    assert run.needed_gpu_memory(0).samples == 3
    run._weights = [0] * 4
    assert run.needed_gpu_memory(0).samples == 2


# bad input


def test_without_a_gradient_a_teacher_is_refused(unlabelled_members):
    with pytest.raises(UserError, match=r"versemi\.detach=false expects versemi\.ema_decay=null, .* got 0\.99"):
        trainer(unlabelled_members, versemi={"detach": False})


def test_a_batch_of_one_is_refused(unlabelled_members):
    for file in (unlabelled_members / "preprocessed").glob(f"*/{PLANS}*.json"):
        plans = json.loads(file.read_text())
        if "configurations" not in plans:
            continue
        plans["configurations"]["3d_fullres"]["batch_size"] = 1
        file.write_text(json.dumps(plans))
    with pytest.raises(UserError, match="expects a batch of at least 2 on each GPU, got 1"):
        trainer(unlabelled_members, start=False)
    trainer(unlabelled_members, start=False, versemi={"synthetic_weight": 0, "specific_weight": 0})


def test_unlabelled_images_that_are_not_preprocessed_are_refused(unlabelled_members):
    (place,) = (unlabelled_members / "preprocessed" / "Dataset903_Slab").glob("*_unlabelled")
    shutil.rmtree(place)
    command = f"preprocess_unlabelled -d 903 -p {PLANS}_{NAME} -c 3d_fullres"
    with pytest.raises(
        UserError, match=f"expected preprocessed unlabelled images of plans .* Run nnunet_ext {command}"
    ):
        trainer(unlabelled_members)
    assert main([*command.split(), "--no_pbar", "-np", "1"]) == 0
    trainer(unlabelled_members)


def test_an_unlabelled_image_that_another_member_validates_on_is_refused(unlabelled_members):
    run = trainer(unlabelled_members, start=False)
    with run.on_task(1):
        case = run.do_split()[1][0]
    raw = unlabelled_members / "raw"
    image = raw / "Dataset901_Organ" / "imagesUn" / "unlabelled_000_0000.nii.gz"
    image.unlink()
    image.symlink_to(raw / "Dataset902_Nested" / "imagesTr" / f"{case}_0000.nii.gz")
    assert main(["preprocess_unlabelled", "-d", "900", "-p", PLANS, "--no_pbar", "-np", "1"]) == 0
    with pytest.raises(UserError, match=f"no validation case of a member among .* found Dataset902_Nested/{case}"):
        run.get_dataloaders()
