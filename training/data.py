"""Data sets by name, as tensors in memory: pixels as they are on disk, one label a picture."""

import gzip
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets
from torchvision.transforms import v2

from service.errors import ConvscopeError, InvalidRequest, UnknownName
from service.inference.contract.card import InputCard
from training.config import Recipe

TOGETHER = 4  # pictures that share one random draw: v2 draws once a call, and a call for each picture is slow


class DataMissing(ConvscopeError):
    """A data set that is not there and cannot be had, or whose files cannot be read."""


class Examples(NamedTuple):
    """Pictures and what they show."""

    pixels: Tensor  # uint8 [count, height, width, channels]
    targets: Tensor  # int64 [count], index into the labels


@dataclass(frozen=True)
class DataSet:
    """A named data set: what it is, and the function that reads its training or its test part from a folder."""

    title: str
    licence: str
    labels: tuple[str, ...]
    input: InputCard
    mean: tuple[float, ...]  # of the training pixels scaled to 0..1, per channel
    std: tuple[float, ...]
    read: Callable[[Path, bool], Examples]

    def read_training(self, folder: Path) -> Examples:
        """Read the part to learn from. Raises DataMissing."""
        return self._fitting(self.read(folder, True), folder)

    def read_test(self, folder: Path) -> Examples:
        """Read the part that nothing may be chosen by. Raises DataMissing."""
        return self._fitting(self.read(folder, False), folder)

    def _fitting(self, examples: Examples, folder: Path) -> Examples:
        shape = tuple(examples.pixels.shape[1:])
        if shape != self.input.shape or not len(examples.targets) or int(examples.targets.max()) >= len(self.labels):
            raise DataMissing(
                f"the files in {folder} are of another data set: other labels, or pictures of shape {shape}"
            )
        return examples


def data_set(name: str) -> DataSet:
    """Look a data set up by name. Raises UnknownName."""
    if name not in DATA_SETS:
        raise UnknownName("data set", name, DATA_SETS)
    return DATA_SETS[name]


def split(examples: Examples, held_out: int, seed: int) -> tuple[Examples, Examples]:
    """Part `examples` by `seed` into those to learn from and `held_out` others to choose by.

    Raises InvalidRequest when that leaves nothing to learn from.
    """
    count = len(examples.targets)
    if held_out >= count:
        raise InvalidRequest(f"--held-out {held_out} leaves nothing to learn from: there are {count} pictures")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    kept, chosen = order[held_out:], order[:held_out]
    return (
        Examples(examples.pixels[kept], examples.targets[kept]),
        Examples(examples.pixels[chosen], examples.targets[chosen]),
    )


def augmentation(recipe: Recipe, height: int, width: int) -> Callable[[Tensor], Tensor]:
    """Random shifting and erasing of uint8 pixels [count, height, width, channels], as the recipe says.

    Draws from torch's global generator. Same shape and dtype out.
    """
    transform = v2.Compose(
        [
            v2.RandomCrop((height, width), padding=recipe.shift, padding_mode="reflect"),
            v2.RandomErasing(recipe.erase, scale=(min(0.02, recipe.erase_share), recipe.erase_share)),
        ]
    )

    def augment(pixels: Tensor) -> Tensor:
        groups = torch.split(pixels.permute(0, 3, 1, 2), TOGETHER)
        return torch.cat([transform(group) for group in groups]).permute(0, 2, 3, 1)

    return augment


def _read_fashion_mnist(folder: Path, training: bool) -> Examples:
    parts = {True: "train", False: "t10k"}
    names = {part: [f"{part}-{what}-ubyte" for what in ("images-idx3", "labels-idx1")] for part in parts.values()}
    if not all(_find(folder, name) for part in names.values() for name in part):
        _download(folder)
    images, labels = (_read_idx(folder, name) for name in names[parts[training]])
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DataMissing(f"the {parts[training]} pictures and labels in {folder} do not belong together")
    return Examples(images.unsqueeze(-1), labels.long())


def _download(folder: Path) -> None:
    try:
        datasets.FashionMNIST(folder, download=True)
    except (OSError, RuntimeError) as error:
        raise DataMissing(
            f"Fashion-MNIST is not in {folder} and cannot be downloaded ({_first_line(error)}): "
            "name the folder that holds its four *-ubyte.gz files with --data-dir"
        ) from error


def _read_cifar10(folder: Path, training: bool) -> Examples:
    try:
        pictures = datasets.CIFAR10(folder, training, download=not (folder / "cifar-10-batches-py").is_dir())
    except (OSError, RuntimeError) as error:
        raise DataMissing(
            f"CIFAR-10 is not in {folder} and cannot be downloaded ({_first_line(error)}): "
            "name the folder that holds cifar-10-batches-py with --data-dir"
        ) from error
    return Examples(torch.from_numpy(pictures.data), torch.tensor(pictures.targets))


def _find(folder: Path, name: str) -> Path | None:
    """Find the file where torchvision puts it, or packed or unpacked in `folder` itself, as Debian has it."""
    places = (folder, folder / "FashionMNIST" / "raw")
    candidates = (place / (name + suffix) for place in places for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _read_idx(folder: Path, name: str) -> Tensor:
    path = _find(folder, name) or folder / name
    try:
        data = path.read_bytes()
        return _parse_idx(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataMissing(f"{path} cannot be read: {_first_line(error)}") from error


def _parse_idx(data: bytes) -> Tensor:
    """Parse IDX: 0, 0, 8 for uint8, the rank, each extent as a big-endian uint32, the values in C order.

    The format is LeCun's, described beside the MNIST database. Raises ValueError.
    """
    if data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * data[3]:
        raise ValueError("it is no IDX file of bytes")
    start = 4 + 4 * data[3]
    shape = [int(extent) for extent in np.frombuffer(data, ">u4", data[3], offset=4)]
    if len(data) != start + math.prod(shape):
        raise ValueError("it is cut short, or too long")
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy())


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(":")


DATA_SETS: dict[str, DataSet] = {
    "fashion-mnist": DataSet(
        title="Fashion-MNIST, Zalando SE: 60,000 pictures to learn from, 10,000 to test",
        licence="MIT",
        labels=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        input=InputCard(
            name="pixels", kind="image", size=(28, 28), channels=1, colour="GREY", layout="NHWC", dtype="uint8"
        ),
        mean=(0.2860,),
        std=(0.3530,),
        read=_read_fashion_mnist,
    ),
    "cifar10": DataSet(
        title="CIFAR-10, Alex Krizhevsky: 50,000 pictures to learn from, 10,000 to test",
        licence="free for research; cite Krizhevsky, 2009",
        labels=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        input=InputCard(
            name="pixels", kind="image", size=(32, 32), channels=3, colour="RGB", layout="NHWC", dtype="uint8"
        ),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        read=_read_cifar10,
    ),
}
