"""The trainings of a comparison, each kept in a folder of its own: a comparison that was cut off goes on."""

import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError
from torch import nn

from training.compare.contest import varied
from training.compare.figures import NETWORKS, VARIANTS, Frozen, Network, Training, Variant
from training.compare.hardship import by_patch, by_shift
from training.config import Recipe, Value, as_values
from training.data.examples import Examples, Task, split
from training.loop import judge, train
from training.runs import read, record

DONE = "compared.json"
TIMED = 2000  # pictures that predicting is timed on


class Done(Frozen):
    """What a finished training was of, and what came of it."""

    recipe: dict[str, Value]
    data: str  # a digest
    judged_on: int
    training: Training


def all_trainings(
    recipes: dict[Network, Recipe],
    seeds: Sequence[int],
    task: Task,
    data: Examples,
    test: Examples,
    judged_on: int,
    runs: Path,
) -> Iterator[Training]:
    """Train every network in every variant with every seed, and measure each; what `runs` holds already is not redone.

    Raises KeyboardInterrupt where somebody cuts a training short.
    """
    digest = hashlib.sha256(data.inputs.numpy().tobytes() + test.inputs.numpy().tobytes()).hexdigest()
    for seed in seeds:
        for variant in VARIANTS:
            for network in NETWORKS:
                recipe = varied(Recipe(**as_values(recipes[network]) | {"seed": seed}), variant)  # type: ignore[arg-type]
                folder = runs / f"{network}-{variant}-{seed}"
                known = done(folder)
                if known is None or (known.recipe, known.data, known.judged_on) != (
                    as_values(recipe),
                    digest,
                    judged_on,
                ):
                    trained = one_training(recipe, network, variant, task, data, test, judged_on, folder)
                    known = Done(recipe=as_values(recipe), data=digest, judged_on=judged_on, training=trained)
                    (folder / DONE).write_text(known.model_dump_json(indent=2) + "\n")
                yield known.training


def done(folder: Path) -> Done | None:
    """Read what a finished training left, if there is one."""
    try:
        return Done.model_validate_json((folder / DONE).read_text())
    except (OSError, ValidationError):
        return None


def one_training(
    recipe: Recipe,
    network: Network,
    variant: Variant,
    task: Task,
    data: Examples,
    test: Examples,
    judged_on: int,
    folder: Path,
) -> Training:
    """Train from the start, then measure what was kept on the test set."""
    print(f"{network}, {variant}, seed {recipe.seed}")
    learnt, chosen = split(data, recipe.held_out, recipe.seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.perf_counter()
    outcome = train(recipe, task, learnt, chosen, folder)
    seconds = time.perf_counter() - start
    if outcome.interrupted:
        raise KeyboardInterrupt
    run = record(folder, f"{network}-{variant}", recipe, task, outcome, chosen)
    trained, judged = run.network(), first(test, judged_on)
    return Training(
        network=network,
        variant=variant,
        seed=recipe.seed,
        epoch=run.epoch,
        seconds=seconds,
        milliseconds=milliseconds(trained, first(test, TIMED)),
        accuracy=judge(trained, test)[1],
        shifted=by_shift(trained, judged),
        covered=by_patch(trained, judged),
    )


def first(examples: Examples, count: int) -> Examples:
    """The first `count` of them."""
    return Examples(examples.inputs[:count], examples.targets[:count])


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
    return read(runs / f"{network}-{variant}-{seed}").network()
