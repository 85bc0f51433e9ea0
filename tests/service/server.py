"""The service as its users run it: a process of its own, on a port of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

PATIENCE = 60.0


@dataclass(frozen=True)
class Server:
    """A running service."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running(models: Path, log: Path, **settings: object) -> Iterator[Server]:
    """`python -m service serve`, ready; settings by their field names. It is told to stop, and must, at the end."""
    changes = {"models": models, "port": free_port(), **settings}
    environment = {**os.environ, **{f"CONVSCOPE_{name.upper()}": str(value) for name, value in changes.items()}}
    with log.open("wb") as stream:
        process = subprocess.Popen([sys.executable, "-m", "service", "serve"], env=environment, stderr=stream)
    server = Server(int(str(changes["port"])), process, log)
    try:
        _await_readiness(server)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_readiness(server: Server) -> None:
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        assert server.process.poll() is None, server.log.read_text()
        try:
            if httpx.get(f"{server.url}/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.01)
    raise AssertionError(f"not ready: {server.log.read_text()}")
