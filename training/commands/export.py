"""`python -m training export`: a run's network becomes a version of a model."""

import argparse
from pathlib import Path

from service.errors import InvalidRequest
from training.commands.places import add_places, recipe_of
from training.data.table import data_set
from training.export import ExportRefused, export
from training.runs import RECORD, Run, following, newest, read

ABOUT = "write a run's network as the next version of a model"


def add_export(parser: argparse.ArgumentParser) -> None:
    """Describe the command's flags."""
    parser.set_defaults(command=run_export)
    add_places(parser)
    parser.add_argument("--run", type=Path, help="folder of a run (the newest)")
    parser.add_argument("--version", type=int, help="of the model (the next)")


def run_export(options: argparse.Namespace) -> int:
    """Write a run's network as a version of the model."""
    recipe_of(options.name)
    return write_model(read(options.run or newest(options.runs / options.name, RECORD)), options, options.version)


def write_model(run: Run, options: argparse.Namespace, number: int | None) -> int:
    """Export `run` as version `number`, or the next one."""
    parent = options.models / options.name
    folder = parent / str(number) if number is not None else following(parent)
    if number is not None and number < 1:
        raise InvalidRequest(f"--version must be at least 1, not {number}: the service serves no other")
    if folder.exists():
        raise ExportRefused(f"{folder} is there already: a version is never written twice")
    data = data_set(run.recipe.data)
    result = export(run, data, data.read_test(options.data_dir), folder)
    print(f"{result}\n\nwritten: {folder}")
    return 0
