import io
import json
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper
from PIL import Image

from service.api.instances import instances_of
from service.errors import InvalidRequest, TooLarge, Unprocessable, UnsupportedType
from service.inference.inputs import instances as reading
from tests.service.conftest import Client, Serve
from tests.service.numeric import (
    AXES,
    COURSES,
    LENGTH,
    change,
    course,
    signal_card,
    signal_onnx,
    volume_card,
    volume_onnx,
    write,
    write_both,
)

README = Path(__file__).parents[3] / "README.md"
BODIES: dict[str, list[Any]] = {"signal": [course("falling")], "volume": [change("height").tolist()]}
LAYERS = {"signal": "mean.conv", "volume": "stem.abs"}


@pytest.fixture
async def client(serve: Serve, models: Path) -> AsyncIterator[Client]:
    write_both(models)
    async with serve() as client:
        yield client


async def send(client: Client, model: str, instances: object, door: str = "predict", **options: Any) -> httpx.Response:
    return await client.post(f"/v1/models/{model}/{door}", json={"instances": instances}, **options)


def best(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [prediction["classes"][0]["label"] for prediction in answer.json()["predictions"]]


# Predicting


async def test_signals_are_classified_in_their_order(client: Client) -> None:
    labels = ["falling", "rising", "rising", "falling"]
    assert best(await send(client, "signal", [course(label) for label in labels])) == labels


async def test_volumes_are_classified_along_the_right_axis(client: Client) -> None:
    assert best(await send(client, "volume", [change(label).tolist() for label in AXES])) == list(AXES)


async def test_the_axis_of_the_channel_may_be_there(client: Client) -> None:
    assert best(await send(client, "signal", [[[value] for value in course("rising")]])) == ["rising"]
    assert best(await send(client, "volume", [change("width")[..., np.newaxis].tolist()])) == ["width"]


async def test_what_the_card_has_outside_the_graph_is_applied(serve: Serve, models: Path) -> None:
    card = signal_card(layout="NCHW", scale=-2.0, mean=(3.0,), std=(0.5,))
    write(models / "turned" / "1" / "model.onnx", signal_onnx(layout="NCHW"), card, COURSES)
    async with serve() as client:
        assert best(await send(client, "turned", [course("rising"), [course("falling")]])) == ["falling", "rising"]


async def test_a_card_of_kind_tensor_takes_numbers_too(serve: Serve, models: Path) -> None:
    write(models / "any" / "1" / "model.onnx", signal_onnx(), signal_card(kind="tensor"), COURSES)
    async with serve() as client:
        assert best(await send(client, "any", [course("falling")])) == ["falling"]


async def test_the_signal_in_readme_is_one(client: Client) -> None:
    [body] = re.findall(r"/predict -d '(\{.*?\})'", README.read_text(), re.DOTALL)
    assert len(best(await send(client, "signal", json.loads(body)["instances"]))) == 1


# Looking inside


@pytest.mark.parametrize("model", BODIES)
async def test_npz_holds_what_onnxruntime_yields(client: Client, model: str) -> None:
    rows = (await client.get(f"/v1/models/{model}/layers")).json()["layers"]
    layers = [row["name"] for row in rows]
    options: dict[str, Any] = {"params": {"layer": layers}, "headers": {"Accept": "application/x-npz"}}
    answer = await send(client, model, BODIES[model], "feature-maps", **options)
    proto, card = (signal_onnx(), signal_card()) if model == "signal" else (volume_onnx(), volume_card())
    found, truth = np.load(io.BytesIO(answer.content)), yielded(proto, layers, BODIES[model], card.dtype, card.shape)
    assert list(found) == layers
    for name, values in truth.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)


