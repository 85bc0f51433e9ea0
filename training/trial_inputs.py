"""Trial inputs: what a module and the file made of it are compared on."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.inference.contract.card import InputCard
from training.data.folder import decode
from training.state_dict import ModuleRefused

TRIED = 16  # at most


def noise(card: InputCard) -> NDArray[np.generic]:
    """A few inputs of noise [TRIED, *shape]: pixels of 0 to 255, or floats of mean 0 and spread 1."""
    random, shape = np.random.default_rng(0), (TRIED, *card.shape)
    if card.dtype == "uint8":
        return random.integers(0, 256, shape).astype(np.uint8)
    return random.standard_normal(shape).astype(np.float32)


def pictures(folder: Path, card: InputCard) -> NDArray[np.generic]:
    """The first few pictures that can be read in `folder` and below it, [count, *shape]. Raises ModuleRefused."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    files = [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    step = max(1, len(files) // TRIED)  # spread over the sub-folders
    read = [picture.pixels for picture in decode(files[::step][:TRIED], card)]
    found = [pixels for pixels in read if pixels is not None]
    if not found:
        raise ModuleRefused(f"no picture in {folder} can be read")
    return np.stack(found)
