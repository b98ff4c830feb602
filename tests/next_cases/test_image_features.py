"""The vector of an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_model import phantom, write_image, write_small_model
from torch import nn

from nnunet_ext import sockets
from nnunet_ext.errors import UserError
from nnunet_ext.next_cases.image_features import ImageFeatures, _deepest
from nnunet_ext.prediction.trained_model import TrainedModel


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv(sockets.VARIABLE, "")
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)


def features(tmp_path, **options):
    return ImageFeatures(TrainedModel.load(write_small_model(tmp_path, **options)), torch.device("cpu"))


def bottleneck(network: nn.Module, patches: list[torch.Tensor]) -> list[np.ndarray]:
    """Outputs (F, d, h, w) of the last convolution of the encoder."""
    found: list[np.ndarray] = []
    *_, last = (module for module in network.encoder.modules() if isinstance(module, (nn.Conv2d, nn.Conv3d)))
    hook = last.register_forward_hook(lambda _, __, output: found.append(output[0].numpy()))
    with torch.inference_mode():
        for patch in patches:
            network(patch[None])
    hook.remove()
    return found


def test_the_mean_of_the_bottleneck_over_space_and_windows(tmp_path):
    vectors = features(tmp_path)
    image = torch.from_numpy(phantom((16, 16, 12)))
    parts = bottleneck(vectors.model.network, [image[:, :8], image[:, 8:]])
    assert parts[0].shape[1:] == (4, 4, 3)
    expected = np.mean([part.mean((1, 2, 3)) for part in parts], 0)
    np.testing.assert_allclose(vectors.of_image(image), expected, rtol=1e-5, atol=1e-6)
    assert not any(module._forward_hooks for module in vectors.model.network.modules())


def test_a_2d_model_averages_over_slices(tmp_path):
    vectors = features(tmp_path, patch_size=[16, 12], spacing=[1.0, 1.0])
    image = torch.from_numpy(phantom((3, 16, 12)))
    parts = bottleneck(vectors.model.network, list(image.transpose(0, 1)))
    expected = np.mean([part.mean((1, 2)) for part in parts], 0)
    np.testing.assert_allclose(vectors.of_image(image), expected, rtol=1e-5, atol=1e-6)


def test_files(tmp_path):
    vectors = features(tmp_path / "model")
    files = [tmp_path / f"{name}_0000.nii.gz" for name in "abc"]
    image = phantom((8, 16, 12))[0]
    other = phantom((8, 16, 12), seed=1)[0]
    noise = np.random.default_rng(0).standard_normal(image.shape).astype(np.float32)
    for file, content in zip(files, (image, image + noise, other), strict=True):
        write_image(file, content, (2.0, 1.0, 1.0))
    a, again, b = (vectors.of_files([file]) for file in files)
    assert a.shape == again.shape == b.shape
    assert 5 * np.linalg.norm(a - again) < np.linalg.norm(a - b)
    files[0].write_bytes(b"no image")
    with pytest.raises(UserError, match=r"a_0000\.nii\.gz: expected an intact image"):
        vectors.of_files(files[:1])


def test_the_last_of_the_smallest_counts_but_not_what_is_pooled_already():
    class Controlled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.deep = nn.Conv3d(1, 2, 1), nn.Conv3d(2, 2, 2, stride=2)
            self.deepest, self.control = nn.Conv3d(2, 3, 1), nn.Conv3d(3, 5, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            self.seen = self.deepest(self.deep(self.wide(image)))
            return self.control(self.seen.mean((2, 3, 4), keepdim=True))

    network = Controlled()
    with torch.no_grad(), _deepest(network) as windows:
        network(torch.randn(1, 1, 4, 4, 4))
        first = network.seen
        network(torch.randn(1, 1, 4, 4, 4))
    assert len(windows) == 2
    torch.testing.assert_close(windows[0], first[0].mean((1, 2, 3)))
    torch.testing.assert_close(windows[1], network.seen[0].mean((1, 2, 3)))


def test_a_network_without_convolutions(tmp_path):
    class Plain(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.repeat(1, 4, 1, 1, 1)

    model = TrainedModel.load(write_small_model(tmp_path))
    model.network = Plain()
    with pytest.raises(UserError, match=r"^nnUNetTrainer: expected a network with convolutions, found none\. Choose"):
        ImageFeatures(model, torch.device("cpu"))


def test_features_that_are_no_numbers(tmp_path):
    image = torch.from_numpy(phantom((8, 16, 12)))
    image[0, 3, 4, 5] = torch.nan
    with pytest.raises(UserError, match=r"^features: expected finite numbers in several voxels, found others\. Check"):
        features(tmp_path).of_image(image)


def test_a_compiled_network_is_run_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_compile", "true")
    compiled = TrainedModel.load(write_small_model(tmp_path / "compiled"))
    assert hasattr(compiled.network, "_orig_mod")
    monkeypatch.delenv("nnUNet_compile")
    image = torch.from_numpy(phantom((8, 16, 12)))
    plain = features(tmp_path / "plain").of_image(image)
    found = ImageFeatures(compiled, torch.device("cpu"))
    assert not hasattr(found.model.network, "_orig_mod")
    np.testing.assert_array_equal(found.of_image(image), plain)
