"""What the container files promise, as far as it can be read; deploy/check.py tries it on a real engine."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from service.settings import PREFIX, Settings
from tests.service.server import free_port, running

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
FINAL_STAGE = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
PROMETHEUS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text())
PORT = Settings.model_fields["port"].default


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_can_be_written_or_gained_in_a_container(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"cap_add", "privileged", "user", "network_mode", "pid"}


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert SERVICES[name]["ports"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_limited_and_comes_back(name: str) -> None:
    assert SERVICES[name].keys() >= {"cpus", "mem_limit", "pids_limit"}
    assert SERVICES[name]["restart"] in ("always", "unless-stopped")


def test_everybody_has_a_healthcheck() -> None:
    assert "\nHEALTHCHECK " in FINAL_STAGE
    assert "healthcheck" in SERVICES["prometheus"]


def test_the_folder_of_models_is_a_read_only_volume_where_the_image_looks() -> None:
    [folder] = re.findall(rf"{PREFIX}MODELS=(\S+)", FINAL_STAGE)
    assert SERVICES["convscope"]["volumes"] == [f"./models:{folder}:ro"]
    assert f"\nCOPY models {folder}\n" in FINAL_STAGE


def test_the_engine_waits_longer_than_the_drain_takes() -> None:
    environment = SERVICES["convscope"]["environment"]
    drain = sum(
        int(environment.get(f"{PREFIX}{name.upper()}", Settings.model_fields[name].default))
        for name in ("pre_drain_ms", "drain_timeout_ms")
    )
    grace = SERVICES["convscope"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) * 1000 > drain + 5000


@pytest.mark.parametrize("file", ["Dockerfile", "docker-compose.yml", "deploy/healthcheck.py"])
def test_every_setting_named_exists(file: str) -> None:
    named = set(re.findall(rf"{PREFIX}([A-Z_]+)", (ROOT / file).read_text()))
    assert named
    assert {name.lower() for name in named} <= Settings.model_fields.keys()


def test_prometheus_scrapes_the_service_where_it_is() -> None:
    [job] = PROMETHEUS["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"convscope:{PORT}"]}]
    assert job["metrics_path"] == "/metrics"
    assert "./deploy/prometheus.yml:/etc/prometheus/prometheus.yml:ro" in SERVICES["prometheus"]["volumes"]


def test_the_port_is_the_same_everywhere() -> None:
    assert f"\nEXPOSE {PORT}\n" in FINAL_STAGE
    assert SERVICES["convscope"]["ports"] == [f"127.0.0.1:${{CONVSCOPE_PORT:-{PORT}}}:{PORT}"]


def test_the_image_listens_beyond_loopback_as_nobody_and_signals_reach_python() -> None:
    assert f"{PREFIX}HOST=0.0.0.0" in FINAL_STAGE
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", FINAL_STAGE, re.MULTILINE)
    assert '\nENTRYPOINT ["python", "-m", "service"]\n' in FINAL_STAGE


def test_where_pip_finds_packages_stays_out_of_the_image() -> None:
    assert "PIP_" not in FINAL_STAGE
    arguments = re.findall(r"^ARG (PIP_\w+)(.*)$", DOCKERFILE, re.MULTILINE)
    assert {name for name, _ in arguments} >= {"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CERT"}
    assert all(default == "" for _, default in arguments)


def test_the_image_states_the_version_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f'image.version="{project["version"]}"' in FINAL_STAGE
    assert f'image.licenses="{project["license"]}"' in FINAL_STAGE


def test_the_build_is_given_only_what_it_copies() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert let_in == {source for sources in copied for source in sources.split()}


@pytest.fixture
def health() -> Callable[[int], int]:
    """The exit status of the image's health check for a service on this port."""

    def check(port: int) -> int:
        command = [sys.executable, "-IS", str(ROOT / "deploy/healthcheck.py")]
        environment = {**os.environ, f"{PREFIX}PORT": str(port)}
        return subprocess.run(command, env=environment, timeout=60, check=False).returncode

    return check


def test_a_service_with_a_model_is_healthy(health: Callable[[int], int], tmp_path: Path) -> None:
    with running(ROOT / "models", tmp_path / "log") as server:
        assert health(server.port) == 0


def test_a_service_that_is_not_ready_is_unhealthy(health: Callable[[int], int]) -> None:
    class NotReady(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503 if self.path == "/v2/health/ready" else 200)

    with HTTPServer(("127.0.0.1", 0), NotReady) as server:
        answering = Thread(target=server.handle_request)
        answering.start()
        assert health(server.server_port) == 1
        answering.join()


def test_nobody_there_is_unhealthy(health: Callable[[int], int]) -> None:
    assert health(free_port()) == 1
