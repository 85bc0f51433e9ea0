"""How pictures become numbers: the ways in use, and which of them a model was trained with, found by trying."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.errors import InvalidRequest, UnreadablePicture
from service.inference.contract.card import ModelCard
from service.inference.inputs.reading import read_picture
from service.inference.serving.model import Model, stack

MOST_PICTURES = 200  # of a folder, evenly chosen: enough to tell one way from another
MOST_PIXELS = 100_000_000

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, of RGB in 0 to 1
CAFFE_MEAN = (104.0, 117.0, 123.0)  # BGR in 0 to 255, as Caffe's reference models have it

Ways = dict[str, dict[str, object]]


@dataclass(frozen=True)
class Trial:
    """One way, the card that says so, and the share of pictures that were recognised with it."""

    name: str
    card: ModelCard
    accuracy: float


def ways(channels: int) -> Ways:
    """The preprocessings in use, by name, as fields of an InputCard; per channel in the order of its colour."""
    plain: Ways = {
        "0 to 255": {"scale": 1.0, "mean": (), "std": ()},
        "0 to 1": {"scale": 1 / 255, "mean": (), "std": ()},
        "-1 to 1": {"scale": 1 / 127.5, "mean": (1.0,) * channels, "std": ()},
    }
    if channels == 1:
        return {f"grey, {name}": {"colour": "GREY", **fields} for name, fields in plain.items()}
    coloured: Ways = {
        f"{colour}, {name}": {"colour": colour, **fields} for colour in ("RGB", "BGR") for name, fields in plain.items()
    }
    imagenet = {"scale": 1 / 255, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    turned = {"scale": 1 / 255, "mean": IMAGENET_MEAN[::-1], "std": IMAGENET_STD[::-1]}
    caffe = {"scale": 1.0, "mean": CAFFE_MEAN, "std": ()}
    return coloured | {
        "RGB, ImageNet's mean and deviation": {"colour": "RGB", **imagenet},
        "BGR, ImageNet's mean and deviation": {"colour": "BGR", **turned},
        "BGR, Caffe's mean": {"colour": "BGR", **caffe},
    }


def trials(model: Model, card: ModelCard, folder: Path) -> list[Trial]:
    """Try every way on the labelled pictures of `folder`, a sub-folder per class; the best first.

    Raises InvalidRequest where the folder's names are not the card's labels, or it holds no picture.
    """
    pictures = list(_pictures(folder, card.labels))
    if not pictures:
        raise InvalidRequest(f"{folder} has no pictures in sub-folders named after labels")
    chosen = pictures[:: max(1, -(-len(pictures) // MOST_PICTURES))]
    found = [Trial(name, changed, accuracy(model, changed, chosen)) for name, changed in _changed(card)]
    return sorted(found, key=lambda trial: -trial.accuracy)


def _changed(card: ModelCard) -> Iterator[tuple[str, ModelCard]]:
    """The card with each way; a uint8 input takes pixels as they are, in whatever order."""
    for name, fields in ways(card.input.channels).items():
        if card.input.dtype != "uint8" or (fields["scale"] == 1.0 and not fields["mean"]):
            yield name, with_input(card, fields)


def with_input(card: ModelCard, fields: Mapping[str, object]) -> ModelCard:
    """`card` with other fields of its input, checked anew."""
    return ModelCard.model_validate({**card.model_dump(), "input": {**card.input.model_dump(), **fields}})


def accuracy(model: Model, card: ModelCard, pictures: Sequence[tuple[Path, int]]) -> float:
    """The share of (file, index of its label) whose highest score is that label's; what cannot be read is left out."""
    right = [_best(model, card, file) == index for file, index in pictures if _is_readable(file, card)]
    return sum(right) / max(1, len(right))


def _best(model: Model, card: ModelCard, file: Path) -> int:
    array = read_picture(file.read_bytes(), card.input, max_pixels=MOST_PIXELS)
    [outputs] = model.run([stack([{card.input.name: array}])])
    scores = np.asarray(outputs[card.output.name]).ravel()
    return (
        int(scores[0] > (0.5 if card.output.activation == "none" else 0)) if len(scores) == 1 else int(scores.argmax())
    )


def _is_readable(file: Path, card: ModelCard) -> bool:
    try:
        read_picture(file.read_bytes(), card.input, max_pixels=MOST_PIXELS)
    except UnreadablePicture:
        return False
    return True


def _pictures(folder: Path, labels: Sequence[str]) -> Iterator[tuple[Path, int]]:
    names = {_key(synonym): index for index, label in enumerate(labels) for synonym in (label, *label.split(","))}
    for sub in sorted(path for path in folder.iterdir() if path.is_dir()):
        if _key(sub.name) not in names:
            raise InvalidRequest(f"folder {sub.name!r} is no label of the model; give the labels in order by --labels")
        yield from ((file, names[_key(sub.name)]) for file in sorted(sub.iterdir()) if file.is_file())


def _key(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
