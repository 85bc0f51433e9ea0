import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from PIL import Image

from service.inference.looking.feature_maps import FeatureMaps
from tests.service.conftest import Client, Serve
from tests.service.scrape import sample
from tests.service.tiny import tiny_onnx, write_tiny

Picture = Callable[..., bytes]
MAPS = "/v1/models/tiny/feature-maps"
NPZ = "application/x-npz"


@pytest.fixture
def pictures() -> list[bytes]:
    """Three of noise."""
    noise = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    return [encoded(pixels) for pixels in noise]


def encoded(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


async def ask(
    client: Client, pictures: list[bytes], accept: str, *layers: str, path: str = MAPS, **query: Any
) -> httpx.Response:
    files = [("images", ("a.png", body, "image/png")) for body in pictures]
    answer = await client.post(path, files=files, params={"layer": list(layers), **query}, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == accept
    return answer


async def refused(
    client: Client, pictures: list[bytes], query: str, accept: str = "application/json"
) -> tuple[int, str]:
    """Status and detail."""
    files = [("images", ("a.png", body, "image/png")) for body in pictures]
    answer = await client.post(f"{MAPS}?{query}", files=files, headers={"Accept": accept})
    return answer.status_code, answer.json()["detail"]


async def arrays(client: Client, pictures: list[bytes], *layers: str, **query: Any) -> dict[str, np.ndarray]:
    answer = await ask(client, pictures, "application/x-npz", *layers, **query)
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


async def test_channels_and_pooling_cut_the_arrays_down(client: Client, pictures: list[bytes]) -> None:
    whole = await arrays(client, pictures, "stem.relu", "head")
    cut = await arrays(client, pictures, "stem.relu", "head", channel=["2", "0-1"])
    np.testing.assert_array_equal(cut["stem.relu"], whole["stem.relu"][:, [2, 0, 1]])
    np.testing.assert_array_equal(cut["head"], whole["head"][:, [2, 0, 1]])
    pooled = await arrays(client, pictures, "stem.relu", "head", channel="1", pool="max")
    np.testing.assert_array_equal(pooled["stem.relu"], whole["stem.relu"].max(axis=(2, 3))[:, [1]])
    np.testing.assert_array_equal(pooled["head"], whole["head"][:, [1]])


async def test_json_gives_the_values_themselves_where_they_are_few(client: Client, pictures: list[bytes]) -> None:
    whole = await arrays(client, pictures, "stem.relu", "head")
    images = (await ask(client, pictures, "application/json", "stem.relu", "head", pool="mean")).json()["images"]
    for number, image in enumerate(images):
        relu, head = image["layers"]
        assert (relu["shape"], head["shape"]) == ([3], [3])
        assert relu["values"] == pytest.approx(whole["stem.relu"][number].mean(axis=(1, 2)), abs=1e-6)
        assert head["values"] == whole["head"][number].tolist()
    [image] = (await ask(client, pictures[:1], "application/json", "stem.relu", channel="2")).json()["images"]
    assert image["layers"][0]["values"] == whole["stem.relu"][:1, 2].tolist()
    assert [channel["channel"] for channel in image["layers"][0]["channels"]] == [2]
    [image] = (await ask(client, pictures[:1], "application/json", "stem.relu", "head")).json()["images"]
    assert ["values" in layer for layer in image["layers"]] == [False, True]


async def test_many_values_are_not_for_json(serve: Serve, models: Path, pictures: list[bytes]) -> None:
    grown = onnx.helper.make_node("Resize", ["stem.relu", "", "scales"], ["grown"], mode="nearest")
    scales = onnx.helper.make_node("Constant", [], ["scales"], value_floats=[1.0, 1.0, 8.0, 8.0])
    write_tiny(models / "grown" / "1" / "model.onnx", scales, grown)
    path = "/v1/models/grown/feature-maps"
    async with serve() as client:
        for channels, few in ((["0"], True), (["0", "1"], False)):
            answer = await ask(client, pictures[:1], "application/json", "grown", path=path, channel=channels)
            [layer] = answer.json()["images"][0]["layers"]
            assert ("values" in layer, len(layer["channels"])) == (few, len(channels))


async def test_pictures_bear_the_true_numbers_and_scales(client: Client, pictures: list[bytes]) -> None:
    seen = set()
    for query in ({}, {"channel": "0"}, {"channel": "2"}, {"scale": "channel"}, {"sort": "activity"}, {"pool": "max"}):
        first = await ask(client, pictures[:1], "image/png", "stem.relu", **query)
        second = await ask(client, pictures[:1], "image/png", "stem.relu", **query)
        assert first.content == second.content
        seen.add(first.content)
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("layer=stem.relu&channel=3", 404, "unknown channel of layer 'stem.relu', which has 3"),
        ("layer=stem.relu&channel=0-3", 404, "the nearest are"),
        ("layer=stem.relu&layer=head&channel=7", 404, "unknown channel"),
        ("layer=stem.relu&channel=two", 400, "neither a number"),
        ("layer=stem.relu&channel=2-1", 400, "neither a number"),
        ("layer=stem.relu&channel=", 400, "neither a number"),
        ("layer=stem.relu&pool=sum", 400, "pool"),
        ("layer=stem.relu&scale=log", 400, "scale"),
        ("layer=stem.relu&sort=name", 400, "sort"),
        ("channel=1", 400, "at least one layer"),
    ],
)
async def test_what_is_not_there_or_makes_no_sense_is_refused(
    client: Client, pictures: list[bytes], query: str, status: int, said: str
) -> None:
    found, detail = await refused(client, pictures, query)
    assert (found, said in detail) == (status, True), detail


