"""The numbers in a real Prometheus are those that the clients saw. A scrape may come late: the tests wait for it."""

import asyncio
import io
import math
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from PIL import Image

from service.metrics import STAGE_BUCKETS, STAGES
from tests.programs import program
from tests.service.prometheus import CONFIGURATION, Prometheus, scraping
from tests.service.server import Server, running
from tests.service.tiny import write_tiny

PREDICT = "/v1/models/tiny/predict"
LOOK = "/v1/models/tiny/feature-maps?layer=stem.relu"
CLIENTS, ROUNDS = 8, 15
PREDICTED, LOOKED, REFUSED = CLIENTS * ROUNDS * 2, CLIENTS * ROUNDS, CLIENTS * ROUNDS
ROUNDING = 0.0000005  # of Server-Timing, in seconds
WINDOW = 300  # seconds: longer than all of it takes, so that it holds everything from the first scrape on
SCRAPES = 12  # at least that many lie in the window

REQUESTS = 'convscope_request_duration_seconds_count{endpoint=~"/v1/.*"}'
REJECTED = 'convscope_rejected_total{reason="unreadable_picture"}'


@dataclass
class Seen:
    """What the clients saw: statuses, labels, and in seconds each stage as Server-Timing states it, and the whole."""

    statuses: Counter[int] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    stages: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in (*STAGES, "total")})
    wall: float = 0.0

    async def post(self, client: httpx.AsyncClient, path: str, body: bytes) -> httpx.Response:
        """Send a picture and note what comes."""
        started = time.perf_counter()
        answer = await client.post(path, content=body, headers={"Content-Type": "image/png"})
        self.wall += time.perf_counter() - started
        self.statuses[answer.status_code] += 1
        for stage, milliseconds in (one.split(";dur=") for one in answer.headers["server-timing"].split(", ")):
            self.stages[stage].append(float(milliseconds) / 1000)
        return answer

    async def predict(self, client: httpx.AsyncClient, body: bytes) -> None:
        """Send a picture to be classified."""
        answer = await self.post(client, PREDICT, body)
        self.labels[answer.json()["predictions"][0]["classes"][0]["label"]] += 1


@dataclass(frozen=True)
class Measured:
    """The same minute, as Prometheus has it and as the clients saw it."""

    prometheus: Prometheus
    seen: Seen


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("service")
    write_tiny(folder / "models/tiny/1/model.onnx")
    with running(folder / "models", folder / "log") as server:
        yield server


