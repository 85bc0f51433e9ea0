import asyncio
import base64
from collections.abc import Callable

import httpx
import pytest

from tests.service.conftest import Client, Serve
from tests.service.gate import Gate, until
from tests.service.scrape import sample

Picture = Callable[..., bytes]


def best(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [prediction["classes"][0]["label"] for prediction in answer.json()["predictions"]]


async def test_one_picture_as_the_body(client: Client, picture: Picture) -> None:
    answer = await client.predict(picture("blue"))
    assert best(answer) == ["blue"]
    body = answer.json()
    assert (body["model"], body["version"]) == ("tiny", "1")
    [classes] = [prediction["classes"] for prediction in body["predictions"]]
    assert [item["index"] for item in classes] == [2, 0, 1]
    assert sum(item["probability"] for item in classes) == pytest.approx(1, abs=1e-6)


async def test_many_pictures_by_multipart_in_their_order(client: Client, picture: Picture) -> None:
    colours = ["lime", "red", "blue", "red"]
    files = [("images", (f"{colour}.png", picture(colour), "image/png")) for colour in colours]
    answer = await client.post("/v1/models/tiny/predict", files=files)
    assert best(answer) == ["green", "red", "blue", "red"]


async def test_many_pictures_by_base64_in_their_order(client: Client, picture: Picture) -> None:
    images = [base64.b64encode(picture(colour, format="BMP")).decode() for colour in ("blue", "red", "lime")]
    assert best(await client.post("/v1/models/tiny/predict", json={"images": images})) == ["blue", "red", "green"]


async def test_a_version_is_addressed_by_its_number(client: Client, picture: Picture) -> None:
    headers = {"Content-Type": "image/png"}
    answer = await client.post("/v1/models/tiny/versions/1/predict", content=picture("red"), headers=headers)
    assert best(answer) == ["red"]


@pytest.mark.parametrize(("top_k", "classes"), [(1, 1), (2, 2), (3, 3), (1_000_000, 3)])
async def test_top_k_is_clipped_to_the_number_of_labels(
    client: Client, picture: Picture, top_k: int, classes: int
) -> None:
    answer = await client.predict(picture(), top_k=top_k)
    assert len(answer.json()["predictions"][0]["classes"]) == classes


async def test_times_of_the_stages_are_told_and_counted(client: Client, picture: Picture) -> None:
    answer = await client.predict(picture())
    stages = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert list(stages) == ["decode", "queue", "infer", "encode", "total"]
    times = {stage: float(milliseconds) for stage, milliseconds in stages.items()}
    assert times["total"] >= times["decode"] + times["queue"] + times["infer"] > 0
    metrics = await client.metrics()
    for stage in ("decode", "queue", "infer", "encode"):
        counted = sample(metrics, "convscope_stage_duration_seconds_sum", stage=stage, model="tiny", version="1")
        assert counted * 1000 == pytest.approx(times[stage], abs=0.001)


async def test_a_large_request_runs_in_large_batches(client: Client, picture: Picture) -> None:
    files = [("images", ("a.png", picture(), "image/png")) for _ in range(100)]
    assert best(await client.post("/v1/models/tiny/predict", files=files)) == ["red"] * 100
    metrics = await client.metrics()
    assert sample(metrics, "convscope_batch_size_sum") == 100
    assert 100 / sample(metrics, "convscope_batch_size_count") >= 16


async def test_requests_that_wait_together_share_a_batch(client: Client, picture: Picture) -> None:
    gate = Gate(client.services.repository.find("tiny"))
    first = asyncio.create_task(client.predict(picture("red")))
    await until(lambda: gate.entered == 1)
    others = [asyncio.create_task(client.predict(picture("blue"))) for _ in range(8)]
    await until(lambda: client.waiting == 8)
    gate.open()
    assert best(await first) == ["red"]
    assert [best(answer) for answer in await asyncio.gather(*others)] == [["blue"]] * 8
    assert sample(await client.metrics(), "convscope_batch_size_count") == 2
    assert sample(await client.metrics(), "convscope_queue_depth") == 0


async def test_predictions_and_their_confidence_are_counted(client: Client, picture: Picture) -> None:
    await client.predict(picture("red"))
    await client.predict(picture("red"))
    metrics = await client.metrics()
    assert sample(metrics, "convscope_predictions_total", label="red", model="tiny", version="1") == 2
    assert sample(metrics, "convscope_prediction_confidence_count", model="tiny") == 2


async def test_accuracy_does_not_depend_on_company(serve: Serve, picture: Picture) -> None:
    colours = ["red", "lime", "blue", "maroon", "navy", "white"]
    async with serve() as client:
        alone = [(await client.predict(picture(colour))).json()["predictions"][0] for colour in colours]
        files = [("images", ("a.png", picture(colour), "image/png")) for colour in colours]
        together = (await client.post("/v1/models/tiny/predict", files=files)).json()["predictions"]
    for one, other in zip(alone, together, strict=True):
        assert [item["label"] for item in one["classes"]] == [item["label"] for item in other["classes"]]
        for mine, theirs in zip(one["classes"], other["classes"], strict=True):
            assert mine["probability"] == pytest.approx(theirs["probability"], abs=1e-6)
