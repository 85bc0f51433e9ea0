import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from pydantic import TypeAdapter

from service.api.schemas import FeatureMapComparison
from service.inference.contract.card import ModelCard
from tests.service.conftest import Client, Serve
from tests.service.tiny import tiny_card, tiny_onnx, write_model, write_tiny

MAPS = "/v1/models/tiny/feature-maps"
NPZ = "application/x-npz"
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
        assert layers["stem.relu"]["shape"] == [3, 8, 8]
        answer = await client.post(f"{MAPS}?against=tiny/1&layer=head&layer=pool", files=files)
        assert [layer["name"] for layer in answer.json()["layers"]] == ["head", "pool"]


async def test_shapes_that_differ_are_said(serve: Serve, models: Path, noise: bytes) -> None:
    node = onnx.helper.make_node
    write_tiny(models / "mean" / "1" / "model.onnx", node("GlobalAveragePool", ["stem.relu"], ["extra"]))
    write_tiny(models / "whole" / "1" / "model.onnx", node("Relu", ["stem.relu"], ["extra"]))
    async with serve() as client:
        path = "/v1/models/mean/feature-maps?against=whole&layer=extra"
        [layer] = (await client.post(path, content=noise, headers=HEADERS)).json()["layers"]
    assert (layer["shape"], layer["against_shape"]) == ([3, 1, 1], [3, 8, 8])
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


def of_other_colours() -> ModelCard:
    """The tiny model's card for one that takes blue first."""
    card = tiny_card(tiny_onnx())
    return card.model_copy(update={"golden": (), "input": card.input.model_copy(update={"colour": "BGR"})})


async def test_each_model_reads_the_pictures_by_its_own_card(serve: Serve, models: Path, noise: bytes) -> None:
    write_model(models / "other" / "1" / "model.onnx", tiny_onnx(), of_other_colours())
    async with serve() as client:
        path = f"{MAPS}?against=other&layer=input.float"
        [layer] = (await client.post(path, content=noise, headers=HEADERS)).json()["layers"]
        own = await client.post(
            "/v1/models/other/feature-maps?layer=input.float", content=noise, headers=HEADERS | {"Accept": NPZ}
        )
    pixels = np.asarray(Image.open(io.BytesIO(noise))).astype(np.float32)
    np.testing.assert_array_equal(np.load(io.BytesIO(own.content))["input.float"][0], pixels[..., ::-1])
    assert layer["largest_difference"] == np.abs(pixels - pixels[..., ::-1]).max()


async def test_a_layer_that_only_the_first_has_is_refused_before_the_body_is_read(serve: Serve, models: Path) -> None:
    write_tiny(models / "longer" / "1" / "model.onnx", onnx.helper.make_node("Relu", ["stem.relu"], ["extra"]))
    async with serve() as client:
        answer = await client.post("/v1/models/longer/feature-maps?against=tiny&layer=extra", content=b"")
    assert (answer.status_code, "unknown layer 'extra'" in answer.json()["detail"]) == (404, True)


@pytest.mark.parametrize("against", ["grown", "tiny"])
async def test_a_layer_too_large_in_either_model_is_refused(
    serve: Serve, models: Path, noise: bytes, against: str
) -> None:
    node = onnx.helper.make_node
    scales = node("Constant", [], ["scales"], value_floats=[1.0, 1.0, 8.0, 8.0])
    write_tiny(models / "grown" / "1" / "model.onnx", scales, node("Resize", ["pool", "", "scales"], ["extra"]))
    write_tiny(models / "tiny" / "1" / "model.onnx", node("Relu", ["pool"], ["extra"]))
    model = "tiny" if against == "grown" else "grown"
    async with serve(max_answer_bytes=700) as client:
        path = f"/v1/models/{model}/feature-maps?against={against}&layer=extra"
        answer = await client.post(path, content=noise, headers=HEADERS)
    assert (answer.status_code, "768 bytes" in answer.json()["detail"]) == (413, True)


async def test_by_default_what_no_answer_can_hold_is_left_out(serve: Serve, models: Path, noise: bytes) -> None:
    for name, kind in (("short", onnx.TensorProto.BFLOAT16), ("text", onnx.TensorProto.STRING)):
        cast = onnx.helper.make_node("Cast", ["stem.relu"], ["odd"], to=kind)
        write_tiny(models / name / "1" / "model.onnx", cast)
        async with serve() as client:
            path = f"/v1/models/{name}/feature-maps?against={name}"
            found = await client.post(path, content=noise, headers=HEADERS)
            names = {layer["name"] for layer in found.json()["layers"]}
            assert ("head" in names, "odd" in names) == (True, False)
            refused = await client.post(f"{path}&layer=odd", content=noise, headers=HEADERS)
            assert (refused.status_code, "'odd'" in refused.json()["detail"]) == (406, True)


async def test_a_model_that_yields_nan_is_told_from_one_of_another_shape(
    serve: Serve, models: Path, noise: bytes
) -> None:
    node = onnx.helper.make_node
    zero = node("Sub", ["pool", "pool"], ["zero"])
    write_tiny(models / "astray" / "1" / "model.onnx", zero, node("Div", ["zero", "zero"], ["extra"]))
    write_tiny(models / "whole" / "1" / "model.onnx", node("Relu", ["pool"], ["extra"]))
    async with serve() as client:
        path = "/v1/models/whole/feature-maps?against=astray&layer=extra"
        [layer] = (await client.post(path, content=noise, headers=HEADERS)).json()["layers"]
    assert (layer["not_finite"], layer["against_not_finite"]) == (0, 3)
    assert (layer["cosine"], layer["largest_difference"], layer["magnitude"]) == (None, None, None)
