"""Are the promises of docker-compose.yml kept? Builds it, runs it on a real engine, and breaks it: `make check-image`.

No test, because it needs a Docker engine, Linux and the right to kill a container's process. A project and ports of its
own keep it apart from whatever runs.
"""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
PORT, PROMETHEUS_PORT = 18000, 19090
SERVICE, PROMETHEUS = f"http://127.0.0.1:{PORT}", f"http://127.0.0.1:{PROMETHEUS_PORT}"
PREDICT = "/v1/models/fashion-mnist/predict"
STAGES = 'convscope_stage_duration_seconds_count{model="fashion-mnist"}'
PICTURE = (ROOT / "docs/samples/bag.png").read_bytes()
PNG = {"Content-Type": "image/png"}
COMPOSE = ["docker", "compose", "--project-name", "convscope-check"]
ENVIRONMENT = {**os.environ, "CONVSCOPE_PORT": str(PORT), "PROMETHEUS_PORT": str(PROMETHEUS_PORT)}
PATIENCE = 60.0
CLIENTS = 16
PREDICTIONS = 20


def main() -> None:
    """Check one promise after the other; the first that is broken ends it."""
    try:
        took = seconds(lambda: run(*COMPOSE, "up", "--build", "--wait"))
        print(f"built, up and healthy after {took:.1f} s")
        check_image()
        check_confinement()
        check_prometheus()
        check_kill()
        asyncio.run(check_stop())
    finally:
        run(*COMPOSE, "down", "--volumes")


def check_image() -> None:
    """Small, and nobody's root."""
    [image] = json.loads(run("docker", "image", "inspect", "convscope"))
    megabytes = image["Size"] / 1e6
    print(f"image: {megabytes:.0f} MB, user {image['Config']['User']}")
    assert megabytes < 450
    assert image["Config"]["User"].split(":")[0] not in ("", "0", "root")


def check_confinement() -> None:
    """Nothing can be written or gained in the container."""
    status = run(*COMPOSE, "exec", "convscope", "cat", "/proc/1/status")
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    print(f"process 1: capabilities {facts['CapBnd']}, no new privileges {facts['NoNewPrivs']}, user {facts['Uid']}")
    assert (int(facts["CapBnd"], 16), facts["NoNewPrivs"]) == (0, "1")
    mounts = [line.split() for line in run(*COMPOSE, "exec", "convscope", "cat", "/proc/mounts").splitlines()]
    options = {folder: options.split(",") for _, folder, _, options, *_ in mounts}
    assert "ro" in options["/"]
    assert "ro" in options["/models"]


def check_prometheus() -> None:
    """The target is up, and every stage of every prediction is counted."""
    for _ in range(PREDICTIONS):
        httpx.post(SERVICE + PREDICT, content=PICTURE, headers=PNG).raise_for_status()
    took = seconds(lambda: until(lambda: set(query(STAGES).values()) == {PREDICTIONS}))
    print(f"Prometheus: up {query('up')}, stages {query(STAGES)}, after {took:.1f} s")
    assert list(query("up").values()) == [1]


def check_kill() -> None:
    """The process, killed from the host, is back by itself."""
    os.kill(int(inspect("{{.State.Pid}}")), signal.SIGKILL)
    took = seconds(lambda: until(lambda: inspect("{{.RestartCount}}") == "1" and ready()))
    print(f"killed: ready again after {took:.1f} s")


async def check_stop() -> None:
    """`docker stop` under load: whoever was let in gets an answer; the process ends by itself, with 0."""
    address = inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")  # the port's proxy lets in everybody
    stopped = asyncio.Event()
    clients = [asyncio.create_task(load(f"http://{address}:8000", stopped)) for _ in range(CLIENTS)]
    await asyncio.sleep(2)
    started = time.monotonic()
    await asyncio.to_thread(run, "docker", "stop", "--time", "45", container())
    took = time.monotonic() - started
    stopped.set()
    outcomes = sum(await asyncio.gather(*clients), Counter[str]())
    print(f"stopped under load in {took:.1f} s with status {inspect('{{.State.ExitCode}}')}: {dict(outcomes)}")
    assert inspect("{{.State.ExitCode}}") == "0"
    assert set(outcomes) <= {"200", "503", "never let in"}
    assert outcomes["200"]


async def load(url: str, stopped: asyncio.Event) -> Counter[str]:
    """One picture after another until the service is gone, and what came of each."""
    outcomes: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(PATIENCE, connect=5)) as client:
        while not stopped.is_set():
            try:
                outcomes[str((await client.post(PREDICT, content=PICTURE, headers=PNG)).status_code)] += 1
            except (httpx.ConnectError, httpx.ConnectTimeout):
                outcomes["never let in"] += 1
                await stopped.wait()
            except httpx.TransportError as error:
                outcomes[f"lost: {error!r}"] += 1
    return outcomes


def run(*command: str) -> str:
    """What the command prints."""
    ended = subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return ended.stdout.strip()


def container() -> str:
    """The id of the service's container."""
    return run(*COMPOSE, "ps", "--all", "--quiet", "convscope")


def inspect(template: str) -> str:
    """What the engine knows of the service's container."""
    return run("docker", "inspect", "--format", template, container())


def query(promql: str) -> dict[str, float]:
    """What Prometheus answers, by stage or by job."""
    answer = httpx.get(f"{PROMETHEUS}/api/v1/query", params={"query": promql}).raise_for_status().json()
    samples = answer["data"]["result"]
    return {one["metric"].get("stage", one["metric"]["job"]): float(one["value"][1]) for one in samples}


def ready() -> bool:
    """Whether the service can be used."""
    try:
        return httpx.get(f"{SERVICE}/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def until(true: Callable[[], bool]) -> None:
    """Wait for it."""
    give_up = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.1)


def seconds(action: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.monotonic()
    action()
    return time.monotonic() - started


if __name__ == "__main__":
    main()
