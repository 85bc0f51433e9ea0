"""`python -m training train`: train, keep the best, and measure it on the test set once, at the end."""

import argparse
from contextlib import nullcontext
from functools import partial

from training.commands.export import write_model
from training.commands.own_data import check_fit, data_of, sized
from training.commands.places import INTERRUPTED, add_places
from training.commands.plan import add_plan, planned
from training.commands.resume import add_resume, resumed
from training.commands.seeds import add_seeds, one_by_one, spread
from training.config import Recipe, add_flags
from training.data.examples import DataSet, Examples, Task, split
from training.distributed import Group, joined
from training.loop import Outcome, train
from training.networks.table import build, parameters
from training.records import Result, draw_history, judged, write_result
from training.resuming import Begun, begin, held
from training.runs import Run, record
from training.starting import Start

ABOUT = "train a recipe's network; measure it on the test set once, at the end"

STOPPED = (
    "interrupted: the best so far is kept; go on with --resume, or make a model of it by `python -m training export`"
)


def add_train(parser: argparse.ArgumentParser) -> None:
    """Describe the command's flags."""
    parser.set_defaults(command=run_train)
    add_places(parser)
    add_plan(parser)
    add_resume(parser)
    add_seeds(parser)
    parser.add_argument("--export", action="store_true", help="then write the next version of the model")
    add_flags(parser.add_argument_group("recipe", "each overrides a field of the recipe"))


def run_train(options: argparse.Namespace) -> int:
    """Train, measure, and with --export write the model; with --seeds train and measure once for each."""
    results: list[Result] = []
    with joined() as group:
        for each in one_by_one(options):
            run, data = train_one(each, group)
            if run.interrupted:
                print(STOPPED)
                return INTERRUPTED
            results.append(group.led(partial(measured, run, data, each, group)))
        if options.seeds:
            print(spread(results))
        elif options.export:
            group.led(partial(write_model, run, options, None))
        else:
            print(results[0])
    return 0


def train_one(options: argparse.Namespace, group: Group) -> tuple[Run, DataSet]:
    """Train once, from the start or from where a run was cut off."""
    begun = group.led(partial(resumed, options)) if options.resume else None
    recipe, start = (begun.recipe, None) if begun else planned(options)
    data, examples = read_training(options, recipe, begun, start, group)
    recipe = recipe if begun else sized(recipe, options, len(examples.targets))
    learnt, chosen = split(examples, recipe.held_out, recipe.seed)
    check_fit(recipe, data.task, learnt)
    weights = start.fitted(recipe, data.task) if start else None
    announce(options.name, recipe, data.task, (len(learnt.targets), len(chosen.targets)), start)
    if begun is None:
        origin = (start.flag, start.origin) if start else ()
        parent = options.runs / options.name
        begun = group.led(partial(begin, parent, options.name, recipe, data.task, group, *origin))
    with held(begun.folder) if group.leads else nullcontext():
        outcome = train(recipe, data.task, learnt, chosen, begun.folder, group, weights)
        run = group.led(partial(finished, begun, outcome, chosen, group))
    return run, data


def read_training(
    options: argparse.Namespace, recipe: Recipe, begun: Begun | None, start: Start | None, group: Group
) -> tuple[DataSet, Examples]:
    """The data set, and its part to learn from; other data than a run was begun with are refused."""
    card = begun.task.input if begun else start.input if start else None
    with group.leader_first():
        data = data_of(options, recipe, card=card)
        if begun:
            begun.refuse_other_data(data.task)
        return data, data.read_training(options.data_dir)


def announce(name: str, recipe: Recipe, task: Task, counts: tuple[int, int], start: Start | None) -> None:
    """Say what is about to be trained, and by how many examples it learns and is chosen."""
    if start:
        print(f"beginning with {start.origin}: all but the head, at a learning rate of {recipe.learning_rate}")
    size = parameters(build(recipe, task))
    print(f"{name}: {size:,} parameters, {counts[0]:,} examples to learn from, {counts[1]:,} to choose by")


def finished(begun: Begun, outcome: Outcome, chosen: Examples, group: Group) -> Run:
    """Record and draw what training left."""
    origin = begun.start, begun.origin
    run = record(begun.folder, begun.name, begun.recipe, begun.task, outcome, chosen, *origin, group.device)
    draw_history(outcome, begun.folder)
    print(f"{run.folder}: epoch {run.epoch} kept, {run.validation_accuracy:.2%} of the validation examples right")
    return run


def measured(run: Run, data: DataSet, options: argparse.Namespace, group: Group) -> Result:
    """Measure what training left by the test set, and write that down."""
    result = judged(run, data.read_test(options.data_dir), group.device)
    write_result(result)
    return result
