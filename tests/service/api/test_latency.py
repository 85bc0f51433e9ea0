from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import helper
from prometheus_client import CollectorRegistry

from service.api.examples import LATENCY
from service.metrics import MOST_LAYERS, Metrics, histogram_quantile
from tests.service.conftest import Client, Serve
from tests.service.scrape import sample
from tests.service.tiny import tiny_onnx, write_model

URL = "/v1/models/tiny/latency"


async def test_before_anything_was_measured_there_is_nothing(client: Client) -> None:
    answer = await client.get(URL)
    assert answer.status_code == 200
    none = {"count": 0, "p50": None, "p90": None, "p99": None}
    assert answer.json() == {
        "model": "tiny",
        "version": "1",
        "stages": dict.fromkeys(("decode", "queue", "infer", "encode"), none),
        "profile": None,
    }


async def test_percentiles_come_of_the_same_histograms_as_the_metrics(
    client: Client, picture: Callable[..., bytes]
) -> None:
    for _ in range(3):
        await client.predict(picture())
    stages = (await client.get(URL)).json()["stages"]
    metrics = await client.metrics()
    for stage, found in stages.items():
        count = sample(metrics, "convscope_stage_duration_seconds_count", model="tiny", stage=stage)
        assert found["count"] == count == 3
        assert 0 < found["p50"] <= found["p90"] <= found["p99"]


async def test_post_measures_and_get_gives_the_last(client: Client) -> None:
    measured = await client.post(URL)
    assert measured.status_code == 200, measured.text
    found = measured.json()["profile"]
    assert [batch["batch"] for batch in found["batches"]] == [1, 32]
    assert (await client.get("/v1/models/tiny/versions/1/latency")).json()["profile"] == found
    example = LATENCY["profile"]
    assert found.keys() == example.keys()
    assert found["batches"][0].keys() == example["batches"][0].keys()
    assert found["batches"][0]["layers"][0].keys() == example["batches"][0]["layers"][0].keys()
    metrics = await client.metrics()
    for row in found["batches"][0]["layers"]:
        if row["name"] is not None:
            seconds = sample(metrics, "convscope_layer_duration_seconds", model="tiny", layer=row["name"])
            assert seconds * 1e6 == pytest.approx(row["us"], abs=0.1)


async def test_a_second_measurement_meanwhile_is_409(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.services.profiles, "_under_way", {"tiny"})
    answer = await client.post(URL)
    assert answer.status_code == 409
    assert "being measured" in answer.json()["detail"]
    assert sample(await client.metrics(), "convscope_rejected_total", reason="under_way") == 1


async def test_a_model_that_cannot_be_measured_is_422(serve: Serve, models: Path) -> None:
    model = tiny_onnx(helper.make_node("Identity", ["pixels"], ["same"]))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "any"
    write_model(models / "free" / "1" / "model.onnx", model, None)
    async with serve() as client:
        answer = await client.post("/v1/models/free/latency")
    assert answer.status_code == 422
    assert "no input" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("quantile", "value"),
    [(0.25, 0.5), (0.5, 1.0), (0.75, 2.0), (0.8, 2.2), (1.0, 3.0), (0.0, 0.0)],
)
def test_quantiles_lie_on_straight_lines_within_buckets(quantile: float, value: float) -> None:
    buckets = [(1.0, 10.0), (2.0, 15.0), (3.0, 20.0), (float("inf"), 20.0)]
    assert histogram_quantile(quantile, buckets) == pytest.approx(value)


def test_beyond_the_last_bucket_its_bound_is_all_that_is_known() -> None:
    assert histogram_quantile(0.99, [(1.0, 10.0), (2.0, 15.0), (float("inf"), 20.0)]) == 2.0
    assert histogram_quantile(0.5, [(1.0, 0.0), (float("inf"), 0.0)]) is None
    assert histogram_quantile(0.5, []) is None


def test_models_of_very_many_layers_have_no_series() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.observe_layers("deep", "1", {str(layer): 1.0 for layer in range(MOST_LAYERS + 1)})
    metrics.observe_layers("flat", "1", {str(layer): 1.0 for layer in range(MOST_LAYERS)})
    [family] = metrics.layer_duration.collect()
    assert {found.labels["model"] for found in family.samples} == {"flat"}
    assert len(family.samples) == MOST_LAYERS
