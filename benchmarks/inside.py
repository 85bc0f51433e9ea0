"""What looking inside costs, and whom.     python -m benchmarks.inside        (nothing else should run meanwhile)

1. In process: a shallow layer, and all layers at once, beside a prediction of the same batch by the same model; each
   on one thread, taken in turn within one run.
2. Over HTTP: the median time of a prediction while eight clients ask for all feature maps without pause, beside its
   quiet value.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import numpy as np
import onnx

from benchmarks.client import Connection
from benchmarks.serving import FILE, NAME, PATH, PICTURE, ROOT
from service.inference.graph.layers import Graph
from service.inference.looking.feature_maps import FeatureMaps
from service.inference.serving.model import open_session
from service.inference.serving.providers import Providers
from tests.service.server import Server, running

BATCH = 8
ROUNDS = 40
LOOKERS = 8
PREDICTIONS = 300


def main() -> None:
    """Measure both, and print the ratios."""
    asyncio.run(in_process())
    with TemporaryDirectory() as folder, running(ROOT / "models", Path(folder) / "log") as server:
        asyncio.run(over_http(server))


async def in_process() -> None:
    """The median times of a shallow layer and of all layers, as multiples of a prediction's."""
    proto, graph = onnx.load(FILE), Graph.of(onnx.load(FILE))
    opened = partial(open_session, providers=Providers.of("cpu"), threads=1)
    inside, session = FeatureMaps(proto, partial(opened, shares_arena=True)), opened(str(FILE))
    names = [layer.name for layer in graph.layers]
    shallow = next(name for name in names if graph.layer(name).op == "Conv")
    feed = {graph.inputs[0]: np.random.default_rng(0).integers(0, 256, (BATCH, 28, 28, 1), np.uint8)}

    async def predict() -> None:
        await asyncio.to_thread(session.run, None, feed)

    works: list[Callable[[], Awaitable[object]]] = [
        predict,
        lambda: inside.compute(feed, [shallow]),
        lambda: inside.compute(feed, names),
    ]
    times = [[await timed(work) for work in works] for _ in range(ROUNDS)]
    whole, first, everything = (statistics.median(column) for column in zip(*times[3:], strict=True))
    print(f"in predictions of {BATCH}: {shallow} {first / whole:.2f}, all {len(names)} layers {everything / whole:.2f}")
    await inside.close()


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


async def over_http(server: Server) -> None:
    """The median of a prediction, quiet and beside clients that ask for everything without pause."""
    with urlopen(f"{server.url}/v1/models/{NAME}/layers") as answer:  # noqa: ASYNC210 - before anything is timed
        names = [row["name"] for row in json.load(answer)["layers"]]
    path = f"/v1/models/{NAME}/feature-maps?" + "&".join(f"layer={name}" for name in names)
    over = asyncio.Event()

    async def look() -> None:
        async with Connection(server.port) as connection:
            while not over.is_set():
                await connection.post(path, PICTURE, "image/png")

    await median_prediction(server)  # warm
    quiet = await median_prediction(server)
    looking = [asyncio.create_task(look()) for _ in range(LOOKERS)]
    busy = await median_prediction(server)
    over.set()
    await asyncio.gather(*looking)
    print(f"a prediction: {quiet * 1000:.2f} ms, beside {LOOKERS} clients looking inside {busy / quiet:.2f} times that")


async def median_prediction(server: Server) -> float:
    """Seconds, one client, one after the other."""
    async with Connection(server.port) as connection:
        return statistics.median(
            [await timed(partial(connection.post, PATH, PICTURE, "image/png")) for _ in range(PREDICTIONS)]
        )


if __name__ == "__main__":
    main()
