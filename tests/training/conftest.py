"""A small Fashion-MNIST, made up: ten kinds of stripes, learnt in seconds, in the real set's own file format."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from training.checkpoint import CHECKPOINT
from training.config import Recipe
from training.data.examples import Examples
from training.data.table import data_set
from training.learner import Epoch
from training.loop import train

TRAINING, TEST = 200, 60
FASHION = data_set("fashion-mnist")
TINY = Recipe(width=2, epochs=2, batch=32, held_out=40, seed=3)
ROWS = (Epoch(1, 2.0, 0.3, 1.8, 0.4), Epoch(2, 1.0, 0.6, 0.9, 0.7))

Make = Callable[[int, int], Examples]


def idx(values: NDArray[np.uint8]) -> bytes:
    head = bytes([0, 0, 8, values.ndim]) + b"".join(extent.to_bytes(4, "big") for extent in values.shape)
    return head + values.tobytes()


def stripes(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count).astype(np.uint8)
    pixels = random.integers(0, 60, (count, 28, 28)).astype(np.uint8)
    for picture, label in zip(pixels, labels, strict=True):
        picture[2 * label + 2 : 2 * label + 6] += 150
    return pixels, labels


def settled(network: nn.Module) -> nn.Module:
    """Give the normalisations statistics and weights worth folding."""
    torch.manual_seed(5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.bias.data):
                assert values is not None
                values.normal_()
            for values in (module.running_var, module.weight.data):
                assert values is not None
                values.uniform_(0.5, 2)
    return network.eval()


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fashion-mnist")
    for part, count, seed in (("train", TRAINING, 1), ("t10k", TEST, 2)):
        pixels, labels = stripes(count, seed)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return folder


@pytest.fixture
def examples() -> Make:
    def make(count: int, seed: int) -> Examples:
        pixels, labels = stripes(count, seed)
        return Examples(torch.from_numpy(pixels).unsqueeze(-1), torch.from_numpy(labels).long())

    return make


@pytest.fixture
def made(examples: Make) -> tuple[Examples, Examples]:
    return examples(160, 1), examples(40, 2)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / CHECKPOINT)


def trained(folder: Path, made: tuple[Examples, Examples], seed: int = TINY.seed) -> dict[str, torch.Tensor]:
    folder.mkdir()
    train(replace(TINY, seed=seed), FASHION.task, *made, folder)
    return weights(folder)
