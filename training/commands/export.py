"""`python -m training export`: a run's network, or a module of your own, becomes a version of a model."""

import argparse
from pathlib import Path

from service.errors import InvalidRequest
from training.commands.module import add_module, export_own
from training.commands.own_data import add_folder, data_of, model_name
from training.commands.places import add_places, recipe_of
from training.commands.versions import free_version
from training.data.examples import DataSet, Examples
from training.export import export
from training.folders import newest
from training.runs import RECORD, Run, read

ABOUT = "write a run's network, or a module of your own, as the next version of a model"


def add_export(parser: argparse.ArgumentParser) -> None:
    """Describe the command's flags."""
    parser.set_defaults(command=run_export)
    add_places(parser, of_a_run=True)
    add_folder(parser)
    parser.add_argument("--run", type=Path, help="folder of a run (the newest)")
    parser.add_argument("--version", type=int, help="of the model (the next)")
    add_module(parser.add_argument_group("your own module", "instead of a run"))


def run_export(options: argparse.Namespace) -> int:
    """Write a run's network, or a module, as a version of the model."""
    if options.module:
        return export_own(options)
    if options.model or options.weights or options.labels or options.pictures:
        raise InvalidRequest("--name, --weights, --labels and --pictures are about a --module")
    run = named_run(options) if options.run else newest_run(options)
    data = data_of(options, run.recipe, run.task)
    write_model(run, data, data.read_test(options.data_dir), options, options.version)
    return 0


def named_run(options: argparse.Namespace) -> Run:
    """The run `--run`; the model is called as it is. Raises InvalidRequest, RunMissing."""
    run = read(options.run)
    if options.name not in (None, run.name):
        raise InvalidRequest(f"{options.run} is a run of {run.name}, not of {options.name}: leave the name out")
    options.name = run.name
    return run


def newest_run(options: argparse.Namespace) -> Run:
    """The newest run of the name. Raises InvalidRequest, RunMissing, UnknownName."""
    options.name = model_name(options)
    if not (options.runs / options.name).is_dir():
        recipe_of(options.name)
    return read(newest(options.runs / options.name, RECORD))


def write_model(run: Run, data: DataSet, test: Examples, options: argparse.Namespace, number: int | None) -> None:
    """Export `run` as version `number`, or the next one, measured by `test`."""
    folder = free_version(options.models / options.name, number)
    print(f"{export(run, data, test, folder)}\n\nwritten: {folder}")
