"""ModelNet10: things of ten kinds as voxels (Z. Wu et al., 2015), in the .npz form of 30 x 30 x 30."""

from pathlib import Path

import numpy as np
import torch

from training.data.examples import DataMissing, Examples, first_line

FILE = "modelnet10.npz"
FORM = "X_train, X_test: voxels [count, 30, 30, 30], 0 or 1; y_train, y_test: numbers of the classes, by their names"


def read_modelnet10(folder: Path, training: bool) -> Examples:
    """Read uint8 voxels [count, 30, 30, 30, 1], 0 or 1. Raises DataMissing."""
    path, part = folder / FILE, "train" if training else "test"
    if not path.is_file():
        raise DataMissing(f"ModelNet10 is not in {folder}: name the folder that holds {FILE} with --data-dir: {FORM}")
    try:
        with path.open("rb") as file, np.load(file) as values:
            voxels, labels = values[f"X_{part}"].astype(np.uint8), values[f"y_{part}"].astype(np.int64)
    except Exception as error:  # numpy and zipfile raise a dozen types
        raise DataMissing(f"{path} cannot be read: {first_line(error)}") from error
    return Examples(torch.from_numpy(voxels).unsqueeze(-1), torch.from_numpy(labels))
