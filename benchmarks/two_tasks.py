"""Does TransDoDNet learn two tasks? Optimizers and activations of the controller on a toy problem.

    python benchmarks/two_tasks.py --steps 400 --seeds 0 1 2

Every image is noise with a bright and a dark ball; one task is the bright ball, the other the dark one. Each seed
trains both tasks in turn with nnU-Net's loss, clipping at 12 and polynomial decay, and is scored on unseen images: the
Dice of both tasks and the share of the controller's hidden units that are below 0 for both tasks on all of them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from torch import Tensor, nn

from nnunet_ext.methods.transdodnet.architecture import TransDoDNet

SIZE, RADIUS, EPOCHS = (12, 16, 16), 3.0, 40


def images(count: int) -> tuple[Tensor, Tensor]:
    """Return images (B, 1, D, H, W) and for each task a target, (B, 2, D, H, W)."""
    axes = torch.meshgrid(*[torch.arange(length) for length in SIZE], indexing="ij")
    grid = torch.stack(axes).float()
    balls = torch.zeros(count, 2, *SIZE)
    for ball in balls.flatten(0, 1):
        centre = torch.tensor([RADIUS + float(torch.rand(())) * (length - 2 * RADIUS) for length in SIZE])
        ball[:] = (grid - centre[:, None, None, None]).square().sum(0) < RADIUS**2
    balls[:, 1] *= 1 - balls[:, 0]
    noise = 0.5 * torch.randn(count, *SIZE)
    return (noise + balls[:, 0] - balls[:, 1])[:, None], balls


def network(hidden: int, activation: str) -> TransDoDNet:
    """Return TransDoDNet over a small U-Net of nnU-Net's kind."""
    unet = PlainConvUNet(
        input_channels=1,
        n_stages=3,
        features_per_stage=[8, 16, 32],
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[1, 2, 2],
        n_conv_per_stage=1,
        num_classes=2,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )
    return TransDoDNet(unet, heads=(2, 2), channels=(1,), hidden_channels=hidden, controller_activation=activation)


def trained(seed: int, optimizer: str, rate: float, activation: str, steps: int, hidden: int) -> TransDoDNet:
    """Return a network trained for so many steps, the tasks taking turns."""
    torch.manual_seed(seed)
    made = network(hidden, activation)
    weights = made.parameters()
    kind: torch.optim.Optimizer = (
        torch.optim.AdamW(weights, rate, weight_decay=1e-4)
        if optimizer == "AdamW"
        else torch.optim.SGD(weights, rate, momentum=0.99, nesterov=True, weight_decay=3e-5)
    )
    schedule = PolyLRScheduler(kind, rate, EPOCHS)
    loss = DC_and_CE_loss(
        {"batch_dice": False, "smooth": 1e-5, "do_bg": False, "ddp": False}, {}, dice_class=MemoryEfficientSoftDiceLoss
    )
    for step in range(steps):
        schedule.step(step * EPOCHS // steps)
        x, balls = images(2)
        task = step % 2
        made.set_task(task)
        loss(made(x), balls[:, task : task + 1]).backward()
        nn.utils.clip_grad_norm_(made.parameters(), 12)
        kind.step()
        kind.zero_grad()
    return made.eval()


@torch.no_grad()
def scores(made: TransDoDNet, x: Tensor, balls: Tensor) -> tuple[list[float], float]:
    """Return the Dice of each task and the share of silent units."""
    dice = []
    for task in range(2):
        made.set_task(task)
        found, truth = made(x).argmax(1), balls[:, task]
        dice.append(float(2 * (found * truth).sum() / (found.sum() + truth.sum())))
    return dice, float(made.silent_units(x).float().mean())


def run(arms: Sequence[tuple[str, float, str]], seeds: Sequence[int], steps: int, hidden: int) -> None:
    """Print a row for each arm and seed."""
    torch.manual_seed(1000)
    unseen = images(8)
    print("| optimizer | rate | activation | seed | bright | dark | silent units |\n|---|---:|---|---:|---:|---:|---:|")
    for optimizer, rate, activation in arms:
        for seed in seeds:
            dice, silent = scores(trained(seed, optimizer, rate, activation, steps, hidden), *unseen)
            found = " | ".join("-" if math.isnan(value) else f"{value:.3f}" for value in dice)
            print(f"| {optimizer} | {rate:g} | {activation} | {seed} | {found} | {100 * silent:.0f} % |", flush=True)


def arm(words: str) -> tuple[str, float, str]:
    """Read OPTIMIZER:RATE:ACTIVATION."""
    optimizer, rate, activation = words.split(":")
    return optimizer, float(rate), activation


ARMS = ["SGD:0.01:relu", "SGD:0.01:leaky_relu", "AdamW:2e-4:relu", "AdamW:2e-4:leaky_relu", "AdamW:1e-3:leaky_relu"]

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", type=arm, default=[arm(words) for words in ARMS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--hidden", type=int, default=192, help="channels of the transformer")
    options = parser.parse_args()
    run(options.arms, options.seeds, options.steps, options.hidden)
