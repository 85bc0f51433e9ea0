"""`python -m training train`: train, keep the best, and measure it on the test set once, at the end."""

import argparse

from training.commands.export import write_model
from training.commands.own_data import check_fit, data_of, sized
from training.commands.places import INTERRUPTED, add_places
from training.commands.plan import add_plan, planned
from training.config import add_flags
from training.data.examples import split
from training.evaluate import by_torch, predict, report
from training.loop import train
from training.networks.table import build, parameters
from training.runs import following, record

ABOUT = "train a recipe's network; measure it on the test set once, at the end"


def add_train(parser: argparse.ArgumentParser) -> None:
    """Describe the command's flags."""
    parser.set_defaults(command=run_train)
    add_places(parser)
    add_plan(parser)
    parser.add_argument("--export", action="store_true", help="then write the next version of the model")
    add_flags(parser.add_argument_group("recipe", "each overrides a field of the recipe"))


def run_train(options: argparse.Namespace) -> int:
    """Train, measure, and with --export write the model."""
    recipe, start = planned(options)
    data = data_of(options, recipe, card=start.input if start else None)
    examples = data.read_training(options.data_dir)
    recipe = sized(recipe, options, len(examples.targets))
    learnt, chosen = split(examples, recipe.held_out, recipe.seed)
    check_fit(recipe, data.task, learnt)
    begin = start.fitted(recipe, data.task) if start else None
    if start:
        print(f"beginning with {start.origin}: all but the head, at a learning rate of {recipe.learning_rate}")
    size = parameters(build(recipe, data.task))
    counts = f"{len(learnt.targets):,} examples to learn from, {len(chosen.targets):,} to choose by"
    print(f"{options.name}: {size:,} parameters, {counts}")
    folder = following(options.runs / options.name)
    folder.mkdir(parents=True)
    outcome = train(recipe, data.task, learnt, chosen, folder, begin=begin)
    origin = (start.flag, start.origin) if start else ()
    run = record(folder, options.name, recipe, data.task, outcome, chosen, *origin)
    print(f"{folder}: epoch {run.epoch} kept, {run.validation_accuracy:.2%} of the validation examples right")
    if run.interrupted:
        print("interrupted: the best so far is kept; `python -m training export` makes a model of it")
        return INTERRUPTED
    if options.export:
        return write_model(run, options, None)
    test = data.read_test(options.data_dir)
    print(report(predict(by_torch(run.deployed()), test), test, data.task.labels))
    return 0
