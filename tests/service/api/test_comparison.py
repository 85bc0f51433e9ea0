import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from pydantic import TypeAdapter

from service.api.schemas import FeatureMapComparison
from tests.service.conftest import Client, Serve
from tests.service.tiny import tiny_card, tiny_onnx, write_model, write_tiny

MAPS = "/v1/models/tiny/feature-maps"
HEADERS = {"Content-Type": "image/png"}


def changed() -> onnx.ModelProto:
    """The tiny model with its convolution's kernel doubled."""
    model = tiny_onnx()
    [kernel] = [tensor for tensor in model.graph.initializer if tensor.name == "kernel"]
    kernel.raw_data = (np.frombuffer(kernel.raw_data, np.float32) * 2).tobytes()
    return model


@pytest.fixture
def noise() -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(1, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


async def test_a_model_is_like_itself_in_every_layer(client: Client, noise: bytes) -> None:
    body = (await client.post(f"{MAPS}?against=tiny", content=noise, headers=HEADERS)).json()
    TypeAdapter(FeatureMapComparison).validate_python(body)
    assert body["against"] == {"model": "tiny", "version": "1"}
    table = (await client.get("/v1/models/tiny/layers")).json()
    assert {row["name"] for row in table["layers"]} <= {layer["name"] for layer in body["layers"]}
    for layer in body["layers"]:
        assert (layer["cosine"], layer["largest_difference"]) == (pytest.approx(1), 0)


async def test_where_two_versions_part(serve: Serve, models: Path, noise: bytes) -> None:
    write_model(models / "tiny" / "2" / "model.onnx", changed(), tiny_card(changed()))
    async with serve() as client:
        files = [("images", ("a.png", noise, "image/png"))] * 2
        body = (await client.post("/v1/models/tiny/versions/1/feature-maps?against=tiny/2", files=files)).json()
        layers = {layer["name"]: layer for layer in body["layers"]}
        assert (body["images"], body["against"]["version"]) == (2, "2")
        assert layers["input"]["largest_difference"] == 0
        assert layers["stem.relu"]["cosine"] == pytest.approx(1)
        assert layers["stem.relu"]["largest_difference"] == pytest.approx(layers["stem.relu"]["magnitude"], rel=1e-5)
        assert layers["stem.relu"]["shape"] == [1, 3, 8, 8]
        answer = await client.post(f"{MAPS}?against=tiny/1&layer=head&layer=pool", files=files)
        assert [layer["name"] for layer in answer.json()["layers"]] == ["head", "pool"]


async def test_shapes_that_differ_are_said(serve: Serve, models: Path, noise: bytes) -> None:
    node = onnx.helper.make_node
    write_tiny(models / "mean" / "1" / "model.onnx", node("GlobalAveragePool", ["stem.relu"], ["extra"]))
    write_tiny(models / "whole" / "1" / "model.onnx", node("Relu", ["stem.relu"], ["extra"]))
    async with serve() as client:
        path = "/v1/models/mean/feature-maps?against=whole&layer=extra"
        [layer] = (await client.post(path, content=noise, headers=HEADERS)).json()["layers"]
    assert (layer["shape"], layer["against_shape"]) == ([1, 3, 1, 1], [1, 3, 8, 8])
    assert (layer["cosine"], layer["largest_difference"]) == (None, None)


@pytest.mark.parametrize(
    ("query", "status"),
    [("against=other", 404), ("against=tiny/9", 404), ("against=", 404), ("against=tiny&layer=nowhere", 404)],
)
async def test_what_is_not_there_cannot_be_compared(client: Client, noise: bytes, query: str, status: int) -> None:
    assert (await client.post(f"{MAPS}?{query}", content=noise, headers=HEADERS)).status_code == status


async def test_a_comparison_is_json_alone(client: Client, noise: bytes) -> None:
    headers = HEADERS | {"Accept": "image/png"}
    assert (await client.post(f"{MAPS}?against=tiny", content=noise, headers=headers)).status_code == 406
