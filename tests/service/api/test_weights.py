import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from service.api.schemas import WeightSummary
from tests.service.conftest import Client, Serve
from tests.service.tiny import tiny_onnx

WEIGHTS = "/v1/models/tiny/weights"
MODELS = Path(__file__).parents[3] / "models"


async def test_npz_holds_the_exact_arrays(client: Client) -> None:
    answer = await client.get(f"{WEIGHTS}?layer=stem.conv", headers={"Accept": "application/x-npz"})
    found = np.load(io.BytesIO(answer.content), allow_pickle=False)
    assert list(found) == ["weight"]
    [kernel] = [tensor for tensor in tiny_onnx().graph.initializer if tensor.name == "kernel"]
    assert found["weight"].tobytes() == kernel.raw_data


async def test_json_tells_shapes_and_statistics(client: Client) -> None:
    body = (await client.get(f"{WEIGHTS}?layer=head")).json()
    TypeAdapter(WeightSummary).validate_python(body)
    [array] = body["arrays"]
    assert (body["layer"], body["op"], body["folded"]) == ("head", "MatMul", [])
    assert (array["shape"], array["dtype"], array["axes"]) == ([3, 3], "float32", ["in", "out"])
    assert (array["min"], array["max"], array["zeros"]) == (0, 20, pytest.approx(2 / 3))


@pytest.mark.parametrize("layer", ["stem.conv", "head"])
async def test_png_is_a_picture_and_the_same_bytes_each_time(client: Client, layer: str) -> None:
    address, accept = f"/v1/models/tiny/versions/1/weights?layer={layer}", {"Accept": "image/png"}
    first, second = [await client.get(address, headers=accept) for _ in range(2)]
    assert first.headers["content-type"] == "image/png"
    assert first.content == second.content
    assert Image.open(io.BytesIO(first.content)).format == "PNG"


async def test_what_is_folded_is_said(serve: Serve) -> None:
    async with serve(models=MODELS) as client:
        body = (await client.get("/v1/models/fashion-mnist/weights?layer=stem.norm")).json()
    assert body["folded"] == ["stem.conv"]
    assert [array["name"] for array in body["arrays"]] == ["weight", "bias"]


@pytest.mark.parametrize(
    ("query", "status"), [("layer=stem.relu", 406), ("layer=stem.cnov", 404), ("", 400), ("layer=", 404)]
)
@pytest.mark.parametrize("accept", ["application/json", "image/png", "application/x-npz"])
async def test_what_has_no_weights_is_refused(client: Client, query: str, status: int, accept: str) -> None:
    answer = await client.get(f"{WEIGHTS}?{query}", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_weights_over_the_limit_are_refused(serve: Serve) -> None:
    async with serve(max_answer_bytes=200) as client:
        answer = await client.get(f"{WEIGHTS}?layer=stem.conv", headers={"Accept": "application/x-npz"})
    assert (answer.status_code, "the limit is 200" in answer.json()["detail"]) == (413, True)
    assert "the weights of layer 'stem.conv' take 324 bytes" in answer.json()["detail"]  # told before they are packed
