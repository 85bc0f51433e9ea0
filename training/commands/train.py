"""`python -m training train`: train, keep the best, and measure that on the test set, at the end."""

import argparse
from contextlib import nullcontext
from functools import partial

import torch

from training.begun import Begun
from training.checkpoint import STATE
from training.commands.export import write_model
from training.commands.own_data import check_fit, data_of, sized
from training.commands.places import INTERRUPTED, add_places
from training.commands.plan import add_plan, planned
from training.commands.resume import add_resume, resumed
from training.commands.seeds import add_seeds, one_by_one, spread
from training.config import Recipe, add_flags
from training.data.examples import DataSet, Examples, Task, split
from training.distributed import Group, joined
from training.folders import following
from training.loop import Outcome, train
from training.networks.table import build, parameters
from training.records import Result, draw_history, judged, write_result
from training.resuming import begin, gone_on, held, refuse_other_data
from training.runs import Run, record
from training.starting import Start

ABOUT = "train a recipe's network; measure its best epoch on the test set, at the end"

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
            result = train_one(each, group)
            if result is None:
                print(STOPPED)
                return INTERRUPTED
            results.append(result)
        if options.seeds:
            print(spread(results))
        elif not options.export:
            print(results[0])
    return 0


def train_one(options: argparse.Namespace, group: Group) -> Result | None:
    """Train once, from the start or from where a run was cut off, and measure; None where somebody cut it short."""
    begun = group.led(partial(resumed, options)) if options.resume else None
    with group.leader_first():
        recipe, start = (begun.recipe, None) if begun else planned(options)
    data, examples = read_training(options, recipe, begun, start, group)
    recipe = recipe if begun else sized(recipe, options, len(examples.targets))
    learnt, chosen = split(examples, recipe.held_out, recipe.seed)
    check_fit(recipe, data.task, learnt, group.size)
    weights = start.fitted(recipe, data.task) if start else None
    announce(options.name, recipe, data.task, (len(learnt.targets), len(chosen.targets)), start)
    if begun is None:
        begun = group.led(partial(begun_now, options, recipe, data.task, start, group))
    with held(begun.folder) if group.leads else nullcontext():
        begun = group.led(partial(gone_on, begun, group))
        outcome = train(recipe, data.task, learnt, chosen, begun.folder, group, weights)
        return group.led(partial(concluded, begun, outcome, chosen, data, options, group.device))


def read_training(
    options: argparse.Namespace, recipe: Recipe, begun: Begun | None, start: Start | None, group: Group
) -> tuple[DataSet, Examples]:
    """The data set, and its part to learn from; other data than a run was begun with are refused."""
    card = begun.task.input if begun else start.input if start else None
    with group.leader_first():
        data = data_of(options, recipe, card=card)
        if begun:
            refuse_other_data(begun, data.task)
        with torch.device("meta"):  # which takes no memory
            build(recipe, data.task)  # a network that there is not is refused before anything is read
        return data, data.read_training(options.data_dir)


def announce(name: str, recipe: Recipe, task: Task, counts: tuple[int, int], start: Start | None) -> None:
    """Say what is about to be trained, and by how many examples it learns and is chosen."""
    if start:
        print(f"beginning with {start.origin}: all but the head, at a learning rate of {recipe.learning_rate}")
    size = parameters(build(recipe, task))
    print(f"{name}: {size:,} parameters, {counts[0]:,} examples to learn from, {counts[1]:,} to choose by")


def begun_now(options: argparse.Namespace, recipe: Recipe, task: Task, start: Start | None, group: Group) -> Begun:
    """Begin a run in the next folder of its name."""
    folder, name = following(options.runs / options.name), options.name
    flag, origin = (start.flag, start.origin) if start else ("", "")
    return begin(folder, name, recipe, task, group, flag, origin)


def concluded(
    begun: Begun,
    outcome: Outcome,
    chosen: Examples,
    data: DataSet,
    options: argparse.Namespace,
    device: torch.device,
) -> Result | None:
    """Record and draw what training left; unless it was cut short, measure it, and with --export make a model of it."""
    run = record(begun, outcome, chosen, device)
    draw_history(outcome, run.folder)
    print(f"{run.folder}: epoch {run.epoch} kept, {run.validation_accuracy:.2%} of the validation examples right")
    if run.interrupted:
        return None
    test = data.read_test(options.data_dir)
    result = measured(run, test, device)
    if options.export:
        write_model(run, data, test, options, None)
    return result


def measured(run: Run, test: Examples, device: torch.device) -> Result:
    """Measure a run by the test set, and write that down; with it the run has come to its end."""
    result = judged(run, test, device)
    write_result(result)
    (run.folder / STATE).unlink(missing_ok=True)
    return result
