"""Statistics: requests and runs counted on both roads, as the doors give them."""

import asyncio
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from service.inference.serving.statistics import Statistics
from tests.service.conftest import Client, Serve
from tests.service.gate import Gate, until
from tests.service.tiny import write_tiny


def test_a_run_counts_its_rows_and_one_that_failed_those_that_were_run_again() -> None:
    statistics = Statistics()
    statistics.ran(4, 0, 0.25)
    statistics.ran(4, 1, 0.5)
    statistics.ran(1, 1, 0.5)
    statistics.looked_inside(3, 1.0, together=False)
    statistics.looked_inside(4, 1.0, together=True)
    assert {size: (runs.count, runs.ns) for size, runs in statistics.runs.items()} == {
        4: (2, 1_250_000_000),
        1: (6, 1_500_000_000),
    }


def test_stages_count_only_where_a_request_was_answered() -> None:
    statistics = Statistics()
    statistics.ended({"decode": 0.5, "infer": 1.0, "unheard of": 1.0}, 2.0, succeeded=True)
    statistics.ended({"decode": 0.5}, 1.0, succeeded=False)
    assert (statistics.success.count, statistics.success.ns) == (1, 2_000_000_000)
    assert (statistics.fail.count, statistics.fail.ns) == (1, 1_000_000_000)
    assert {stage: spent.count for stage, spent in statistics.stages.items()} == {
        "decode": 1,
        "queue": 0,
        "infer": 1,
        "encode": 0,
    }


async def stats(client: Client, path: str = "/v2/models/tiny/stats") -> dict[str, Any]:
    [found] = (await client.get(path)).json()["model_stats"]
    return dict(found)


def asking(rows: int, *layers: str) -> dict[str, Any]:
    data = [0] * (rows * 8 * 8 * 3)
    entry = {"name": "pixels", "shape": [rows, 8, 8, 3], "datatype": "UINT8", "data": data}
    return {"inputs": [entry], "outputs": [{"name": layer} for layer in layers]}


async def test_both_roads_and_both_families_count(client: Client) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    png = {"Content-Type": "image/png"}
    await client.post("/v2/models/tiny/infer", json=asking(3))
    await client.post("/v2/models/tiny/infer", json=asking(3, "stem.relu"))
    await client.predict(buffer.getvalue())
    await client.post("/v1/models/tiny/feature-maps?layer=pool", content=buffer.getvalue(), headers=png)
    await client.post("/v2/models/tiny/infer", json={})
    await client.predict(b"no picture")
    await client.get("/v2/models/tiny")
    await client.get("/v1/models/tiny/layers")
    found = await stats(client)
    assert (found["name"], found["version"]) == ("tiny", "1")
    assert (found["inference_count"], found["execution_count"]) == (8, 4)
    assert {size["batch_size"]: size["compute_infer"]["count"] for size in found["batch_stats"]} == {1: 2, 3: 2}
    counts = {name: spent["count"] for name, spent in found["inference_stats"].items()}
    assert (counts.pop("fail"), counts.pop("cache_hit"), counts.pop("cache_miss")) == (2, 0, 0)
    assert set(counts.values()) == {4}
    spent = {name: spent["ns"] for name, spent in found["inference_stats"].items()}
    stages = ("queue", "compute_input", "compute_infer", "compute_output")
    assert 0 < sum(spent[stage] for stage in stages) <= spent["success"]
    assert found["last_inference"] > 1_600_000_000_000


async def test_requests_that_share_a_run_are_one_execution(client: Client) -> None:
    gate = Gate(client.services.repository.find("tiny"))
    first = asyncio.create_task(client.post("/v2/models/tiny/infer", json=asking(1)))
    await until(lambda: gate.entered == 1)
    others = [asyncio.create_task(client.post("/v2/models/tiny/infer", json=asking(2))) for _ in range(3)]
    await until(lambda: client.waiting == 6)
    gate.open()
    await asyncio.gather(first, *others)
    found = await stats(client)
    assert (found["inference_count"], found["execution_count"]) == (7, 2)
    assert found["inference_stats"]["success"]["count"] == 4


async def test_every_version_of_every_model_is_listed(serve: Serve, models: Path) -> None:
    write_tiny(models / "tiny" / "2" / "model.onnx")
    write_tiny(models / "another" / "1" / "model.onnx", batch=1)
    async with serve() as client:
        await client.post("/v2/models/another/infer", json=asking(1))
        listed = (await client.get("/v2/models/stats")).json()["model_stats"]
        assert [(one["name"], one["version"]) for one in listed] == [("another", "1"), ("tiny", "1"), ("tiny", "2")]
        assert [one["inference_count"] for one in listed] == [1, 0, 0]
        assert len((await client.get("/v2/models/tiny/stats")).json()["model_stats"]) == 2
        assert (await stats(client, "/v2/models/tiny/versions/2/stats"))["version"] == "2"


async def test_one_by_one_counts_each(serve: Serve, models: Path) -> None:
    write_tiny(models / "tiny" / "1" / "model.onnx", batch=1)
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, "PNG")
    files = [("images", ("a.png", buffer.getvalue(), "image/png"))] * 3
    async with serve() as client:
        assert (await client.post("/v1/models/tiny/feature-maps?layer=pool", files=files)).status_code == 200
        assert (await client.post("/v1/models/tiny/predict", files=files)).status_code == 200
        found = await stats(client)
        assert (found["inference_count"], found["execution_count"]) == (6, 6)
