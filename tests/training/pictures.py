"""Folders of made-up pictures: each class a colour, in files of several sizes and formats."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
FORMATS = ("png", "jpg", "webp", "bmp", "gif")


def filled(folder: Path, count: int, *, seed: int, colour: str, size: int = 24) -> None:
    """Put `count` pictures into `folder`, of formats in turn and of sizes from `size` on."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for index in range(count):
        height, width = size + index % 3, size + 2 * (index % 2)
        noise = random.integers(-40, 40, (height, width, 3))
        pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.{FORMATS[index % len(FORMATS)]}")


def pets(folder: Path, *colours: str, training: int = 20, test: int = 6) -> Path:
    """A folder of `train` and `test`, a sub-folder for each colour."""
    for seed, colour in enumerate(colours):
        filled(folder / "train" / colour, training, seed=seed, colour=colour)
        filled(folder / "test" / colour, test, seed=100 + seed, colour=colour)
    return folder
