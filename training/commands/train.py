"""`python -m training train`: train, keep the best, and measure it on the test set once, at the end."""

import argparse

from training.commands.export import write_model
from training.commands.places import INTERRUPTED, add_places, recipe_of
from training.config import add_flags, overridden
from training.data.examples import split
from training.data.table import data_set
from training.evaluate import by_torch, predict, report
from training.loop import train
from training.networks.table import build, parameters
from training.runs import following, record

ABOUT = "train a recipe's network; measure it on the test set once, at the end"


def add_train(parser: argparse.ArgumentParser) -> None:
    """Describe the command's flags."""
    parser.set_defaults(command=run_train)
    add_places(parser)
    parser.add_argument("--export", action="store_true", help="then write the next version of the model")
    add_flags(parser.add_argument_group("recipe", "each overrides a field of the recipe"))


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
