"""`--seeds`: the same training several times, to see how much of a result is chance."""

import argparse
from collections.abc import Iterator, Sequence
from statistics import mean, stdev

from service.errors import InvalidRequest
from training.config import MOST_SEED
from training.records import Result


def add_seeds(parser: argparse.ArgumentParser) -> None:
    """Add the flag."""
    parser.add_argument("--seeds", metavar="INT,INT...", help="train once with each seed; print mean and spread")


def one_by_one(options: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """The options of each training: one, or one a seed. Raises InvalidRequest."""
    if options.seeds is None:
        yield options
        return
    for given, flag in ((options.resume, "--resume"), (options.export, "--export"), ("seed" in options, "--seed")):
        if given:
            raise InvalidRequest(f"--seeds trains several networks, and {flag} is about one: give one of the two")
    for seed in seeds(options.seeds):
        yield argparse.Namespace(**vars(options) | {"seed": seed})


def seeds(text: str, least: int = 2) -> list[int]:
    """Read "1,2,3", `least` seeds or more. Raises InvalidRequest."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(set(found)) < max(least, len(found)) or min(found) < 0 or max(found) > MOST_SEED:
        raise InvalidRequest(
            f"--seeds wants different seeds from 0 on, at least {least}, none above {MOST_SEED}, as 1,2,3, not {text}"
        )
    return found


def spread(results: Sequence[Result]) -> str:
    """A row a run, then mean and standard deviation (of a sample: n - 1) of all."""
    rows = [
        f"{result.run.recipe.seed:>8} {result.run.epoch:>6} {result.run.validation_accuracy:>11.2%} "
        f"{result.report.accuracy:>8.2%}  {result.run.folder}"
        for result in results
    ]
    chosen, tested = [[each.run.validation_accuracy for each in results], [each.report.accuracy for each in results]]
    said = [f"{name} {mean(part):.2%} ± {stdev(part):.2%}" for name, part in (("validation", chosen), ("test", tested))]
    head = f"{'seed':>8} {'epoch':>6} {'validation':>11} {'test':>8}  run"
    return "\n".join([head, *rows, f"accuracy, mean ± standard deviation of {len(results)} runs: {', '.join(said)}"])
