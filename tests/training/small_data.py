"""Small data sets in the publishers' forms, made here; a pickle that would do harm, a network that leads nowhere."""

import hashlib
import os
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
from numpy.typing import NDArray

RANDOM = np.random.default_rng(6)


def unreachable(*_: object, **__: object) -> None:
    raise URLError("no route")


def written(path: Path, values: object) -> str:
    """Pickle `values` into `path`; the digest that torchvision wants to see."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(values))
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def signals(count: int) -> tuple[NDArray[np.float64], list[int]]:
    return RANDOM.standard_normal((count, 40)), [number % 10 for number in range(count)]


def voxels(path: Path, count: int = 12) -> None:
    solid = RANDOM.integers(0, 2, (count, 30, 30, 30)).astype(bool)
    kinds = np.arange(count) % 10
    np.savez_compressed(path, X_train=solid, y_train=kinds, X_test=solid[::2], y_test=kinds[::2])


class Harmful:
    """Whoever unpickles it runs something."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch harmed",)
