"""What several commands are told: which recipe, and where data, runs and models lie."""

import argparse
from pathlib import Path

from service.errors import UnknownName
from training.config import RECIPES, Recipe

DEFAULT = "fashion-mnist"
INTERRUPTED = 130  # the status that a shell reports for Ctrl-C: 128 + SIGINT


def add_places(parser: argparse.ArgumentParser, *, of_a_run: bool = False) -> None:
    """Add the name of a recipe and three folders; a name may be left out, where a run can be named instead."""
    parser.add_argument("name", nargs="?", default=None if of_a_run else DEFAULT, help=f"recipe and model ({DEFAULT})")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the data set (%(default)s)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (%(default)s)")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of all models (%(default)s)")


def recipe_of(name: str) -> Recipe:
    """Look a recipe up by name. Raises UnknownName."""
    if name not in RECIPES:
        raise UnknownName("recipe", name, RECIPES)
    return RECIPES[name]