async def test_over_the_limit_the_answer_says_how_to_cut_it_down(serve: Serve, pictures: list[bytes]) -> None:
    one = 3 * 8 * 8 * 4
    async with serve(max_answer_bytes=2 * one) as client:
        status, detail = await refused(client, pictures, "layer=stem.relu", "application/x-npz")
        assert status == 413
        assert all(word in detail for word in ("channel=", "pool=", "fewer pictures"))
        cut = await arrays(client, pictures, "stem.relu", pool="max")
        assert cut["stem.relu"].shape == (3, 3)


async def test_a_large_request_is_run_in_parts_and_joined(serve: Serve, pictures: list[bytes], client: Client) -> None:
    whole = await arrays(client, pictures, "stem.relu", "head")
    async with serve(max_answer_bytes=3 * 8 * 8 * 4 * 2 + 24) as small:  # two pictures at a time, then one
        cut = await arrays(small, pictures, "stem.relu", channel="1")
        np.testing.assert_allclose(cut["stem.relu"], whole["stem.relu"][:, [1]], atol=1e-6)
        status, _ = await refused(small, pictures, "layer=stem.relu&layer=input.scaled&layer=input&pool=max")
        assert status == 413  # more than the limit even for one picture


async def test_channels_last_are_found(client: Client, pictures: list[bytes]) -> None:
    whole = await arrays(client, pictures, "input.scaled")
    assert whole["input.scaled"].shape == (3, 8, 8, 3)
    cut = await arrays(client, pictures, "input.scaled", channel="2")
    np.testing.assert_array_equal(cut["input.scaled"], whole["input.scaled"][..., [2]])
    body = (await ask(client, pictures, "application/json", "input.scaled")).json()
    for number, image in enumerate(body["images"]):
        means = [channel["mean"] for channel in image["layers"][0]["channels"]]
        assert means == pytest.approx(whole["input.scaled"][number].mean(axis=(0, 1)), abs=1e-6)
    transposed = await ask(client, pictures[:1], "image/png", "input", channel="2")
    straight = await ask(client, pictures[:1], "image/png", "input.scaled", channel="2")
    assert Image.open(io.BytesIO(transposed.content)).size[1] == Image.open(io.BytesIO(straight.content)).size[1]


def turned(*extra: onnx.NodeProto) -> list[onnx.NodeProto]:
    """`turned`: [64, N, 3], places before pictures, as transformers and recurrent networks have them."""
    node = onnx.helper.make_node
    rows = node("Constant", [], ["rows"], value_ints=[-1, 3, 64])
    flat = node("Reshape", ["stem.relu", "rows"], ["flat"])
    return [rows, flat, node("Transpose", ["flat"], ["turned"], perm=[2, 0, 1]), *extra]


@pytest.mark.parametrize("limit", [2**28, 2 * 64 * 3 * 4])
async def test_each_picture_gets_its_own_where_the_batch_is_not_first(
    serve: Serve, models: Path, pictures: list[bytes], limit: int
) -> None:
    write_tiny(models / "turned" / "1" / "model.onnx", *turned())
    path = "/v1/models/turned/feature-maps"
    async with serve() as client:
        flat = (await arrays(client, pictures, "flat", path=path))["flat"]
        whole = (await arrays(client, pictures, "turned", path=path))["turned"]
        np.testing.assert_array_equal(whole, flat.transpose(0, 2, 1))
        drawn = await ask(client, pictures[:1], "image/png", "turned", path=path, channel="0-3")
        assert Image.open(io.BytesIO(drawn.content)).format == "PNG"
    async with serve(max_answer_bytes=limit) as client:  # the second limit lets two pictures run together
        cut = (await arrays(client, pictures, "turned", path=path, channel="5"))["turned"]
        pooled = (await arrays(client, pictures, "turned", path=path, pool="mean"))["turned"]
        images = (await ask(client, pictures, "application/json", "turned", path=path, channel="5")).json()["images"]
    np.testing.assert_allclose(cut, whole[:, [5]], atol=1e-6)
    np.testing.assert_allclose(pooled, whole.mean(axis=2), atol=1e-6)
    for number, image in enumerate(images):
        [layer] = image["layers"]
        assert layer["shape"] == [1, 3]
        np.testing.assert_allclose(layer["values"], whole[number, [5]], atol=1e-6)


