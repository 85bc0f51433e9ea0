"""How near the service comes to the raw limit: the same pictures decoded and run in a plain loop, without HTTP.

    python -m benchmarks.serving        (nothing else should run on the machine meanwhile)

Both sides are taken in turn within one run, so that a noisy machine is noisy for both. Ratios are the result; seconds
belong to the machine.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort

from benchmarks.client import Connection, multipart
from service.inference.inputs.reading import read_picture
from service.inference.serving.loading import read_card
from tests.service.server import Server, running

ROOT = Path(__file__).parents[1]
NAME = "fashion-mnist"
FILE = ROOT / "models" / NAME / "1" / "model.onnx"
PATH = f"/v1/models/{NAME}/versions/1/predict"
PICTURE = (ROOT / "docs" / "samples" / "ankle-boot.png").read_bytes()
ROUNDS = 5
REQUESTS = 640


def main() -> None:
    """Measure, and print a table in Markdown."""
    raw = RawLimit()
    with TemporaryDirectory() as folder, running(ROOT / "models", Path(folder) / "log") as server:
        asyncio.run(measure(raw, server))


async def measure(raw: "RawLimit", server: Server) -> None:
    """Take every figure `ROUNDS` times, each beside the raw limit, and print the medians."""
    print(f"| what | pictures/s | raw limit | share |\n|---|---|---|---|  (medians of {ROUNDS} rounds)")
    for title, batch, work in (
        ("one client, one picture a request", 1, lambda: clients(server, 1)),
        ("64 clients, one picture a request", 32, lambda: clients(server, 64)),
        ("one client, 100 pictures a request", 32, lambda: large_requests(server)),
    ):
        await compare(title, work, lambda batch=batch: raw.run(batch))  # type: ignore[misc]


async def compare(title: str, work: Callable[[], Awaitable[float]], limit: Callable[[], float]) -> None:
    """Print the medians of both, and the median of their ratios."""
    rounds = [(await work(), limit()) for _ in range(ROUNDS)]
    served, raw = (statistics.median(column) for column in zip(*rounds, strict=True))
    share = statistics.median(one / other for one, other in rounds)
    print(f"| {title} | {served:,.0f} | {raw:,.0f} | {share:.0%} |")


async def clients(server: Server, count: int) -> float:
    """Pictures a second, asked for by `count` clients that each wait for their answer."""

    async def client() -> None:
        async with Connection(server.port) as connection:
            for _ in range(REQUESTS // count):
                await connection.post(PATH, PICTURE, "image/png")

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(count)))
    return REQUESTS // count * count / (time.perf_counter() - started)


async def large_requests(server: Server) -> float:
    """Pictures a second, asked for a hundred at a time."""
    body, content_type = multipart([PICTURE] * 100)
    started = time.perf_counter()
    async with Connection(server.port) as connection:
        for _ in range(10):
            await connection.post(PATH, body, content_type)
    return 1000 / (time.perf_counter() - started)


class RawLimit:
    """Decoding and running in a loop: what no server can beat on one thread of decoding."""

    def __init__(self) -> None:
        self._session = ort.InferenceSession(FILE)
        card = read_card(onnx.load(FILE), FILE)
        assert card is not None
        self._card = card.input

    def run(self, batch: int) -> float:
        """Pictures a second in batches of `batch`."""
        started = time.perf_counter()
        for _ in range(REQUESTS // batch):
            arrays = [read_picture(PICTURE, self._card, max_pixels=10**8) for _ in range(batch)]
            self._session.run(None, {self._card.name: np.stack(arrays)})
        return REQUESTS // batch * batch / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
