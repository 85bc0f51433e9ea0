"""A small balancer: it watches readiness, and gives each connection to a replica that is ready."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import httpx

INTERVAL = 0.02


class Balancer:
    """Forwards connections, in turn, to those of `ports` that said they were ready when last asked."""

    def __init__(self, ports: Iterable[int]) -> None:
        self._ports = list(ports)
        self._turn = 0
        self.ready: set[int] = set()

    async def watch(self) -> None:
        """Ask every replica for its readiness, again and again."""
        async with httpx.AsyncClient(timeout=5) as client:
            while True:
                await asyncio.gather(*(self._probe(client, port) for port in self._ports))
                await asyncio.sleep(INTERVAL)

    async def _probe(self, client: httpx.AsyncClient, port: int) -> None:
        try:
            answer = await client.get(f"http://127.0.0.1:{port}/v2/health/ready")
            is_ready = answer.status_code == 200
        except httpx.TransportError:
            is_ready = False
        (self.ready.add if is_ready else self.ready.discard)(port)

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to the next ready replica and back."""
        self._turn += 1
        ready = [port for port in self._ports if port in self.ready]
        upstream, downstream = await asyncio.open_connection("127.0.0.1", ready[self._turn % len(ready)])
        await asyncio.gather(_pipe(reader, downstream), _pipe(upstream, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def balancing(ports: Iterable[int]) -> AsyncIterator[tuple[Balancer, int]]:
    """A balancer in front of `ports`, and the port it listens on."""
    balancer = Balancer(ports)
    watching = asyncio.create_task(balancer.watch())
    server = await asyncio.start_server(balancer.forward, "127.0.0.1", 0)
    async with server:
        yield balancer, server.sockets[0].getsockname()[1]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