def yielded(
    proto: onnx.ModelProto, layers: list[str], instances: list[Any], dtype: str, shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    name = proto.graph.input[0].name
    proto.graph.output.extend(
        [helper.make_empty_tensor_value_info(layer) for layer in layers if layer != "probabilities"]
    )
    fed = np.array(instances, dtype).reshape(-1, *shape)
    return dict(zip(layers, ort.InferenceSession(proto.SerializeToString()).run(layers, {name: fed}), strict=True))


@pytest.mark.parametrize(("model", "shape", "channels"), [("signal", [2, 18], 2), ("volume", [3, 3, 4, 3], 3)])
async def test_json_has_statistics_per_channel(client: Client, model: str, shape: list[int], channels: int) -> None:
    answer = await send(client, model, BODIES[model] * 2, "feature-maps", params={"layer": LAYERS[model]})
    images = answer.json()["images"]
    assert len(images) == 2
    [summary] = images[0]["layers"]
    assert summary["shape"] == shape
    assert [channel["channel"] for channel in summary["channels"]] == list(range(channels))
    strongest = max(summary["channels"], key=lambda channel: channel["mean"])
    assert strongest["channel"] == 1  # falling; height


@pytest.mark.parametrize("model", BODIES)
async def test_every_layer_and_every_kernel_is_drawn(client: Client, model: str) -> None:
    png = {"Accept": "image/png"}
    for row in (await client.get(f"/v1/models/{model}/layers")).json()["layers"]:
        options: dict[str, Any] = {"params": {"layer": row["name"]}, "headers": png}
        answer = await send(client, model, BODIES[model], "feature-maps", **options)
        assert answer.status_code == 200, answer.text
        assert len(np.unique(np.asarray(Image.open(io.BytesIO(answer.content))).reshape(-1, 3), axis=0)) > 2
        if row["op"] == "Conv":
            kernels = await client.get(f"/v1/models/{model}/weights", **options)
            assert Image.open(io.BytesIO(kernels.content)).size > (100, 100)


async def test_two_models_are_compared_on_the_same_numbers(client: Client) -> None:
    answer = await send(client, "volume", BODIES["volume"], "feature-maps", params={"against": "volume/1"})
    assert {layer["cosine"] for layer in answer.json()["layers"]} == {1.0}
    other = await send(client, "volume", BODIES["volume"], "feature-maps", params={"against": "signal"})
    assert (other.status_code, "instance 0: shape [5, 6, 8]" in other.json()["detail"]) == (400, True)


async def test_the_table_has_windows_and_fields_along_every_axis(client: Client) -> None:
    tables = {
        model: {row["name"]: row for row in (await client.get(f"/v1/models/{model}/layers")).json()["layers"]}
        for model in BODIES
    }
    mean, edges = tables["signal"]["mean.conv"], tables["volume"]["stem.conv"]
    assert (mean["kernel"], mean["stride"], mean["padding"]) == ([3], [1], [0, 0])
    assert mean["shape"] == ["N", 2, 18]
    # by hand: 3 of the stem, 1 more by the pool of two in steps of two, then 2 neighbours of those
    assert mean["receptive_field"] == {"size": 8, "step": 2, "start": -1}
    assert mean["macs"] == 2 * 18 * 3
    assert (edges["kernel"], edges["stride"], edges["shape"]) == ([3, 3, 3], [1, 1, 2], ["N", 3, 3, 4, 3])
    assert edges["receptive_field"] == {"size": [3, 3, 3], "step": [1, 1, 2], "start": [0, 0, 0]}
    assert edges["macs"] == 3 * 3 * 4 * 3 * 27


@pytest.mark.parametrize("model", BODIES)
async def test_tensors_give_the_same_layers(client: Client, model: str) -> None:
    card = signal_card() if model == "signal" else volume_card()
    fed = np.array(BODIES[model]).reshape(1, *card.shape)
    tensor = {"name": card.name, "shape": fed.shape, "datatype": "FP32" if model == "signal" else "UINT8"}
    body = {"inputs": [{**tensor, "data": fed.ravel().tolist()}], "outputs": [{"name": LAYERS[model]}]}
    [output] = (await client.post(f"/v2/models/{model}/infer", json=body)).json()["outputs"]
    options: dict[str, Any] = {"params": {"layer": LAYERS[model]}, "headers": {"Accept": "application/x-npz"}}
    answer = await send(client, model, BODIES[model], "feature-maps", **options)
    [values] = np.load(io.BytesIO(answer.content)).values()
    assert output["shape"] == list(values.shape)
    np.testing.assert_allclose(output["data"], values.ravel(), atol=1e-6)


@pytest.mark.parametrize("model", BODIES)
async def test_the_time_of_each_layer_is_measured(client: Client, model: str) -> None:
    profile = (await client.post(f"/v1/models/{model}/latency")).json()["profile"]
    assert {row["name"] for row in profile["batches"][0]["layers"]} & {"stem.conv", "mean.conv", "stem.abs"}


@pytest.mark.parametrize("model", BODIES)
async def test_where_a_class_was_seen_is_an_array_and_no_picture(client: Client, model: str) -> None:
    answer = await send(client, model, BODIES[model], "class-activation")
    found = answer.json()
    assert (answer.status_code, found["method"], found["bias"]) == (200, "occlusion", None)
    assert found["label"] == {"signal": "falling", "volume": "height"}[model]
    shape = [LENGTH] if model == "signal" else [5, 6, 6]  # one place per value; no more than six along an axis
    assert found["shape"] == list(np.shape(found["values"])) == shape
    npz = await send(client, model, BODIES[model], "class-activation", headers={"Accept": "application/x-npz"})
    np.testing.assert_allclose(np.load(io.BytesIO(npz.content))["activation"], found["values"], atol=1e-6)
    assert np.ptp(found["values"]) > 1e-4
    png = await send(client, model, BODIES[model], "class-activation", headers={"Accept": "image/png"})
    assert (png.status_code, f"a {model} is no picture to lay the map over" in png.json()["detail"]) == (406, True)
    many = await send(client, model, BODIES[model] * 2, "class-activation")
    assert (many.status_code, many.json()["detail"]) == (
        400,
        f"a class is looked for in one {model} at a time, not in 2",
    )


# Refusals


async def test_a_bad_instance_is_refused_with_its_index(client: Client) -> None:
    answer = await send(client, "signal", [course("rising"), course("rising")[1:]])
    assert answer.status_code == 400
    assert answer.json()["detail"] == "instance 1: shape [39], expected numbers of shape [40] or [40, 1]"
    holed = json.dumps({"instances": [course("rising"), [float("nan")] * 40]})
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/v1/models/signal/predict", content=holed, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["detail"] == "instance 1: NaN at [0], expected numbers that float32 can hold"


@pytest.mark.parametrize("door", ["predict", "feature-maps?layer=stem.conv", "class-activation"])
async def test_what_the_model_does_not_take_is_refused(client: Client, door: str) -> None:
    headers = {"Content-Type": "image/png"}
    answer = await client.post(f"/v1/models/signal/{door}", content=b"\x89PNG", headers=headers)
    assert (answer.status_code, answer.json()["detail"][:43]) == (422, "the model takes a signal, not a picture; se")
    answer = await client.post(f"/v1/models/volume/{door}", json={"images": ["YQ=="]})
    assert (answer.status_code, answer.json()["detail"][:39]) == (422, "the model takes a volume, not a picture")
    answer = await send(client, "tiny", [[1, 2]], door)
    assert (answer.status_code, answer.json()["detail"][:38]) == (422, "the model takes pictures, not numbers;")
    assert (await send(client, "sygnal", [[1]], door)).status_code == 404


async def test_an_unknown_layer_is_told_with_the_nearest(client: Client) -> None:
    answer = await send(client, "signal", BODIES["signal"], "feature-maps", params={"layer": "stem.comv"})
    assert (answer.status_code, "stem.conv" in answer.json()["detail"]) == (404, True)


async def test_a_signal_model_that_breaks_its_cards_promise_does_not_answer(serve: Serve, models: Path) -> None:
    write(models / "broken" / "1" / "model.onnx", signal_onnx(), signal_card(), COURSES)
    falling_first = signal_onnx()
    [kernel] = [tensor for tensor in falling_first.graph.initializer if tensor.name == "kernel"]
    kernel.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(kernel), "kernel"))
    file = onnx.load(models / "broken" / "1" / "model.onnx")
    falling_first.metadata_props.extend(file.metadata_props)
    onnx.save(falling_first, models / "broken" / "1" / "model.onnx")
    async with serve() as client:
        answer = await send(client, "broken", [course("rising")])
        assert (answer.status_code, "off its card's" in (await client.get("/v1/models")).text) == (503, True)


