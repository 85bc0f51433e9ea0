"""Your own pictures: a folder with a sub-folder for each class, read as the service reads what it is sent."""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from service.errors import TooLarge, UnreadablePicture
from service.inference.contract.card import InputCard
from service.inference.inputs.budget import PixelBudget
from service.inference.inputs.reading import read_picture
from training.data.examples import DataMissing, DataSet, Examples, Task, first_line

FOLDER = "folder"  # the data set's name, and that of its recipe
TRAINING, TEST = "train", "test"
TEST_SHARE = 5  # one picture in five, of each class, where there is no folder of test pictures
LOTS = 2**64
SKIPPED_SHARE = 0.1  # more unreadable pictures than this are no accident
MAX_PIXELS, MAX_BYTES = 100_000_000, 64 * 2**20  # as the service has them by default

Pixels = NDArray[np.generic]
Classes: TypeAlias = Mapping[str, list[Path]]


class Picture(NamedTuple):
    """What became of one file: its pixels, or why there are none."""

    pixels: Pixels | None
    smaller: bool = False  # than the network's input, on one side at least
    reason: str = ""


def own_pictures(size: int) -> InputCard:
    """Colour pictures of `size` x `size` pixels, cut from the middle, whatever size and form they come in."""
    return InputCard(
        name="pixels",
        kind="image",
        size=(size, size),
        channels=3,
        colour="RGB",
        layout="NHWC",
        dtype="uint8",
        fit="crop",
    )


def picture_folder(
    folder: Path, card: InputCard, task: Task | None = None, say: Callable[[str], None] = print
) -> DataSet:
    """Make a data set of `folder`: its sub-folders are the classes, or those of its `train` and `test`.

    Where there is no `test`, about a fifth of each class is set aside: by the files' names alone, so that none changes
    sides when others come or with another seed, but in a class so small that none or all fall into that fifth. Pictures
    come as `card` says, uint8 [count, height, width, channels]; unreadable ones are skipped, and `say` is told how
    many. With a `task`, that of a network trained on them before, its labels must be the same, and only the test part
    is read; without one all is read, for the mean and spread of the part to learn from. The data set's own functions
    read nothing more, whatever folder they are given. Raises DataMissing.
    """
    try:
        training, test = _parts(folder)
    except OSError as error:
        raise DataMissing(f"{folder} cannot be read: {error.strerror or error}") from error
    labels = tuple(training)
    if task is not None and task.labels != labels:
        raise DataMissing(f"{folder} has the classes {_listed(labels)}, the network knows {_listed(task.labels)}")
    parts = {False: _examples(test, card, TEST, say)}
    if task is None:
        parts[True] = _examples(training, card, TRAINING, say)
        task = Task(labels, card, *_mean_and_spread(parts[True]))
    return DataSet(
        title=f"your own pictures, of {len(labels)} classes",
        licence="unknown: your own pictures",
        task=task,
        read=lambda _folder, training: parts[training],
    )


def _parts(folder: Path) -> tuple[Classes, Classes]:
    """Files by class, to learn from and to test."""
    if not folder.is_dir():
        raise DataMissing(f"there is no folder {folder}")
    whole = folder / TRAINING if (folder / TRAINING).is_dir() else folder
    training = _classes(whole)
    if whole == folder or not (folder / TEST).is_dir():
        return _split(training)
    test = _classes(folder / TEST)
    if set(test) != set(training):
        odd = sorted(set(test) ^ set(training))
        raise DataMissing(f"{TRAINING} and {TEST} in {folder} must have the same classes; in one only: {_listed(odd)}")
    return training, test


def _classes(folder: Path) -> Classes:
    """Files of each class by its name, both sorted; hidden ones do not count."""
    names = sorted(path.name for path in _visible(folder.iterdir(), folder) if path.is_dir())
    if len(names) < 2:
        found = f"only {names[0]!r}" if names else "none"
        raise DataMissing(
            f"{folder} must have a sub-folder of pictures for each of at least two classes; it has {found}"
        )
    if odd := [name for name in names if not name.isprintable()]:
        raise DataMissing(f"{folder}: a class is named as its folder, and {odd[0]!r} is no printable text")
    files = {name: sorted(p for p in _visible((folder / name).rglob("*"), folder) if p.is_file()) for name in names}
    if empty := [name for name in names if not files[name]]:
        raise DataMissing(f"{folder}: no pictures of {_listed(empty)}")
    return files


