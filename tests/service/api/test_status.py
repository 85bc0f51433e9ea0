import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.service.conftest import Client, Serve
from tests.service.gate import Gate, until
from tests.service.scrape import sample


async def test_live_and_ready(client: Client) -> None:
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}


async def test_not_ready_but_live_when_no_model_could_be_loaded(serve: Serve, models: Path) -> None:
    (models / "tiny" / "1" / "model.onnx").write_bytes(b"no model")
    async with serve() as client:
        assert (await client.get("/v2/health/live")).status_code == 200
        answer = await client.get("/v2/health/ready")
        assert (answer.status_code, list(answer.json())) == (503, ["error"])


async def test_a_stuck_run_fails_liveness_but_load_does_not(serve: Serve, picture: Callable[..., bytes]) -> None:
    async with serve(stuck_run_ms=200) as client:
        gate = Gate(client.services.repository.find("tiny"))
        stuck = asyncio.create_task(client.predict(picture()))
        await until(lambda: gate.entered == 1)
        while (answer := await client.get("/v2/health/live")).status_code == 200:
            pass
        assert (answer.status_code, "a run has taken" in answer.json()["error"]) == (503, True)
        gate.open()
        assert (await stuck).status_code == 200
        assert (await client.get("/v2/health/live")).status_code == 200


async def test_an_unknown_door_of_the_protocol_has_the_protocols_error(client: Client) -> None:
    answer = await client.get("/v2/nothing")
    assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})


async def test_metrics_count_requests_by_door_and_never_by_raw_path(client: Client) -> None:
    await client.get("/v1/models/tiny/layers")
    await client.get("/v1/models/tony/layers")
    await client.get("/no/such/door")
    await client.options("/v1/models/tiny/predict")
    metrics = await client.metrics()
    count = "convscope_request_duration_seconds_count"
    assert sample(metrics, count, endpoint="/v1/models/{model}/layers", status="200") == 1
    assert sample(metrics, count, endpoint="/v1/models/{model}/layers", status="404") == 1
    assert sample(metrics, count, endpoint="unmatched", status="404") == 1
    assert sample(metrics, count, endpoint="unmatched", status="405") == 1
    assert "tony" not in metrics
    assert "such" not in metrics
    assert sample(metrics, "convscope_requests_in_flight") == 1  # the scrape itself


async def test_metrics_say_which_file_answers_and_on_what(client: Client) -> None:
    labels = {"model": "tiny", "version": "1", "provider": "CPUExecutionProvider", "provider_wanted": "auto"}
    assert sample(await client.metrics(), "convscope_model_info", **labels) == 1


async def test_openmetrics_is_given_to_who_asks_for_it(client: Client) -> None:
    answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
