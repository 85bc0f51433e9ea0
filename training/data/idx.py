"""MNIST's files, and those of the data sets made in its likeness: IDX, as they are or packed by gzip."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.data.examples import DataMissing, Examples, first_line

PARTS = {True: "train", False: "t10k"}


def read_idx(folder: Path, training: bool, source: Any) -> Examples:
    """Read pictures [count, 28, 28, 1] and labels from `folder`.

    They lie where `source`, torchvision's class of the data set, puts them, or in `folder` itself, as Debian has them;
    where they are not there, `source` downloads all. Raises DataMissing.
    """
    places = (folder, folder / source.__name__ / "raw")
    names = {part: [f"{part}-{what}-ubyte" for what in ("images-idx3", "labels-idx1")] for part in PARTS.values()}
    if not all(_find(places, name) for part in names.values() for name in part):
        _download(folder, source)
    images, labels = (_read(places, name) for name in names[PARTS[training]])
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise DataMissing(f"the {PARTS[training]} pictures and labels in {folder} do not belong together")
    return Examples(images.unsqueeze(-1), labels.long())


def _download(folder: Path, source: Any) -> None:
    try:
        source(folder, download=True)
    except (OSError, RuntimeError) as error:
        raise DataMissing(
            f"{source.__name__} is not in {folder} and cannot be downloaded ({first_line(error)}): "
            "name the folder that holds its four *-ubyte.gz files with --data-dir"
        ) from error


def _find(places: tuple[Path, ...], name: str) -> Path | None:
    candidates = (place / (name + suffix) for place in places for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _read(places: tuple[Path, ...], name: str) -> Tensor:
    path = _find(places, name) or places[0] / name
    try:
        data = path.read_bytes()
        return _parsed(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataMissing(f"{path} cannot be read: {first_line(error)}") from error


def _parsed(data: bytes) -> Tensor:
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
