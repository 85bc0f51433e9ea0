import io
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from PIL import Image

from tests.service.conftest import Client, Serve
from tests.service.scrape import sample
from tests.service.tiny import tiny_onnx, write_tiny

Picture = Callable[..., bytes]
MAPS = "/v1/models/tiny/feature-maps"


@pytest.fixture
def pictures() -> list[bytes]:
    """Three of noise."""
    noise = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    return [encoded(pixels) for pixels in noise]


def encoded(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


async def ask(client: Client, pictures: list[bytes], accept: str, *layers: str, path: str = MAPS) -> httpx.Response:
    files = [("images", ("a.png", body, "image/png")) for body in pictures]
    answer = await client.post(path, files=files, params={"layer": list(layers)}, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == accept
    return answer


async def arrays(client: Client, pictures: list[bytes], *layers: str) -> dict[str, np.ndarray]:
    answer = await ask(client, pictures, "application/x-npz", *layers)
    return dict(np.load(io.BytesIO(answer.content), allow_pickle=False))


async def test_npz_holds_what_onnxruntime_yields_without_optimisation(client: Client, pictures: list[bytes]) -> None:
    layers = [row["name"] for row in (await client.get("/v1/models/tiny/layers")).json()["layers"]]
    model = tiny_onnx()
    del model.graph.output[:]
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for layer in layers:
        model.graph.output.add().name = layer
    truth = ort.InferenceSession(model.SerializeToString(), options)
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(body))) for body in pictures])
    expected = dict(zip(layers, truth.run(layers, {"pixels": pixels}), strict=True))
    maps = await arrays(client, pictures, *layers)
    assert list(maps) == layers
    for layer in layers:
        assert maps[layer].dtype == expected[layer].dtype
        np.testing.assert_allclose(maps[layer], expected[layer], rtol=0, atol=1e-4 * np.abs(expected[layer]).max())


async def test_a_batch_equals_its_singles(client: Client, pictures: list[bytes]) -> None:
    together = await arrays(client, pictures, "stem.relu", "head")
    for number, body in enumerate(pictures):
        alone = await arrays(client, [body], "stem.relu", "head")
        for layer, values in alone.items():
            np.testing.assert_allclose(together[layer][number], values[0], rtol=0, atol=1e-5)


async def test_a_model_of_fixed_batch_is_run_one_by_one(serve: Serve, models: Path, pictures: list[bytes]) -> None:
    write_tiny(models / "single" / "1" / "model.onnx", batch=1)
    async with serve() as client:
        expected = await arrays(client, pictures, "stem.relu")
        answer = await ask(client, pictures, "application/x-npz", "stem.relu", path="/v1/models/single/feature-maps")
    np.testing.assert_allclose(np.load(io.BytesIO(answer.content))["stem.relu"], expected["stem.relu"], atol=1e-6)


async def test_json_tells_shape_and_statistics_per_channel(client: Client, pictures: list[bytes]) -> None:
    body = (await ask(client, pictures, "application/json", "stem.relu", "pool")).json()
    assert (body["model"], body["version"], len(body["images"])) == ("tiny", "1", 3)
    maps = await arrays(client, pictures, "stem.relu")
    for number, image in enumerate(body["images"]):
        relu, pool = image["layers"]
        assert (relu["name"], relu["op"], relu["shape"]) == ("stem.relu", "Relu", [3, 8, 8])
        assert (pool["name"], pool["op"], pool["shape"]) == ("pool", "GlobalAveragePool", [3, 1, 1])
        for channel, values in zip(relu["channels"], maps["stem.relu"][number], strict=True):
            assert channel["mean"] == pytest.approx(values.mean(), abs=1e-6)
            assert channel["std"] == pytest.approx(values.std(), abs=1e-6)
            assert (channel["min"], channel["max"]) == (values.min(), values.max())
            assert channel["zeros"] == (values == 0).mean()


async def test_png_is_a_picture_and_the_same_bytes_each_time(client: Client, pictures: list[bytes]) -> None:
    first = await ask(client, pictures[:1], "image/png", "stem.relu")
    second = await ask(client, pictures[:1], "image/png", "stem.relu")
    assert first.content == second.content
    assert Image.open(io.BytesIO(first.content)).format == "PNG"
    assert (await ask(client, pictures[1:2], "image/png", "stem.relu")).content != first.content


async def test_json_is_what_a_client_without_wishes_gets(client: Client, picture: Picture) -> None:
    answer = await client.post(f"{MAPS}?layer=pool", content=picture(), headers={"Content-Type": "image/png"})
    assert answer.headers["content-type"] == "application/json"


async def test_looking_inside_is_timed_but_runs_no_batch(client: Client, pictures: list[bytes]) -> None:
    answer = await ask(client, pictures, "application/json", "pool")
    stages = [part.split(";")[0] for part in answer.headers["server-timing"].split(", ")]
    assert stages == ["decode", "queue", "infer", "encode", "total"]
    metrics = await client.metrics()
    assert sample(metrics, "convscope_stage_duration_seconds_count", model="tiny", stage="infer") == 1
    assert sample(metrics, "convscope_batch_size_count", model="tiny") == 0


async def test_a_layer_named_twice_is_given_once(client: Client, pictures: list[bytes]) -> None:
    assert list(await arrays(client, pictures, "pool", "stem.relu", "pool")) == ["pool", "stem.relu"]
    await ask(client, pictures[:1], "image/png", "pool", "pool")


async def test_a_layer_of_as_many_numbers_as_there_are_pictures_still_belongs_to_none(
    serve: Serve, models: Path, pictures: list[bytes]
) -> None:
    shape = onnx.helper.make_node("Shape", ["stem.relu"], ["shape"])
    write_tiny(models / "shaped" / "1" / "model.onnx", shape)
    async with serve() as client:
        files = [("images", ("a.png", pictures[0], "image/png"))] * 4
        answer = await client.post("/v1/models/shaped/feature-maps?layer=shape", files=files)
    assert (answer.status_code, "does not belong" in answer.json()["detail"]) == (406, True)


async def test_a_layer_that_numpy_cannot_hold_is_refused(serve: Serve, models: Path, pictures: list[bytes]) -> None:
    cast = onnx.helper.make_node("Cast", ["stem.relu"], ["short"], to=onnx.TensorProto.BFLOAT16)
    write_tiny(models / "short" / "1" / "model.onnx", cast)
    async with serve() as client:
        files = [("images", ("a.png", pictures[0], "image/png"))]
        answer = await client.post("/v1/models/short/feature-maps?layer=short", files=files)
    assert (answer.status_code, "bfloat16" in answer.json()["detail"]) == (406, True)