async def test_more_instances_than_allowed_are_refused_whole(serve: Serve, models: Path) -> None:
    write_both(models)
    async with serve(max_pictures=3) as client:
        assert best(await send(client, "signal", [course("rising")] * 3)) == ["rising"] * 3
        answer = await send(client, "signal", [course("rising")] * 4)
        assert (answer.status_code, answer.json()["detail"]) == (
            413,
            "4 instances in one request are more than the limit of 3",
        )
    async with serve(max_body_bytes=1000) as client:
        assert (await send(client, "signal", [course("rising")] * 5)).status_code == 413


async def test_many_numbers_are_read_beside_the_event_loop(
    serve: Serve, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extents = (30, 30, 30)
    write(models / "large" / "1" / "model.onnx", volume_onnx(extents), volume_card(extents), AXES)
    seen = set()

    def observed(nested: list[Any], shape: tuple[int, ...]) -> list[Any] | None:
        seen.add(threading.current_thread())
        return flattened(nested, shape)

    flattened = reading.flattened
    monkeypatch.setattr(reading, "flattened", observed)
    async with serve() as client:
        labels = [*AXES] * 6  # just under what one JSON body may hold
        assert best(await send(client, "large", [change(label, extents).tolist() for label in labels])) == labels
        answer = await send(client, "large", [change("depth", extents).tolist()] * 19)
    assert threading.main_thread() not in seen
    assert answer.status_code == 413
    assert "fewer instances at a time" in answer.json()["detail"]


# The body alone


@pytest.mark.parametrize(
    ("content_type", "body", "error", "reason"),
    [
        ("application/json", b"", InvalidRequest, r"empty; send a signal as application/json \(\{\"instances\""),
        (None, b"{}", UnsupportedType, "no content type; accepted is application/json"),
        ("text/csv", b"1,2", UnsupportedType, "'text/csv' is not accepted"),
        ("multipart/form-data; boundary=x", b"--x", Unprocessable, "takes a signal, not a picture"),
        ("application/json", b"{", InvalidRequest, "malformed JSON"),
        ("application/json", b"[[1, 2]]", InvalidRequest, r"not an object: \{\"instances\""),
        ("application/json", b"{}", InvalidRequest, "not of the form"),
        ("application/json", b'{"instances": []}', InvalidRequest, "at least one"),
        ("application/json", b'{"instances": {"a": 1}}', InvalidRequest, "not of the form"),
        ("application/json", b'{"instances": [1], "signature_name": ""}', InvalidRequest, "not of the form"),
        ("application/json", b'{"instances": [1], "instances": [2]}', InvalidRequest, "key twice"),
        ("application/json", b'{"instances": ' + b"[" * 100_000, InvalidRequest, "nested too deeply"),
        ("application/json", b'{"instances": [' + b"0," * 500_000 + b"0]}", TooLarge, "500000 values"),
        ("application/json", b'{"instances": [1, 2, 3]}', TooLarge, "3 instances .* limit of 2"),
    ],
)
def test_a_body_without_instances_is_refused(
    content_type: str | None, body: bytes, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        instances_of(content_type, body, "signal", max_instances=2)


def test_instances_come_in_their_order_and_as_they_are() -> None:
    body = b'{"instances": [[1, 2.5], "x"]}'
    assert instances_of("Application/JSON; charset=utf-8", body, "signal", max_instances=2) == [[1, 2.5], "x"]
