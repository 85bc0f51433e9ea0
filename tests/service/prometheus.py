"""A real Prometheus that scrapes a real service, with deploy/prometheus.yml."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from tests.programs import program
from tests.service.server import Server, free_port

PATIENCE = 60.0
CONFIGURATION = Path(__file__).parents[2] / "deploy/prometheus.yml"


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def values(self, promql: str, at: float | None = None) -> dict[tuple[str, ...], float]:
        """The answer to a query, as soon as there is one: label values, in the order of the labels' names -> value."""
        parameters = {"query": promql} | ({} if at is None else {"time": str(at)})
        give_up = time.monotonic() + PATIENCE
        while time.monotonic() < give_up:
            answer = httpx.get(f"{self.url}/api/v1/query", params=parameters)
            assert answer.status_code == 200, answer.text
            if found := answer.json()["data"]["result"]:
                return {tuple(dict(sorted(one["metric"].items())).values()): float(one["value"][1]) for one in found}
            time.sleep(0.02)
        raise AssertionError(f"no answer to {promql}")

    def value(self, promql: str, at: float | None = None) -> float:
        """The answer to a query that has just one."""
        [value] = self.values(promql, at).values()
        return value

    def wait_for(self, promql: str, value: float) -> None:
        """Wait until that is the answer."""
        give_up = time.monotonic() + PATIENCE
        while (answer := self.value(promql)) != value:
            assert time.monotonic() < give_up, f"{promql} is {answer}, not {value}"
            time.sleep(0.02)


@contextmanager
def scraping(server: Server, folder: Path, interval: str) -> Iterator[Prometheus]:
    """Prometheus with the repository's own configuration, but for whom it scrapes and how often; files in `folder`."""
    binary = program("prometheus", "prometheus")
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    configuration["global"] |= {"scrape_interval": interval, "scrape_timeout": interval}
    configuration["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{server.port}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{free_port()}"
    command = [binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=log)
    prometheus = Prometheus(f"http://{address}")
    try:
        _await_readiness(process, f"{prometheus.url}/-/ready", folder / "prometheus.log")
        prometheus.wait_for("up", 1)
        yield prometheus
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _await_readiness(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"not ready: {log.read_text()}")
