"""`python -m training train NAME | export NAME | evaluate NAME | derive`: see `--help` of each."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from service.errors import ConvscopeError, InvalidRequest, UnknownName
from training.config import RECIPES, Recipe, add_flags, overridden
from training.data.examples import split
from training.data.table import data_set
from training.derive.command import ABOUT, add_derive
from training.evaluate import Predictor, by_onnx, by_torch, predict, report
from training.export import MODEL, WEIGHTS, ExportRefused, export, exported, exported_recipe
from training.loop import train
from training.networks.table import build, parameters
from training.runs import RECORD, Run, following, newest, read, record

REFUSED = 2
INTERRUPTED = 130  # what a shell reports for Ctrl-C: 128 + SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a refusal is one line on standard error and exit status 2."""
    options = parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except (ConvscopeError, OSError) as error:  # OSError: a folder that cannot be made or read
        print(f"error: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return status


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(prog="python -m training", description="Train, export and evaluate networks.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command, text in (
        (run_train, "train a recipe's network; measure it on the test set once, at the end"),
        (run_export, "write a run's network as the next version of a model"),
        (run_evaluate, "measure a version's weights and its ONNX file on the test set"),
    ):
        each = commands.add_parser(command.__name__.removeprefix("run_"), help=text, description=text)
        each.set_defaults(command=command)
        each.add_argument("name", nargs="?", default="fashion-mnist", help="recipe and model (%(default)s)")
        each.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of the data set (%(default)s)")
        each.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (%(default)s)")
        each.add_argument("--models", type=Path, default=Path("models"), help="folder of all models (%(default)s)")
        if command is run_train:
            each.add_argument("--export", action="store_true", help="then write the next version of the model")
            add_flags(each.add_argument_group("recipe", "each overrides a field of the recipe"))
        else:
            each.add_argument("--run", type=Path, help="folder of a run (for export: the newest)")
            each.add_argument("--version", type=int, help="of the model (export: the next; evaluate: the newest)")
    add_derive(commands.add_parser("derive", help=ABOUT, description=ABOUT))
    return top


def run_train(options: argparse.Namespace) -> int:
    """Train, measure, and with --export write the model."""
    recipe = overridden(recipe_of(options.name), vars(options))
    data = data_set(recipe.data)
    size = parameters(build(recipe, data.task))
    learnt, chosen = split(data.read_training(options.data_dir), recipe.held_out, recipe.seed)
    counts = f"{len(learnt.targets):,} examples to learn from, {len(chosen.targets):,} to choose by"
    print(f"{options.name}: {size:,} parameters, {counts}")
    folder = following(options.runs / options.name)
    folder.mkdir(parents=True)
    outcome = train(recipe, data.task, learnt, chosen, folder)
    run = record(folder, options.name, recipe, data.task, outcome, chosen)
    print(f"{folder}: epoch {run.epoch} kept, {run.validation_accuracy:.2%} of the validation examples right")
    if run.interrupted:
        print("interrupted: the best so far is kept; `python -m training export` makes a model of it")
        return INTERRUPTED
    if options.export:
        return write_model(run, options, None)
    test = data.read_test(options.data_dir)
    print(report(predict(by_torch(run.deployed()), test), test, data.task.labels))
    return 0


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


def run_evaluate(options: argparse.Namespace) -> int:
    """Measure a run's checkpoint, or a version's weights and its ONNX file."""
    if options.run:
        run = read(options.run)
        show(f"checkpoint of {options.run}", by_torch(run.deployed()), run.recipe, options.data_dir)
        return 0
    parent = options.models / options.name
    folder = parent / str(options.version) if options.version is not None else newest(parent, MODEL)
    recipe = exported_recipe(folder / MODEL)
    show(f"{folder / WEIGHTS}, by PyTorch", by_torch(exported(folder)), recipe, options.data_dir)
    show(f"\n{folder / MODEL}, by onnxruntime", by_onnx(folder / MODEL), recipe, options.data_dir)
    return 0


def show(title: str, predictor: Predictor, recipe: Recipe, data_dir: Path) -> None:
    """Print how `predictor` does on the test set."""
    data = data_set(recipe.data)
    test = data.read_test(data_dir)
    print(f"{title}\n{report(predict(predictor, test), test, data.task.labels)}")


def recipe_of(name: str) -> Recipe:
    """Look a recipe up by name. Raises UnknownName."""
    if name not in RECIPES:
        raise UnknownName("recipe", name, RECIPES)
    return RECIPES[name]


if __name__ == "__main__":
    sys.exit(main())
