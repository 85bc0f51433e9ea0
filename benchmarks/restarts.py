"""Fifty restarts under load: does a client ever see a failed answer?     python -m benchmarks.restarts [--times 50]

Two replicas behind the tests' small balancer, which watches readiness; one after the other is told to stop by SIGTERM
and started again, while clients send without pause. Prints how many requests were answered and how many failed.
"""

import argparse
import asyncio
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.client import Connection
from benchmarks.serving import PATH, PICTURE, ROOT
from tests.service.balancer import balancing
from tests.service.gate import until
from tests.service.server import Server, free_port, running

CLIENTS = 8
PRE_DRAIN_MS = 200


class Tally:
    """What became of the requests."""

    def __init__(self) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self.over = False

    async def client(self, port: int) -> None:
        """Send one picture after the other, each on a connection of its own."""
        while not self.over:
            try:
                async with Connection(port) as connection:
                    await connection.post(PATH, PICTURE, "image/png")
                self.answered += 1
            except (OSError, EOFError, AssertionError) as error:
                self.failures.append(repr(error))


def main() -> int:
    """Restart the replicas in turn; 1 where any answer failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50, help="restarts (%(default)s)")
    times: int = parser.parse_args().times
    tally = Tally()
    with TemporaryDirectory() as folder:
        asyncio.run(restart(times, tally, Path(folder)))
    print(f"{times} restarts, {tally.answered:,} requests answered, {len(tally.failures)} failed")
    for failure in sorted(set(tally.failures)):
        print(f"  {tally.failures.count(failure)} x {failure}")
    return int(bool(tally.failures))


async def restart(times: int, tally: Tally, folder: Path) -> None:
    """Stop and start one replica after the other, each time the other one is ready."""
    ports = [free_port(), free_port()]
    with ExitStack() as replicas:
        servers = {port: start(replicas, folder, port) for port in ports}
        async with balancing(ports) as (balancer, front):
            await until(lambda: balancer.ready == set(ports))
            clients = [asyncio.create_task(tally.client(front)) for _ in range(CLIENTS)]
            for number in range(times):
                port = ports[number % 2]
                servers[port].process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(servers[port].process.wait)
                servers[port] = await asyncio.to_thread(start, replicas, folder, port)
                await until(lambda: balancer.ready == set(ports))
            tally.over = True
            await asyncio.gather(*clients)


def start(replicas: ExitStack, folder: Path, port: int) -> Server:
    """A replica that serves on for a moment after it has been told to stop."""
    log = folder / f"log-{port}"
    return replicas.enter_context(running(ROOT / "models", log, port=port, pre_drain_ms=PRE_DRAIN_MS))


if __name__ == "__main__":
    sys.exit(main())
