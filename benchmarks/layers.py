"""Do the times of the layers add up to the run?     python -m benchmarks.layers [FOLDER]

Profiles every model of the models folder (or of FOLDER) at one input and at the largest batch, and prints the sum over
its layers beside a whole run of the serving session. Profiled and whole runs take turns; the ratio is the median over
pairs of neighbours, which meet the same conditions, so that other work on the machine hits both. For runs over 2 ms it
is within 15 % of 1; shorter ones spend more of their time between the kernels.
"""

import asyncio
import sys
from pathlib import Path

from service.app import create_app
from service.inference.explaining.profile import BatchProfile, profile
from service.settings import Settings

MODELS = Path(__file__).parents[1] / "models"
LONG = 2e-3


def main() -> None:
    """Print one line a model and batch size."""
    settings = Settings(models=Path(sys.argv[1]) if len(sys.argv) > 1 else MODELS)
    print("| model | batch | run, ms | sum of layers, ms | ratio | slowest layer |")
    print("|---|---|---|---|---|---|")
    asyncio.run(measure(settings))


async def measure(settings: Settings) -> None:
    """Load every model as the service does, and measure one after the other."""
    services = create_app(settings).state.services
    for entry in services.repository.load_all().values():
        for served in entry.served():
            for batch in profile(served, settings.max_batch_size).batches:
                print(line(f"{served.name}/{served.version}", batch))


def line(name: str, batch: BatchProfile) -> str:
    """One row of the table; a ratio of a run of less than 2 ms stands in brackets."""
    ratio = f"{batch.ratio:.2f}"
    slowest = max(batch.layers, key=lambda row: row.seconds)
    told = ratio if batch.run_seconds > LONG else f"({ratio})"
    times = f"{batch.run_seconds * 1e3:.2f} | {batch.layer_seconds * 1e3:.2f}"
    return f"| {name} | {batch.batch} | {times} | {told} | {slowest.layer or slowest.op}, {slowest.share:.0%} |"


if __name__ == "__main__":
    main()
