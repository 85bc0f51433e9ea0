"""The trainings of a comparison, each kept in a folder of its own: a comparison that was cut off goes on."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import nn

from training.checkpoint import STATE
from training.compare.contest import varied
from training.compare.figures import NETWORKS, VARIANTS, Frozen, Network, Training, Variant
from training.compare.ground import Ground, first, installed
from training.compare.hardship import by_patch, by_shift
from training.config import Recipe, Value, as_values
from training.data.examples import Examples, split
from training.distributed import Group
from training.loop import judge, train
from training.resuming import begin
from training.runs import read, record

DONE = "compared.json"
TIMED = 2000  # pictures that predicting is timed on


class Conditions(Frozen):
    """All that the outcome of a training depends on."""

    recipe: dict[str, Value]
    data: str  # a digest
    judged_on: int
    versions: str
    threads: int


class Done(Frozen):
    """A finished training, and under which conditions it was done."""

    conditions: Conditions
    training: Training


def all_trainings(
    recipes: Mapping[Network, Recipe], seeds: Sequence[int], ground: Ground, runs: Path
) -> Iterator[Training]:
    """Train every network in every variant with every seed, and measure each; what `runs` holds already is not redone.

    Raises KeyboardInterrupt where somebody cuts a training short.
    """
    for seed, variant, network in product(seeds, VARIANTS, NETWORKS):
        recipe = varied(replace(recipes[network], seed=seed), variant)
        folder = folder_of(runs, network, variant, seed)
        now = conditions(recipe, ground)
        known = done(folder)
        if known is None or known.conditions != now:
            known = Done(conditions=now, training=one_training(recipe, network, variant, ground, folder))
            (folder / DONE).write_text(known.model_dump_json(indent=2) + "\n")
        yield known.training


def conditions(recipe: Recipe, ground: Ground) -> Conditions:
    """Those under which `recipe` would be trained now."""
    return Conditions(
        recipe=as_values(recipe),
        data=ground.digest,
        judged_on=ground.judged_on,
        versions=installed(),
        threads=torch.get_num_threads(),
    )


def folder_of(runs: Path, network: Network, variant: Variant, seed: int) -> Path:
    """Where a training is kept."""
    return runs / f"{network}-{variant}-{seed}"


def done(folder: Path) -> Done | None:
    """Read what a finished training left, if there is one."""
    try:
        return Done.model_validate_json((folder / DONE).read_text())
    except (OSError, ValidationError):
        return None


def one_training(recipe: Recipe, network: Network, variant: Variant, ground: Ground, folder: Path) -> Training:
    """Train from the start, then measure what was kept on the test set."""
    print(f"{network}, {variant}, seed {recipe.seed}")
    learnt, chosen = split(ground.data, recipe.held_out, recipe.seed)
    shutil.rmtree(folder, ignore_errors=True)
    begun = begin(folder, ground.name, recipe, ground.task, Group())
    start = time.perf_counter()
    outcome = train(recipe, ground.task, learnt, chosen, folder)
    seconds = time.perf_counter() - start
    if outcome.interrupted:
        raise KeyboardInterrupt
    run = record(begun, outcome, chosen)
    (folder / STATE).unlink(missing_ok=True)
    trained = run.network()
    return Training(
        network=network,
        variant=variant,
        seed=recipe.seed,
        epoch=run.epoch,
        seconds=seconds,
        milliseconds=milliseconds(trained, first(ground.test, TIMED)),
        accuracy=judge(trained, ground.test)[1],
        shifted=by_shift(trained, ground.judged),
        covered=by_patch(trained, ground.judged),
    )


def milliseconds(network: nn.Module, examples: Examples) -> float:
    """Time to judge one picture of many at once: the best of three, for others use this machine, too."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        judge(network, examples)
        times.append(time.perf_counter() - start)
    return 1000 * min(times) / len(examples.targets)


def network_of(runs: Path, network: Network, variant: Variant, seed: int) -> nn.Module:
    """What a finished training kept."""
    return read(folder_of(runs, network, variant, seed)).network()
