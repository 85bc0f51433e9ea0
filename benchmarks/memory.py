"""What does training gain by keeping its memory?     python -m benchmarks.memory    (nothing else should run meanwhile)

The steps of CIFAR-10's recipe, on noise, in fresh processes: some keep what a step frees, as `python -m training` does,
some do as the C library has it. They take turns; the ratio is the median over neighbouring pairs.
"""

import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from tqdm import tqdm

from training.config import RECIPES
from training.data.examples import Examples
from training.data.table import data_set
from training.distributed import Group
from training.learner import prepare
from training.loop import learn, shuffled
from training.memory import keep_memory

RECIPE = RECIPES["cifar10"]
PAIRS = 5
STEPS = 5  # of an epoch
EPOCHS = 3  # the first of them is not measured


def main() -> int:
    """Print a line a pair, and the ratio."""
    pairs = []
    for _ in range(PAIRS):
        usual, kept = in_a_process(keep=False), in_a_process(keep=True)
        print(f"{usual:.0f} pictures/s, keeping memory {kept:.0f}", flush=True)
        pairs.append(kept / usual)
    print(f"{RECIPE.data}: {statistics.median(pairs):.2f} times as fast (from {min(pairs):.2f} to {max(pairs):.2f})")
    return 0


def in_a_process(*, keep: bool) -> float:
    """As `pictures_a_second`, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(pictures_a_second, keep=keep).result()


def pictures_a_second(*, keep: bool) -> float:
    """How many pictures the network learns from in a second, in the faster of the epochs."""
    if keep:
        keep_memory()
    count, group, task = STEPS * RECIPE.batch, Group(), data_set(RECIPE.data).task
    inputs = torch.randint(0, 256, (count, *task.input.shape), dtype=torch.uint8)
    examples = Examples(inputs, torch.randint(0, task.outputs, (count,)))
    learner = prepare(RECIPE, task, examples, STEPS, group, {})
    times = []
    for epoch in range(1, EPOCHS + 1):
        started = time.perf_counter()
        learn(learner, shuffled(examples, RECIPE, epoch, group), tqdm(disable=True))
        times.append(time.perf_counter() - started)
    return count / min(times[1:])


if __name__ == "__main__":
    sys.exit(main())
