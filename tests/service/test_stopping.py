"""Real processes, real signals, real clients: no accepted request goes without its answer."""

import asyncio
import json
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.service.balancer import balancing
from tests.service.gate import until
from tests.service.scrape import sample
from tests.service.server import PATIENCE, Server, free_port, running

Picture = Callable[..., bytes]
PREDICT = "/v1/models/tiny/predict"
PNG = {"Content-Type": "image/png"}
REQUESTS, INFER = "convscope_request_duration_seconds_count", "/v2/models/{model}/infer"


@pytest.fixture
def slow_form(picture: Picture) -> list[tuple[str, tuple[str, bytes, str]]]:
    """A request that takes a good while: many pictures that are large until they are decoded."""
    return [("images", ("a.png", picture("blue", size=(2000, 2000)), "image/png"))] * 20


async def in_flight(client: httpx.AsyncClient, count: int) -> None:
    """Wait until `count` requests, beside the one that asks, are being answered."""
    while sample((await client.get("/metrics")).text, "convscope_requests_in_flight") < count + 1:
        pass


async def ended(server: Server) -> int:
    """The exit status."""
    return await asyncio.to_thread(server.process.wait, PATIENCE)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
async def test_what_was_accepted_is_answered_and_what_is_new_is_refused(
    models: Path,
    tmp_path: Path,
    picture: Picture,
    slow_form: list[tuple[str, tuple[str, bytes, str]]],
    sent: signal.Signals,
) -> None:
    with running(models, tmp_path / "log") as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
            accepted = [asyncio.create_task(client.post(PREDICT, files=slow_form)) for _ in range(6)]
            await in_flight(client, 6)
            server.process.send_signal(sent)
            refusals = 0
            while refusals < 3:
                answer = await client.post(PREDICT, content=picture(), headers=PNG)
                assert answer.status_code in (200, 503)
                refusals += answer.status_code == 503
            assert (await client.get("/v2/health/ready")).status_code == 503
            assert (await client.get("/v2/health/live")).status_code == 200
            for answer in await asyncio.gather(*accepted):
                assert answer.status_code == 200
                assert len(answer.json()["predictions"]) == 20
        assert await ended(server) == 0
    assert "Traceback" not in server.log.read_text()


async def test_clients_that_keep_their_connections_lose_no_answer(
    models: Path, tmp_path: Path, picture: Picture
) -> None:
    answered = 0

    async def keep_asking(url: str) -> None:
        """Until nobody listens any more: whoever got a connection gets an answer on it."""
        nonlocal answered
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
            try:
                while True:
                    answer = await client.post(PREDICT, content=picture(), headers=PNG)
                    assert answer.status_code in (200, 503)
                    answered += 1
            except httpx.ConnectError:
                return

    with running(models, tmp_path / "log") as server:
        asking = [asyncio.create_task(keep_asking(server.url)) for _ in range(12)]
        await until(lambda: answered > 50)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*asking)
        assert await ended(server) == 0


async def test_it_serves_on_through_the_pre_drain_but_is_not_ready(
    models: Path, tmp_path: Path, picture: Picture
) -> None:
    with running(models, tmp_path / "log", pre_drain_ms=1500) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
            server.process.send_signal(signal.SIGTERM)
            while (await client.get("/v2/health/ready")).status_code != 503:
                pass
            answer = await client.post(PREDICT, content=picture(), headers=PNG)
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert await ended(server) == 0


@pytest.mark.parametrize("second", [False, True])
async def test_a_drain_that_never_ends_is_cut_off_and_whoever_waits_is_told(
    models: Path, tmp_path: Path, second: bool
) -> None:
    """By its deadline, or by a second signal."""
    with running(models, tmp_path / "log", drain_timeout_ms=600_000 if second else 300) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n".encode()
        )
        await writer.drain()
        async with httpx.AsyncClient(base_url=server.url) as client:
            await in_flight(client, 1)
            server.process.send_signal(signal.SIGTERM)
            if second:
                while (await client.get("/v2/health/ready")).status_code != 503:
                    pass
                server.process.send_signal(signal.SIGTERM)
        answer = await asyncio.wait_for(reader.read(), PATIENCE)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"the service stopped before this was answered" in answer
        assert await ended(server) == 1
        writer.close()
    assert "left unanswered" in server.log.read_text()
    assert "Traceback" not in server.log.read_text()


async def test_a_second_signal_cuts_the_pre_drain_short(models: Path, tmp_path: Path) -> None:
    with running(models, tmp_path / "log", pre_drain_ms=600_000) as server:
        server.process.send_signal(signal.SIGTERM)
        async with httpx.AsyncClient(base_url=server.url) as client:
            while (await client.get("/v2/health/ready")).status_code != 503:
                pass
        server.process.send_signal(signal.SIGTERM)
        assert await ended(server) == 0


async def test_an_answer_that_nobody_reads_does_not_hold_up_the_exit(models: Path, tmp_path: Path) -> None:
    with running(models, tmp_path / "log") as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        path = "/v2/models/tiny/infer"
        pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1000, 8, 8, 3]}
        layers = [{"name": name} for name in ("input.scaled", "stem.conv", "stem.relu")]
        question = {"inputs": [{**pixels, "parameters": {"binary_data_size": 192_000}}], "outputs": layers}
        asked = json.dumps(question).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
        head += f"Inference-Header-Content-Length: {len(asked)}\r\nContent-Length: {len(asked) + 192_000}\r\n\r\n"
        writer.write(head.encode() + asked + bytes(192_000))
        await writer.drain()
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
            while not sample((await client.get("/metrics")).text, REQUESTS, endpoint=INFER, status="200"):
                pass
        server.process.send_signal(signal.SIGTERM)
        assert await ended(server) == 0
        writer.transport.abort()


async def test_two_replicas_restarted_in_turn_fail_no_request(models: Path, tmp_path: Path, picture: Picture) -> None:
    ports = [free_port(), free_port()]
    answered = 0
    stop = asyncio.Event()

    async def client(address: str) -> None:
        nonlocal answered
        while not stop.is_set():
            async with httpx.AsyncClient(timeout=PATIENCE) as session:
                headers = {**PNG, "Connection": "close"}
                answer = await session.post(address, content=picture(), headers=headers)
            assert answer.status_code == 200, answer.text
            answered += 1

    with ExitStack() as replicas:
        servers = {port: start(replicas, models, tmp_path, port) for port in ports}
        async with balancing(ports) as (balancer, front):
            await until(lambda: balancer.ready == set(ports))
            clients = [asyncio.create_task(client(f"http://127.0.0.1:{front}{PREDICT}")) for _ in range(4)]
            for port in ports * 2:
                servers[port].process.send_signal(signal.SIGTERM)
                assert await ended(servers[port]) == 0
                servers[port] = await asyncio.to_thread(start, replicas, models, tmp_path, port)
                await until(lambda: balancer.ready == set(ports))
                before = answered
                await until(lambda: answered > before + 8)  # noqa: B023 - awaited within its turn of the loop
            stop.set()
            await asyncio.gather(*clients)
    assert answered > 40


def start(replicas: ExitStack, models: Path, tmp_path: Path, port: int) -> Server:
    """A replica that serves on for a moment after it has been told to stop."""
    return replicas.enter_context(running(models, tmp_path / f"log-{port}", port=port, pre_drain_ms=400))
