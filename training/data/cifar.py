"""CIFAR-10 and CIFAR-100, read by torchvision; and of CIFAR-10 the cats and dogs alone."""

from pathlib import Path
from typing import Any

import torch

from training.data.examples import DataMissing, Examples, first_line

CAT, DOG = 3, 5  # among CIFAR-10's labels


def read_cifar(folder: Path, training: bool, source: Any) -> Examples:
    """Read pictures [count, 32, 32, 3] and labels by `source`, torchvision's class of the data set.

    Where they are not in `folder`, or not whole, it downloads them. Raises DataMissing.
    """
    try:
        try:
            pictures = source(folder, training)
        except RuntimeError:
            pictures = source(folder, training, download=True)
    except (OSError, RuntimeError) as error:
        raise DataMissing(
            f"{source.__name__} is not whole in {folder} and cannot be downloaded ({first_line(error)}): "
            f"name the folder that holds {source.base_folder} with --data-dir"
        ) from error
    return Examples(torch.from_numpy(pictures.data), torch.tensor(pictures.targets))


def cats_and_dogs(examples: Examples) -> Examples:
    """Of CIFAR-10's examples those that show a cat, now 0, or a dog, now 1."""
    chosen = (examples.targets == CAT) | (examples.targets == DOG)
    return Examples(examples.inputs[chosen], (examples.targets[chosen] == DOG).long())
