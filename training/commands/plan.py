"""What is to be trained: by which recipe, and beginning with which weights."""

import argparse
from pathlib import Path

from service.errors import InvalidRequest
from training.commands.own_data import add_folder, model_name
from training.commands.places import recipe_of
from training.config import Recipe, overridden
from training.data.folder import FOLDER
from training.networks.pretrained import PREFIX
from training.starting import Start, start_from_model, start_pretrained


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Add one's own pictures, and the weights to begin with."""
    add_folder(parser)
    parser.add_argument(
        "--from",
        type=Path,
        dest="begin",
        metavar="DIR",
        help="begin with the weights of this model, its newest version or that one, and a new head",
    )
    parser.add_argument(
        "--pretrained", action="store_true", help="begin with torchvision's weights for --network torchvision:NAME"
    )


def planned(options: argparse.Namespace) -> tuple[Recipe, Start | None]:
    """The recipe, its flags obeyed, and the weights to begin with; `options.name` becomes the model's name.

    Raises InvalidRequest, UnknownName, and whatever a model to begin with is refused for.
    """
    options.name = model_name(options)
    recipe = overridden(recipe_of(FOLDER if options.folder else options.name), vars(options))
    refuse_idle(recipe, options)
    if options.begin and options.pretrained:
        raise InvalidRequest("--from and --pretrained both name weights to begin with: choose one")
    if options.pretrained:
        return recipe, start_pretrained(recipe.network)
    if not options.begin:
        return recipe, None
    start = start_from_model(options.begin)
    return start.recipe_for(recipe, vars(options)), start


def refuse_idle(recipe: Recipe, options: argparse.Namespace) -> None:
    """Refuse a flag that would change nothing, and yet be written down. Raises InvalidRequest."""
    if "size" in options and recipe.data != FOLDER:
        raise InvalidRequest(f"--size is of your own pictures (--folder); {recipe.data} has a size of its own")
    if "width" in options and recipe.network.startswith(PREFIX):
        raise InvalidRequest(f"--width is of this project's networks; {recipe.network} has a width of its own")