async def test_what_belongs_to_no_picture_is_given_once_and_whole_or_not_at_all(
    serve: Serve, models: Path, pictures: list[bytes]
) -> None:
    constant = onnx.helper.make_node("Constant", [], ["constant"], value_floats=[1.0, 2.0])
    write_tiny(models / "odd" / "1" / "model.onnx", constant)
    path = "/v1/models/odd/feature-maps"
    async with serve() as client:
        found = await arrays(client, [pictures[0]] * 2, "constant", "stem.relu", path=path)
        assert (found["constant"].tolist(), found["stem.relu"].shape) == ([1, 2], (2, 3, 8, 8))
        files = [("images", ("a.png", pictures[0], "image/png"))]
        for query, accept in (("", "application/json"), ("", "image/png"), ("&channel=0", NPZ), ("&pool=max", NPZ)):
            answer = await client.post(f"{path}?layer=constant{query}", files=files, headers={"Accept": accept})
            assert (answer.status_code, "does not belong" in answer.json()["detail"]) == (406, True)


@pytest.mark.parametrize("accept", ["application/json", "image/png", "application/x-npz"])
@pytest.mark.parametrize("query", ["", "&pool=mean", "&against=text"])
async def test_text_is_refused_in_every_form(
    serve: Serve, models: Path, pictures: list[bytes], accept: str, query: str
) -> None:
    cast = onnx.helper.make_node("Cast", ["stem.relu"], ["text"], to=onnx.TensorProto.STRING)
    write_tiny(models / "text" / "1" / "model.onnx", cast)
    files = [("images", ("a.png", pictures[0], "image/png"))]
    async with serve() as client:
        address = f"/v1/models/text/feature-maps?layer=text{query}"
        answer = await client.post(address, files=files, headers={"Accept": accept})
    assert answer.status_code == 406
    if "against" not in query or accept == "application/json":
        assert "'text' is a tensor(string)" in answer.json()["detail"]


async def test_what_json_cannot_say_is_named(serve: Serve, models: Path, pictures: list[bytes]) -> None:
    node = onnx.helper.make_node
    holes = node("Constant", [], ["holes"], value_floats=[1.0, float("nan"), 1.0])
    square = node("Constant", [], ["square"], value_ints=[1, 3, 1, 1])
    empty = node("Slice", ["stem.relu", "none", "none", "axis"], ["empty"])
    write_tiny(
        models / "astray" / "1" / "model.onnx",
        holes,
        square,
        node("Reshape", ["holes", "square"], ["shaped"]),
        node("Mul", ["stem.relu", "shaped"], ["astray"]),
        node("Constant", [], ["none"], value_ints=[0]),
        node("Constant", [], ["axis"], value_ints=[3]),
        empty,
    )
    files = [("images", ("a.png", pictures[0], "image/png"))]
    async with serve() as client:
        for query, said in (
            ("layer=head&layer=astray", "channel 1 of layer 'astray' holds NaN or infinity for image 0"),
            ("layer=astray&channel=0&channel=2&channel=1", "channel 1 of layer 'astray'"),
            ("layer=empty", "channel 0 of layer 'empty' has no values at all"),
        ):
            answer = await client.post(f"/v1/models/astray/feature-maps?{query}", files=files)
            detail = answer.json()["detail"]
            assert (answer.status_code, said in detail, NPZ in detail) == (400, True, True), detail


async def test_a_picture_alone_over_the_limit_is_refused_before_it_is_run(serve: Serve, pictures: list[bytes]) -> None:
    async with serve(max_answer_bytes=700) as client:
        status, detail = await refused(client, pictures[:1], "layer=stem.relu&pool=max", NPZ)
        assert (status, "yield 768 bytes for one picture" in detail) == (413, True)
        assert (
            sample(await client.metrics(), "convscope_stage_duration_seconds_count", model="tiny", stage="infer") == 0
        )


async def test_no_more_pictures_run_together_than_the_limit_lets(
    serve: Serve, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    compute = FeatureMaps.compute_and

    async def counting(self: FeatureMaps, feeds: Any, *arguments: Any, **options: Any) -> Any:
        sizes.extend(len(feed["pixels"]) for feed in feeds)
        return await compute(self, feeds, *arguments, **options)

    monkeypatch.setattr(FeatureMaps, "compute_and", counting)
    async with serve(max_answer_bytes=3 * 8 * 8 * 4 * 2) as client:
        await arrays(client, pictures, "stem.relu", channel="1")
    assert sizes == [2, 1]


async def test_what_only_the_run_shows_to_be_too_large_is_refused_after_it(
    serve: Serve, models: Path, pictures: list[bytes]
) -> None:
    node = onnx.helper.make_node
    write_tiny(
        models / "dynamic" / "1" / "model.onnx",
        node("NonZero", ["stem.relu"], ["places"]),
        node("Cast", ["places"], ["numbers"], to=onnx.TensorProto.DOUBLE),
        node("Transpose", ["numbers"], ["found"]),
    )
    files = [("images", ("a.png", pictures[0], "image/png"))]
    async with serve(max_answer_bytes=1000) as client:
        answer = await client.post("/v1/models/dynamic/feature-maps?layer=found", files=files, headers={"Accept": NPZ})
    assert (answer.status_code, "the answer would hold" in answer.json()["detail"]) == (413, True)
