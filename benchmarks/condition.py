"""How much DoDNet's image vectors differ between images, pooled after and before the last normalization.

    python benchmarks/condition.py --images "$nnUNet_raw/Dataset004_Hippocampus/imagesTr" --count 12

Untrained U-Nets with instance norm, 8 features, four stages; each image normalized and cut or padded to
40x56x40. Prints the mean over all pairs of images of the distance of their vectors over the vectors' mean length.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path

import nibabel
import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn

from nnunet_ext.collection.network.dodnet import DoDNet

SIZE = (40, 56, 40)


def image(file: Path) -> Tensor:
    """Return an image (1, 1, *SIZE)."""
    values = nibabel.load(file).get_fdata(dtype=np.float32)  # type: ignore[attr-defined]
    values = (values - values.mean()) / values.std()
    made = np.zeros(SIZE, np.float32)
    part = tuple(slice(0, min(pair)) for pair in zip(values.shape, SIZE, strict=True))
    made[part] = values[part]
    return torch.from_numpy(made)[None, None]


def network(kind: str, condition: str, seed: int) -> DoDNet:
    """Return an untrained network, the same one for each condition."""
    torch.manual_seed(seed)
    plain = kind == "plain"
    unet = (PlainConvUNet if plain else ResidualEncoderUNet)(
        input_channels=1,
        n_stages=4,
        features_per_stage=[8, 16, 32, 64],
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[1, 2, 2, 2],
        num_classes=8,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        **{"n_conv_per_stage" if plain else "n_blocks_per_stage": 1},
    )
    unet.apply(InitWeights_He(1e-2))
    return DoDNet(unet, heads=(2, 2), channels=(1,), condition=condition).eval()


@torch.no_grad()
def difference(made: DoDNet, images: list[Tensor]) -> float:
    """Return the mean relative distance of two images' vectors."""
    vectors = [made.encode(x)[1][0] for x in images]
    length = float(torch.stack(vectors).norm(dim=1).mean())
    return float(np.mean([float((one - other).norm()) / length for one, other in combinations(vectors, 2)]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="a folder of NIfTI images")
    parser.add_argument("--count", type=int, default=12, help="how many of them, from the first on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    read = [image(file) for file in sorted(options.images.glob("*_0000.nii.gz"))[: options.count]]
    print("| encoder | seed | pooled | pre_norm |\n|---|---:|---:|---:|")
    for kind in ("plain", "residual"):
        for seed in options.seeds:
            found = [difference(network(kind, name, seed), read) for name in ("pooled", "pre_norm")]
            print(f"| {kind} | {seed} | {found[0]:.3f} | {found[1]:.3f} |")
