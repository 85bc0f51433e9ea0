"""Your own pictures on the command line: whose folder, which model's name, and whether recipe and data fit together."""

import argparse
import re
from dataclasses import replace
from pathlib import Path

import torch

from service.errors import InvalidRequest
from service.inference.contract.card import InputCard
from training.commands.places import DEFAULT
from training.config import RECIPES, Recipe
from training.data.examples import DataSet, Examples, Task, first_line
from training.data.folder import FOLDER, own_pictures, picture_folder
from training.data.table import data_set
from training.networks.table import build

HELD_OUT_SHARE = 5  # one picture in five chooses the checkpoint, unless --held-out says how many
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Add the folder of one's own pictures."""
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="your own pictures, a sub-folder per class; or such in train/, test/"
    )


def model_name(options: argparse.Namespace) -> str:
    """The model's name: of your own pictures any that no recipe has, else `folder`. Raises InvalidRequest."""
    name: str = options.name or DEFAULT
    if not options.folder:
        return name
    if name in (DEFAULT, FOLDER):
        return FOLDER
    if name in RECIPES:
        raise InvalidRequest(
            f"{name} is the name of a recipe for other data: call the model of your pictures otherwise"
        )
    return proper(name)


def proper(name: str) -> str:
    """`name`, if a model can bear it: as a folder and in addresses. Raises InvalidRequest."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(f"{name!r} is no name for a model: letters, digits, dots, dashes and underscores make one")
    return name


def data_of(
    options: argparse.Namespace, recipe: Recipe, task: Task | None = None, card: InputCard | None = None
) -> DataSet:
    """The data that `recipe` names; of your own pictures only the test part where a network's `task` is given.

    They come as the task has them, else as `card` does, of another model, at the recipe's size. Raises InvalidRequest,
    UnknownName, DataMissing.
    """
    own: bool = recipe.data == FOLDER
    if own and not options.folder:
        raise InvalidRequest("its data are your own pictures: name their folder with --folder")
    if options.folder and not own:
        raise InvalidRequest(f"--folder is for your own pictures, and this is about {recipe.data}")
    if not own:
        return data_set(recipe.data)
    if task is not None:
        return picture_folder(options.folder, task.input, task)
    if card is None:
        return picture_folder(options.folder, own_pictures(recipe.size))
    if card.kind != "image" or card.dtype != "uint8":
        raise InvalidRequest(f"the model to begin with takes a {card.kind} of {card.dtype}, and your data are pictures")
    size = card.size if recipe.size == card.size[0] else (recipe.size, recipe.size)
    return picture_folder(options.folder, card.model_copy(update={"size": size}))


def sized(recipe: Recipe, options: argparse.Namespace, count: int) -> Recipe:
    """`recipe` for `count` pictures of your own: a fifth is held out, unless a flag said how many."""
    if recipe.data != FOLDER or "held_out" in vars(options):
        return recipe
    return replace(recipe, held_out=max(1, count // HELD_OUT_SHARE))


def check_fit(recipe: Recipe, task: Task, learnt: Examples, processes: int = 1) -> None:
    """Try recipe and data on each other before the first epoch: one step forward. Raises InvalidRequest."""
    smallest = max(1, (len(learnt.targets) % recipe.batch or recipe.batch) // processes)
    shape = " x ".join(map(str, task.input.size))
    if task.input.kind == "image" and recipe.shift >= min(task.input.size):
        raise InvalidRequest(f"--shift {recipe.shift} moves pictures of {shape} out of sight")
    if task.input.kind != "image" and recipe.erase:
        raise InvalidRequest(f"--erase covers a part of a picture, and the data holds {task.input.kind}s")
    try:
        with torch.no_grad():
            build(recipe, task).train()(learnt.inputs[: min(2, smallest)])
    except (RuntimeError, ValueError, ZeroDivisionError, AssertionError) as error:
        raise InvalidRequest(
            f"network {recipe.network} cannot learn from batches of {smallest} to {recipe.batch} inputs of {shape}: "
            f"{first_line(error)}"
        ) from error
