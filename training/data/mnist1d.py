"""MNIST-1D: forty samples of a signal for each of ten digits (S. Greydanus and D. Kobak, 2020)."""

import pickle
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from training.data.examples import DataMissing, Examples, first_line

PUBLISHED, PACKED = "mnist1d_data.pkl", "mnist1d.npz"
KEYS = {
    PUBLISHED: {True: ("x", "y"), False: ("x_test", "y_test")},
    PACKED: {True: ("x_train", "y_train"), False: ("x_test", "y_test")},
}


def read_mnist1d(folder: Path, training: bool) -> Examples:
    """Read float32 signals [count, 40, 1] from the authors' pickle or from the .npz form. Raises DataMissing."""
    path = next((folder / name for name in KEYS if (folder / name).is_file()), None)
    if path is None:
        raise DataMissing(
            f"MNIST-1D is not in {folder}: put {PUBLISHED} there, from github.com/greydanus/mnist1d, or {PACKED}, or "
            "name the folder that holds it with --data-dir"
        )
    try:
        with path.open("rb") as file, np.load(file) if path.name == PACKED else _unpickled(file) as values:
            signals, labels = (np.asarray(values[key]) for key in KEYS[path.name][training])
        return Examples(torch.from_numpy(signals.astype(np.float32)).unsqueeze(-1), torch.from_numpy(labels).long())
    except Exception as error:  # a damaged pickle raises anything
        raise DataMissing(f"{path} cannot be read: {first_line(error)}") from error


ARRAYS = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy")
NEEDED = ("_reconstruct", "scalar", "ndarray", "dtype")


class _Arrays(pickle.Unpickler):
    """Reads arrays and nothing else: a pickle could run whatever it likes."""

    def find_class(self, module: str, name: str) -> Any:
        if module not in ARRAYS or name not in NEEDED:
            raise pickle.UnpicklingError(f"it wants {module}.{name}, which is no array")
        return super().find_class(module, name)


def _unpickled(file: BinaryIO) -> AbstractContextManager[dict[str, Any]]:
    return nullcontext(_Arrays(file).load())
