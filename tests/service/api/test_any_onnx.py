"""Models that nobody here made: every layer of each, through the doors, against onnxruntime without optimisations."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.inference.graph.subgraph import producers
from tests.service.api.strange_graphs import (
    FLOAT16,
    FLOAT32,
    NODE,
    QUANTUM,
    all_layers,
    attentive,
    card_of,
    channels_last,
    chosen,
    close,
    dynamic,
    functional,
    half,
    model_of,
    noise,
    oddly_named,
    old,
    quantised,
    recurrent,
    scanning,
    single,
    split,
    wrongly_declared,
)
from tests.service.conftest import Client, Serve
from tests.service.inference.small import Array, open_session, run, weight
from tests.service.tiny import write_model


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [
        (old, FLOAT32),
        (oddly_named, FLOAT32),
        (half, FLOAT16),
        (channels_last, FLOAT32),
        (lambda: channels_last("side"), FLOAT32),
        (dynamic, FLOAT32),
        (single, FLOAT32),
        (quantised, QUANTUM),
        (recurrent, FLOAT32),
        (attentive, FLOAT32),
        (chosen, FLOAT32),
        (functional, FLOAT32),
        (split, FLOAT32),
        (wrongly_declared, FLOAT32),
    ],
)
async def test_every_layer_has_the_value_that_onnxruntime_gives_it(
    serve: Serve, models: Path, make: Callable[[], onnx.ModelProto], tolerance: float
) -> None:
    model = make()
    write_model(models / "odd" / "1" / "model.onnx", model, card_of(model))
    async with serve() as client:
        found = await all_layers(client, model)
        table = (await client.get("/v1/models/odd/layers?kind=all")).json()
    bare = onnx.ModelProto.FromString(model.SerializeToString())
    del bare.graph.value_info[:]
    expected = run(bare, {"x": noise(model)[1]}, producers(model.graph))
    assert list(found) == list(expected) == [row["name"] for row in table["layers"]]
    for row in table["layers"]:
        if "N" in (row["shape"] or []):  # wherever the graph has them, the pictures come first
            expected[row["name"]] = np.moveaxis(expected[row["name"]], row["shape"].index("N"), 0)
    assert [name for name in found if not close(found[name], expected[name], tolerance)] == []


async def test_a_length_that_happens_to_be_the_number_of_pictures_makes_nothing_of_it(
    serve: Serve, models: Path
) -> None:
    model = scanning()
    write_model(models / "odd" / "1" / "model.onnx", model, card_of(model))
    pictures, values = noise(model)
    files = [("images", ("a.png", picture, "image/png")) for picture in (*pictures, pictures[0])]  # three, as rounds
    path, wish = "/v1/models/odd/feature-maps", {"Accept": "application/x-npz"}
    async with serve() as client:
        assert (await client.get("/v2/models/odd/config")).json()["max_batch_size"] > 1
        answer = await client.post(path, files=files, params={"layer": "rounds"}, headers=wish)
        mixed = await client.post(path, files=files, params={"layer": ["rounds", "level"]}, headers=wish)
    found = np.load(io.BytesIO(answer.content), allow_pickle=False)["rounds"]
    for picture, one in zip(found, (*values, values[0]), strict=True):
        expected = run(model, {"x": one[np.newaxis]}, ["rounds"])["rounds"]
        assert close(picture, expected, FLOAT32)
    assert mixed.status_code == 406
    assert "'level' depends on which images are run together" in mixed.json()["detail"]


async def test_weights_of_a_quantised_convolution_count_on_its_row(serve: Serve, models: Path) -> None:
    model = quantised()
    write_model(models / "odd" / "1" / "model.onnx", model, card_of(model))
    async with serve() as client:
        table = (await client.get("/v1/models/odd/layers")).json()
    parameters = {row["name"]: row["parameters"] for row in table["layers"]}
    assert parameters["a"] == table["totals"]["parameters"] == 4 * 3 * 3 * 3
    assert "k" not in parameters  # the kernel is a constant, however it is kept
    [conv] = [row for row in table["layers"] if row["op"] == "Conv"]
    assert conv["inputs"] == ["x.d"]
    assert (conv["kernel"], conv["macs"]) == ([3, 3], 4 * 6 * 6 * 3 * 3 * 3)


async def test_any_layer_of_a_model_of_several_inputs(serve: Serve, models: Path) -> None:
    nodes = [
        NODE("Conv", ["x", "k"], ["a"]),
        NODE("Mul", ["a", "gain"], ["b"]),
        NODE("Gather", ["b", "index"], ["c"], axis=1),
        NODE("Relu", ["c"], ["last"]),
    ]
    model = model_of(*nodes, weights={"k": weight(4, 3, 3, 3)})
    model.graph.input.append(helper.make_tensor_value_info("gain", TensorProto.FLOAT, []))
    model.graph.input.append(helper.make_tensor_value_info("index", TensorProto.INT64, ["M"]))
    write_model(models / "odd" / "1" / "model.onnx", model, None)
    feeds: dict[str, Array] = {"x": weight(2, 3, 8, 8), "gain": np.array(0.5, np.float32), "index": np.array([3, 1])}
    layers = list(producers(model.graph))
    async with serve() as client:
        found = await infer(client, feeds, layers)
    expected = run(model, feeds, layers)
    assert [name for name in layers if not close(found[name], expected[name], FLOAT32)] == []


async def infer(client: Client, feeds: dict[str, Array], layers: list[str]) -> dict[str, Array]:
    kinds = {"float32": "FP32", "int64": "INT64"}
    request: dict[str, Any] = {
        "inputs": [
            {"name": name, "shape": value.shape, "datatype": kinds[str(value.dtype)], "data": value.ravel().tolist()}
            for name, value in feeds.items()
        ],
        "outputs": [{"name": name} for name in layers],
    }
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/v2/models/odd/infer", content=json.dumps(request), headers=headers)
    assert answer.status_code == 200, answer.text
    return {
        output["name"]: np.array(output["data"], np.float32).reshape(output["shape"])
        for output in answer.json()["outputs"]
    }


def test_the_odd_models_are_what_onnxruntime_takes() -> None:
    for make in (old, half, dynamic, quantised, recurrent, attentive, chosen, functional, split):
        open_session(make().SerializeToString())