@pytest.fixture(scope="module")
def measured(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    """Eight clients at once, scraped four times a second."""
    with scraping(server, tmp_path_factory.mktemp("prometheus"), "250ms") as prometheus:
        prometheus.wait_for("sum(convscope_stage_duration_seconds_count)", 0)
        prometheus.wait_for("sum(convscope_rejected_total)", 0)
        seen = asyncio.run(_load(server))
        prometheus.wait_for(f"sum({REQUESTS})", PREDICTED + LOOKED + REFUSED)
        prometheus.wait_for(f"min(count_over_time({REJECTED}[{WINDOW}s]) >= bool {SCRAPES})", 1)
        yield Measured(prometheus, seen)


async def _load(server: Server) -> Seen:
    seen = Seen()
    red, blue = (_png(colour) for colour in ("red", "blue"))

    async def client() -> None:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
            for _ in range(ROUNDS):
                await seen.predict(client, red)
                await seen.predict(client, blue)
                await seen.post(client, LOOK, red)
                await seen.post(client, PREDICT, b"no picture")

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return seen


def _png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_every_request_is_counted_once_under_its_status(measured: Measured) -> None:
    assert measured.prometheus.values(f"sum by (status) ({REQUESTS})") == {
        (str(status),): count for status, count in measured.seen.statuses.items()
    }
    assert measured.seen.statuses == {200: PREDICTED + LOOKED, 422: REFUSED}


def test_every_stage_of_both_roads_is_counted(measured: Measured) -> None:
    counted = measured.prometheus.values("sum by (stage) (convscope_stage_duration_seconds_count)")
    assert counted == {(stage,): len(measured.seen.stages[stage]) for stage in STAGES}
    assert counted["infer",] == PREDICTED + LOOKED


def test_predictions_are_counted_by_class_and_only_predicting_makes_batches(measured: Measured) -> None:
    prometheus, seen = measured.prometheus, measured.seen
    labels = prometheus.values("sum by (label) (convscope_predictions_total)")
    assert labels == {(label,): count for label, count in seen.labels.items()} == {("red",): 120, ("blue",): 120}
    prometheus.wait_for("sum(convscope_batch_size_sum)", PREDICTED)
    assert prometheus.value("sum(convscope_prediction_confidence_count)") == PREDICTED


def test_the_share_of_refused_requests_is_what_was_sent(measured: Measured) -> None:
    share = REFUSED / (PREDICTED + LOOKED + REFUSED)
    failed = REQUESTS.replace("}", ', status!~"2.."}')
    assert measured.prometheus.value(f"sum(convscope_rejected_total) / sum({REQUESTS})") == share
    assert measured.prometheus.value(f"sum({failed}) / sum({REQUESTS})") == share


def test_a_reason_that_never_came_up_is_zero_and_not_absent(measured: Measured) -> None:
    assert measured.prometheus.value('convscope_rejected_total{reason="queue_full"}') == 0
    assert measured.prometheus.value('convscope_cancelled_total{model="tiny"}') == 0


@pytest.mark.parametrize("counter", [REJECTED, 'convscope_stage_duration_seconds_count{stage="infer"}'])
def test_increase_and_rate_see_every_request_from_the_first_on(measured: Measured, counter: str) -> None:
    now = time.time()
    sent = REFUSED if counter == REJECTED else PREDICTED + LOOKED
    scrapes = measured.prometheus.value(f"count_over_time({counter}[{WINDOW}s])", now)
    increase = measured.prometheus.value(f"increase({counter}[{WINDOW}s])", now)
    # Prometheus extrapolates by at most 1.1 scrapes beyond the last, and none before the first, which is 0.
    assert sent * (1 - 1e-9) <= increase <= sent * (1 + 1.1 / (scrapes - 1) + 1e-9)
    assert measured.prometheus.value(f"rate({counter}[{WINDOW}s])", now) == pytest.approx(increase / WINDOW)


@pytest.mark.parametrize("stage", STAGES)
def test_the_mean_of_a_stage_is_the_mean_that_the_answers_state(measured: Measured, stage: str) -> None:
    name = "convscope_stage_duration_seconds"
    labels = f'{{stage="{stage}"}}[{WINDOW}s]'
    mean = measured.prometheus.value(f"rate({name}_sum{labels}) / rate({name}_count{labels})", time.time())
    stated = measured.seen.stages[stage]
    assert mean == pytest.approx(sum(stated) / len(stated), rel=1e-6, abs=ROUNDING)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("stage", STAGES)
def test_a_quantile_of_a_stage_lies_in_the_bucket_of_the_clients(
    measured: Measured, stage: str, quantile: float
) -> None:
    buckets = f'convscope_stage_duration_seconds_bucket{{stage="{stage}"}}'
    value = measured.prometheus.value(f"histogram_quantile({quantile}, sum by (le) ({buckets}))")
    stated = sorted(measured.seen.stages[stage])
    theirs = stated[math.ceil(quantile * len(stated)) - 1]
    lower, upper = _bucket(theirs - ROUNDING)[0], _bucket(theirs + ROUNDING)[1]
    assert lower <= value <= upper


def _bucket(seconds: float) -> tuple[float, float]:
    """The bounds of the bucket that holds this time."""
    bounds = (0.0, *STAGE_BUCKETS)
    upper = next(bound for bound in bounds if seconds <= bound)
    return max((bound for bound in bounds if bound < upper), default=0.0), upper


def test_requests_last_as_long_as_the_clients_wait_at_most(measured: Measured) -> None:
    total = measured.prometheus.value(f"sum({REQUESTS.replace('_count', '_sum')})")
    assert sum(measured.seen.stages["total"]) - ROUNDING * len(measured.seen.stages["total"]) <= total
    assert total <= measured.seen.wall


def test_nothing_waits_and_only_the_scrape_is_in_flight_afterwards(measured: Measured) -> None:
    measured.prometheus.wait_for("sum(convscope_queue_depth)", 0)
    measured.prometheus.wait_for("convscope_requests_in_flight", 1)


def test_promtool_finds_nothing_to_lint(server: Server, measured: Measured) -> None:  # noqa: ARG001 - after the load
    metrics = httpx.get(f"{server.url}/metrics").content
    command = [program("promtool", "prometheus"), "check", "metrics"]
    ended = subprocess.run(command, input=metrics, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, b"")


def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    copy = tmp_path / "prometheus.yml"
    copy.write_bytes(CONFIGURATION.read_bytes())
    command = [program("promtool", "prometheus"), "check", "config", str(copy)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
