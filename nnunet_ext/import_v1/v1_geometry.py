"""The U-Net of nnU-Net v1, read from the shapes of its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nnunet_ext.errors import UserError

CONTEXT = re.compile(r"conv_blocks_context\.(\d+)\.((?:\d+\.)?blocks\.\d+)\.conv(?:_\d+)?\.weight")
DECODER = re.compile(r"conv_blocks_localization\.(\d+)\..*\.conv\.weight")
STEM = re.compile(r"conv_blocks_context\.0\.blocks\.0\.conv(?:_\d+)?\.weight")
UPSAMPLING, HEAD, PROMPT = "tu.{}.weight", "seg_outputs.{}.weight", "intermedia_prompt"

Size = tuple[int, ...]


@dataclass(frozen=True)
class V1Geometry:
    """Sizes of the network; axes are those of v1 after its transposition.

    Args:
        kernels: Kernel size of each encoder stage, full resolution first.
        strides: Stride into each encoder stage; 1 into the first.
        features: Features of each encoder stage.
        convs: Convolutions in each encoder stage.
        decoder_convs: Convolutions in each decoder stage, the lowest resolution first, as v2 counts them.
        stems: Numbers of input channels: one, but for UniSeg.
        heads: Logits.
        prompt: Shape of UniSeg's prompt, (1, T, D, H, W); None for other networks.
    """

    kernels: tuple[Size, ...]
    strides: tuple[Size, ...]
    features: Size
    convs: Size
    decoder_convs: Size
    stems: Size
    heads: int
    prompt: Size | None

    @classmethod
    def of(cls, weights: Mapping[str, Tensor], file: Path) -> V1Geometry:
        """Read the sizes.

        Args:
            weights: v1's state dict.
            file: The checkpoint, for messages.

        Raises:
            UserError: A tensor is missing, or is not that of a convolution.
        """
        blocks: dict[int, dict[str, Size]] = {}
        for name in sorted(weights):
            if match := CONTEXT.fullmatch(name):
                blocks.setdefault(int(match[1]), {}).setdefault(match[2], _shape(weights, name, file))
        stages = len(blocks)
        if stages < 2 or sorted(blocks) != list(range(stages)):
            raise UserError(
                f"{file}: expected the stages 0, 1, ... of nnU-Net v1's encoder (conv_blocks_context.*), found "
                f"{sorted(blocks) or 'none'}. Give a checkpoint of v1's plain U-Net."
            )
        first = [next(iter(blocks[stage].values())) for stage in range(stages)]
        strides = [_shape(weights, UPSAMPLING.format(stages - 1 - stage), file)[2:] for stage in range(1, stages)]
        prompt = weights.get(PROMPT)
        decoder = [match[1] for match in map(DECODER.fullmatch, weights) if match]
        return cls(
            kernels=tuple(shape[2:] for shape in first),
            strides=(tuple(1 for _ in strides[0]), *strides),
            features=tuple(shape[0] for shape in first),
            convs=tuple(len(blocks[stage]) for stage in range(stages)),
            decoder_convs=tuple(decoder.count(str(stage)) for stage in range(stages - 1)),
            stems=tuple(sorted({_shape(weights, name, file)[1] for name in weights if STEM.fullmatch(name)})),
            heads=_shape(weights, HEAD.format(stages - 2), file)[0],
            prompt=None if prompt is None else tuple(prompt.shape),
        )

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return len(self.kernels[0])

    @property
    def total_stride(self) -> Size:
        """Stride from the image to the bottleneck."""
        total = [1] * self.dimensions
        for stride in self.strides:
            total = [length * step for length, step in zip(total, stride, strict=True)]
        return tuple(total)

    @property
    def shifted(self) -> bool:
        """Whether v1's decoder, which uses the kernel of the stage below, has other kernels than v2's."""
        return self.kernels[1:] != self.kernels[:-1]

    def check_plans(
        self,
        weights: Mapping[str, Tensor],
        file: Path,
        *,
        pools: Sequence[Sequence[int]],
        kernels: Sequence[Sequence[int]],
        base_features: int,
        channels: int,
    ) -> None:
        """Refuse plans of another network; the largest number of features is not in v1's plans, so it is not compared.

        Args:
            weights: v1's state dict.
            file: The checkpoint, for messages.
            pools: Stride into each stage but the first, as the v1 plans say.
            kernels: Kernel size of each stage, as they say.
            base_features: Features at full resolution, as they say.
            channels: Input channels, as they say; not compared where there are several stems.

        Raises:
            UserError: The first tensor that differs, with both shapes.
        """
        features = [min(base_features * 2**stage, max(self.features)) for stage in range(len(kernels))]
        inputs = [channels if len(self.stems) == 1 and self.prompt is None else 0, *features]
        expected: dict[str, Size] = {}
        for stage, kernel in enumerate(kernels):
            name = _first_of(weights, stage)
            before = inputs[stage] or tuple(weights[name].shape)[1] if name in weights else inputs[stage]
            expected[name] = (features[stage], before, *kernel)
        for stage, pool in enumerate(reversed(pools)):
            above = features[len(pools) - 1 - stage : len(pools) + 1 - stage]
            prompted = 1 if stage == 0 and self.prompt is not None else 0
            expected[UPSAMPLING.format(stage)] = (above[-1] + prompted, above[0], *pool)
        surplus = UPSAMPLING.format(len(pools))
        if surplus in weights and surplus not in expected:
            expected[surplus] = ()
        for name, shape in expected.items():
            found = tuple(weights[name].shape) if name in weights else ()
            if found != shape:
                raise UserError(
                    f"{file}: expected {name!r} of shape {shape or None} as the plans say, found {found or None}. Give "
                    f"the plans of this training."
                )


def _first_of(weights: Mapping[str, Tensor], stage: int) -> str:
    """Name of the first convolution of an encoder stage."""
    matches = (match for match in map(CONTEXT.fullmatch, sorted(weights)) if match and int(match[1]) == stage)
    match = next(matches, None)
    return f"conv_blocks_context.{stage}.blocks.0.conv.weight" if match is None else match[0]


def _shape(weights: Mapping[str, Tensor], name: str, file: Path) -> Size:
    """Shape of the weights of a convolution."""
    found = tuple(weights[name].shape) if name in weights else None
    if found is None or len(found) not in (4, 5):
        raise UserError(
            f"{file}: expected {name!r} with the weights of a 2d or 3d convolution, found "
            f"{'none' if found is None else f'shape {found}'}. Give a checkpoint of v1's plain U-Net with transposed "
            f"convolutions."
        )
    return found