def _visible(paths: Iterable[Path], folder: Path) -> Iterable[Path]:
    return (path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _split(classes: Classes) -> tuple[Classes, Classes]:
    """Of each class those to learn from, and those to test by: about a fifth, at least one picture of each part."""
    if few := [name for name, files in classes.items() if len(files) < 2]:
        raise DataMissing(f"one picture each of {_listed(few)}: one to learn from and one to test by are the least")
    training, test = {}, {}
    for name, files in classes.items():
        drawn = sorted(files, key=_lot)
        count = sum(_lot(file) * TEST_SHARE < LOTS for file in files)
        count = min(max(1, count), len(files) - 1)
        test[name], training[name] = sorted(drawn[:count]), sorted(drawn[count:])
    return training, test


def _lot(file: Path) -> int:
    """A number below LOTS, drawn by the file's name and that of its folder."""
    return int.from_bytes(sha256(f"{file.parent.name}/{file.name}".encode()).digest()[:8])


def _examples(classes: Classes, card: InputCard, part: str, say: Callable[[str], None]) -> Examples:
    """Decode the files of all classes."""
    files = [(path, target) for target, paths in enumerate(classes.values()) for path in paths]
    pictures = decode((path for path, _ in files), card)
    read = [(picture.pixels, target) for picture, (_, target) in zip(pictures, files, strict=True)]
    kept = [(pixels, target) for pixels, target in read if pixels is not None]
    _tell(part, [path for path, _ in files], pictures, card, say)
    targets = torch.tensor([target for _, target in kept])
    if missing := [name for index, name in enumerate(classes) if index not in targets]:
        raise DataMissing(f"{part}: no readable picture of {_listed(missing)}")
    return Examples(torch.from_numpy(np.stack([pixels for pixels, _ in kept])), targets)


def _tell(part: str, files: list[Path], pictures: list[Picture], card: InputCard, say: Callable[[str], None]) -> None:
    """Say how many pictures were skipped or are small. Raises DataMissing where too many were skipped."""
    count = len(pictures)
    if skipped := [(path, picture.reason) for path, picture in zip(files, pictures, strict=True) if picture.reason]:
        path, reason = skipped[0]
        sentence = f"{part}: {len(skipped):,} of {count:,} files are no readable pictures; {str(path)!r}: {reason}"
        if len(skipped) > SKIPPED_SHARE * count:
            raise DataMissing(f"{sentence}; more than {SKIPPED_SHARE:.0%} of them are too many to skip")
        say(f"{sentence}; skipped")
    if small := sum(picture.smaller for picture in pictures):
        height, width = card.size
        say(f"{part}: {small:,} of {count:,} pictures are smaller than {width} x {height} pixels and are enlarged")


def decode(files: Iterable[Path], card: InputCard) -> list[Picture]:
    """Read pictures as the service does, side by side, in their order."""
    budget = PixelBudget(MAX_PIXELS)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda path: _read(path, card, budget), files))


def _read(path: Path, card: InputCard, budget: PixelBudget) -> Picture:
    try:
        if path.stat().st_size > MAX_BYTES:
            return Picture(None, reason=f"larger than {MAX_BYTES // 2**20} MiB")
        data = path.read_bytes()
        pixels = read_picture(data, card, max_pixels=MAX_PIXELS, budget=budget)
        with Image.open(BytesIO(data)) as header:
            return Picture(pixels, smaller=min(header.size) < min(card.size) or max(header.size) < max(card.size))
    except OSError as error:
        return Picture(None, reason=error.strerror or first_line(error))
    except UnreadablePicture as error:
        return Picture(None, reason=error.reason)
    except TooLarge as error:
        return Picture(None, reason=first_line(error).removeprefix("image 0: "))


def _mean_and_spread(examples: Examples) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels scaled to 0..1; a channel that never varies has spread 1.

    Counted by value, not summed by pixel: a histogram is exact.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    counts = [torch.bincount(plane.flatten(), minlength=256) for plane in examples.inputs.unbind(-1)]
    shares = [count / count.sum() for count in counts]
    means = [float((share * values).sum()) for share in shares]
    spreads = [float((share * (values - mean) ** 2).sum()) ** 0.5 for share, mean in zip(shares, means, strict=True)]
    return tuple(means), tuple(spread or 1.0 for spread in spreads)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return ", ".join(repr(name) for name in names[:5]) + more
