"""The service over a real socket: many clients at once, some of whom leave and some of whom send rubbish."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import onnxruntime as ort
import pytest

from tests.service.scrape import sample
from tests.service.server import Server, running

Picture = Callable[..., bytes]
PNG = {"Content-Type": "image/png"}
COLOURS = {"red": "red", "lime": "green", "blue": "blue"}
PREDICT = "/v1/models/tiny/predict"


@pytest.fixture
def server(models: Path, tmp_path: Path) -> Iterator[Server]:
    with running(models, tmp_path / "log", max_body_bytes=1_000_000) as server:
        yield server


async def test_sixty_four_clients_some_leaving_some_talking_rubbish(server: Server, picture: Picture) -> None:
    bodies = {label: picture(colour, size=(64, 64)) for colour, label in COLOURS.items()}

    async def right(client: httpx.AsyncClient, number: int) -> None:
        label = list(bodies)[number % 3]
        for _ in range(8):
            answer = await client.post(PREDICT, content=bodies[label], headers=PNG)
            assert answer.status_code == 200, answer.text
            assert answer.json()["predictions"][0]["classes"][0]["label"] == label

    async def rubbish(client: httpx.AsyncClient, number: int) -> None:
        wrongs = [(b"rubbish", PNG, 422), (b"{", {"Content-Type": "application/json"}, 400), (b"x", {}, 415)]
        for _ in range(8):
            body, headers, status = wrongs[number % 3]
            assert (await client.post(PREDICT, content=body, headers=headers)).status_code == status

    async def leave(_client: httpx.AsyncClient, number: int) -> None:
        body = bodies["red"]
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
        for _ in range(8):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(head.encode() + body[: len(body) // (1 + number % 2)])
            await writer.drain()
            writer.transport.abort()

    async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=httpx.Limits(max_connections=64)) as client:
        kinds = [right, right, rubbish, leave]
        await asyncio.gather(*(kinds[number % 4](client, number) for number in range(64)))
        await right(client, 0)
        metrics = (await client.get("/metrics")).text
    assert sample(metrics, "convscope_predictions_total") >= 32 * 8 + 8
    assert sample(metrics, "convscope_request_duration_seconds_count", status="200") >= 32 * 8 + 8
    assert sample(metrics, "convscope_request_duration_seconds_count", status="500") == 0
    assert sample(metrics, "convscope_queue_depth") == 0


async def test_an_endless_body_is_refused_while_it_streams_in(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    sent = 0

    async def send_without_end() -> None:
        nonlocal sent
        while True:
            writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            await writer.drain()
            sent += 0x10000

    sending = asyncio.ensure_future(send_without_end())
    status = await asyncio.wait_for(reader.readline(), 60)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.transport.abort()
    assert status.startswith(b"HTTP/1.1 413")


async def test_a_client_that_leaves_in_the_middle_is_noticed(server: Server, picture: Picture) -> None:
    body = picture()
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head.encode() + body[:10])
    await writer.drain()
    writer.transport.abort()
    async with httpx.AsyncClient(base_url=server.url) as client:
        while sample((await client.get("/metrics")).text, "convscope_cancelled_total", model="tiny") < 1:
            pass
        assert (await client.post(PREDICT, content=body, headers=PNG)).status_code == 200


async def test_a_body_that_never_ends_coming_in_is_given_up(models: Path, tmp_path: Path) -> None:
    with running(models, tmp_path / "slow", upload_timeout_ms=200) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
        writer.write(head.encode() + b"abc")
        assert (await asyncio.wait_for(reader.readline(), 60)).startswith(b"HTTP/1.1 504")
        writer.transport.abort()


def test_the_log_tells_settings_and_provider_at_the_start(server: Server) -> None:
    log = server.log.read_text()
    assert '"max_body_bytes":1000000' in log
    assert "model tiny version 1 answers on CPUExecutionProvider" in log
    assert "Traceback" not in log


def started_with(**settings: str) -> subprocess.CompletedProcess[str]:
    """The service, started with settings that it must not accept."""
    environment = {**os.environ, **{f"CONVSCOPE_{name.upper()}": value for name, value in settings.items()}}
    command = [sys.executable, "-m", "service", "serve"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_wrong_setting_is_one_clear_line() -> None:
    ended = started_with(port="many", max_pictures="0")
    assert ended.returncode == 1
    assert "CONVSCOPE_PORT: " in ended.stderr
    assert "CONVSCOPE_MAX_PICTURES: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this onnxruntime has CUDA")
def test_a_provider_that_is_demanded_but_missing_stops_the_start() -> None:
    ended = started_with(providers="cuda")
    assert ended.returncode == 3
    assert "CUDAExecutionProvider was demanded but cannot be used" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_service_never_imports_torch() -> None:
    program = "import sys, service.app, service.__main__; sys.exit('torch' in sys.modules or 'training' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
