"""The /v2 doors: tensors in, tensors out, any layer by name."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from tests.service.api.protocol import GREEN, INFER, LENGTH, asking, in_binary, refused, tensor
from tests.service.conftest import Client, Serve
from tests.service.odd_models import adding, identity, joining, picking, scaling
from tests.service.scrape import sample
from tests.service.tiny import tiny_onnx, write_model


async def test_the_server_says_who_it_is_and_what_it_speaks(protocol: Client) -> None:
    for path in ("/v2", "/v2/"):
        answer = (await protocol.get(path)).json()
        assert answer["name"] == "convscope"
        assert answer["version"]
        assert answer["extensions"] == ["binary_tensor_data", "classification", "model_configuration", "statistics"]


async def test_a_model_says_what_it_takes_and_gives(protocol: Client) -> None:
    for path in ("/v2/models/tiny", "/v2/models/tiny/versions/1"):
        assert (await protocol.get(path)).json() == {
            "name": "tiny",
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}],
        }
        assert (await protocol.get(path + "/ready")).json() == {"name": "tiny", "ready": True}


async def test_the_configuration_is_triton_s(serve: Serve, models: Path) -> None:
    write_model(models / "one" / "1" / "model.onnx", identity(TensorProto.STRING, batch=1), None)
    async with serve(max_batch_size=7, max_queue_delay_ms=2.5) as client:
        assert (await client.get("/v2/models/tiny/versions/1/config")).json() == {
            "name": "tiny",
            "platform": "onnxruntime_onnx",
            "backend": "onnxruntime",
            "default_model_filename": "model.onnx",
            "version_policy": {"all": {}},
            "max_batch_size": 7,
            "input": [{"name": "pixels", "data_type": "TYPE_UINT8", "dims": [8, 8, 3]}],
            "output": [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [3]}],
            "instance_group": [{"count": 1, "kind": "KIND_CPU"}],
            "dynamic_batching": {"max_queue_delay_microseconds": 2500},
        }
        one = (await client.get("/v2/models/one/config")).json()
        assert (one["max_batch_size"], one["input"][0]["dims"]) == (0, [1, 2])
        assert one["input"][0]["data_type"] == "TYPE_STRING"
        assert "dynamic_batching" not in one


async def test_the_answer_is_the_session_s_with_the_id_echoed(protocol: Client) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), np.uint8)
    answer = await protocol.post(INFER, json=asking(pictures) | {"id": "4²"})
    [expected] = ort.InferenceSession(tiny_onnx().SerializeToString()).run(None, {"pixels": pictures})
    assert {key: value for key, value in answer.json().items() if key != "outputs"} == {
        "model_name": "tiny",
        "model_version": "1",
        "id": "4²",
    }
    np.testing.assert_allclose(tensor(answer, "probabilities"), expected, atol=1e-6)
    for stage in ("decode", "queue", "infer", "encode"):
        assert f"{stage};dur=" in answer.headers["server-timing"]


async def test_outputs_may_name_any_layer_beside_the_model_s_own(protocol: Client) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), np.uint8)
    names = [layer for node in tiny_onnx().graph.node for layer in node.output]
    wanted = tiny_onnx()
    del wanted.graph.output[:]
    wanted.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    expected = ort.InferenceSession(wanted.SerializeToString()).run(names, {"pixels": pictures})
    answer = await protocol.post(INFER, json=asking(pictures, *({"name": name} for name in names[3:])))
    for name, value in list(zip(names, expected, strict=True))[3:]:
        np.testing.assert_allclose(tensor(answer, name), value, atol=1e-6)
    assert sample(await protocol.metrics(), "convscope_batch_size_count") == 0


async def test_the_endpoint_s_label_is_the_door_s_template(protocol: Client) -> None:
    await protocol.post(INFER, json=asking())
    await protocol.get("/v2/models/tiny/versions/1/ready")
    metrics = await protocol.metrics()
    for endpoint in ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/ready"):
        assert sample(metrics, "convscope_request_duration_seconds_count", endpoint=endpoint, status="200") == 1


async def test_binary_in_and_out(protocol: Client) -> None:
    body, headers = in_binary()
    answer = await protocol.post(INFER, content=body, headers=headers)
    assert tensor(answer, "probabilities").argmax() == 1
    answer = await protocol.post(INFER, json=asking(GREEN, binary_data_output=True))
    assert answer.headers["content-type"] == "application/octet-stream"
    head = json.loads(answer.content[: int(answer.headers[LENGTH])])
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 12}
    assert np.frombuffer(answer.content[int(answer.headers[LENGTH]) :], "<f4").argmax() == 1


async def test_a_raw_picture_with_no_json_at_all(protocol: Client) -> None:
    answer = await protocol.post(INFER, content=GREEN.tobytes(), headers={LENGTH: "0"})
    assert np.frombuffer(answer.content[int(answer.headers[LENGTH]) :], "<f4").argmax() == 1


async def test_classification_has_the_card_s_labels(protocol: Client) -> None:
    outputs = [{"name": name, "parameters": {"classification": 2}} for name in ("probabilities", "head", "flatten")]
    answer = await protocol.post(INFER, json=asking(np.repeat(GREEN, 3, axis=0), *outputs))
    for name, ending in (("probabilities", "1:green"), ("head", "1"), ("flatten", "1")):
        texts = tensor(answer, name)
        assert texts.shape == (3, 2)
        value, rest = texts[0, 0].split(":", 1)
        assert rest == ending
        assert float(value) > 0.9


async def test_more_classes_than_there_are_gives_all(protocol: Client) -> None:
    answer = await protocol.post(INFER, json=asking(GREEN, {"name": "head", "parameters": {"classification": 10**9}}))
    assert tensor(answer, "head").tolist() == [["20.0:1", "0.0:0", "0.0:2"]]


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "raw deflate", "identity"])
async def test_compressed_bodies(protocol: Client, encoding: str) -> None:
    body = json.dumps(asking()).encode()
    raw = zlib.compressobj(wbits=-15)
    packed = {
        "gzip": gzip.compress(body),
        "x-gzip": gzip.compress(body),
        "deflate": zlib.compress(body),
        "raw deflate": raw.compress(body) + raw.flush(),
        "identity": body,
    }
    headers = {"Content-Encoding": encoding.split()[-1]}
    answer = await protocol.post(INFER, content=packed[encoding], headers=headers)
    assert tensor(answer, "probabilities").argmax() == 1


async def test_compressed_pictures_for_the_other_doors(protocol: Client) -> None:
    picture = gzip.compress(b"no picture")
    headers = {"Content-Type": "image/png", "Content-Encoding": "gzip"}
    assert (await protocol.post("/v1/models/tiny/predict", content=picture, headers=headers)).status_code == 422


KINDS: dict[str, tuple[int, list[Any]]] = {
    "BOOL": (TensorProto.BOOL, [True, False]),
    "UINT8": (TensorProto.UINT8, [0, 255]),
    "UINT16": (TensorProto.UINT16, [0, 65535]),
    "UINT32": (TensorProto.UINT32, [0, 2**32 - 1]),
    "UINT64": (TensorProto.UINT64, [0, 2**64 - 1]),
    "INT8": (TensorProto.INT8, [-128, 127]),
    "INT16": (TensorProto.INT16, [-(2**15), 2**15 - 1]),
    "INT32": (TensorProto.INT32, [-(2**31), 2**31 - 1]),
    "INT64": (TensorProto.INT64, [-(2**63), 2**63 - 1]),
    "FP32": (TensorProto.FLOAT, [-1.5, 2.0**127]),
    "FP64": (TensorProto.DOUBLE, [-1.5, 1e308]),
    "BYTES": (TensorProto.STRING, ["", "né\0"]),
}


@pytest.mark.parametrize("datatype", KINDS)
async def test_every_type_goes_through_a_model(serve: Serve, models: Path, datatype: str) -> None:
    kind, values = KINDS[datatype]
    write_model(models / "same" / "1" / "model.onnx", identity(kind), None)
    async with serve() as client:
        for rows in (1, 3):
            entry = {"name": "x", "shape": [rows, 2], "datatype": datatype, "data": values * rows}
            for name in ("y", "x"):
                answer = await client.post(
                    "/v2/models/same/infer", json={"inputs": [entry], "outputs": [{"name": name}]}
                )
                if name == "x":
                    refused(answer, 400, "unknown output 'x'", "y")
                else:
                    assert answer.json()["outputs"] == [{**entry, "name": name}]


async def test_fp16_by_binary_only(serve: Serve, models: Path) -> None:
    write_model(models / "half" / "1" / "model.onnx", identity(TensorProto.FLOAT16), None)
    array = np.array([[1.5, np.inf]], np.float16)
    async with serve() as client:
        url = "/v2/models/half/infer"
        asked = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP16", "data": [1.5, 2]}]}
        refused(await client.post(url, json=asked), 400, "FP16", "binary")
        body, headers = in_binary(array, name="x", datatype="FP16")
        refused(await client.post(url, content=body, headers=headers), 400, "FP16", "binary_data")
        answer = await client.post(url, content=array.tobytes(), headers={LENGTH: "0"})
        assert answer.content.endswith(array.tobytes())
        assert json.loads(answer.content[: int(answer.headers[LENGTH])])["outputs"][0]["datatype"] == "FP16"


async def test_several_inputs_of_several_types(serve: Serve, models: Path) -> None:
    write_model(models / "adding" / "1" / "model.onnx", adding(), None)
    a = {"name": "a", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, -4]}
    b = {"name": "b", "shape": [2, 2], "datatype": "INT64", "data": [[1, 1], [1, 1]]}
    async with serve() as client:
        url = "/v2/models/adding/infer"
        answer = await client.post(url, json={"inputs": [b, a]})
        assert tensor(answer, "sum").tolist() == [[2, 3], [4, -3]]
        assert tensor(answer, "positive").tolist() == [[True, True], [True, False]]
        best = [{"name": "positive", "parameters": {"classification": 1}}]
        refused(await client.post(url, json={"inputs": [a, b], "outputs": best}), 400, "numbers")
        refused(await client.post(url, json={"inputs": [a]}), 400, "'b' is missing", "INT64")
        refused(await client.post(url, json={"inputs": [a, b, b]}), 400, "twice")
        refused(await client.post(url, json={"inputs": [a, b | {"shape": [1, 2], "data": [1, 1]}]}), 400, "rows")


async def test_an_output_that_is_a_weight_can_be_had_beside_a_layer(serve: Serve, models: Path) -> None:
    model = adding()
    model.graph.output.append(onnx.helper.make_tensor_value_info("zero", onnx.TensorProto.FLOAT, []))
    write_model(models / "odd" / "1" / "model.onnx", model, None)
    given = [
        {"name": name, "shape": [1, 2], "datatype": kind, "data": [1, 2]}
        for name, kind in (("a", "FP32"), ("b", "INT64"))
    ]
    async with serve() as client:
        for names in (["zero"], ["zero", "sum"], ["zero", "b.float"], ["b.float", "sum", "zero"]):
            asked = {"inputs": given, "outputs": [{"name": name} for name in names]}
            answer = await client.post("/v2/models/odd/infer", json=asked)
            assert answer.status_code == 200, answer.text
            found = {output["name"]: output["data"] for output in answer.json()["outputs"]}
            assert found == {name: {"zero": [0], "sum": [2, 4], "b.float": [1, 2]}[name] for name in names}


async def test_a_model_without_inputs_is_asked_for_with_none(serve: Serve, models: Path) -> None:
    y = onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    nodes = [onnx.helper.make_node("Abs", ["k"], ["a"]), onnx.helper.make_node("Add", ["a", "a"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "constant", [], [y])
    graph.initializer.append(onnx.helper.make_tensor("k", TensorProto.FLOAT, [1, 2], [-1, 2]))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    write_model(models / "odd" / "1" / "model.onnx", model, None)
    url = "/v2/models/odd/infer"
    nothing: list[dict[str, Any]] = [{}, {"inputs": []}]
    async with serve() as client:
        for asked in nothing:
            assert tensor(await client.post(url, json=asked), "y").tolist() == [[2, 4]]
        layers = await client.post(url, json={"outputs": [{"name": "a"}, {"name": "y"}]})
        assert tensor(layers, "a").tolist() == [[1, 2]]
        given = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
        refused(await client.post(url, json={"inputs": [given]}), 400, "'x'")
        assert (await client.post("/v1/models/odd/latency")).status_code == 200


async def test_a_model_without_rows_takes_whole_feeds(serve: Serve, models: Path) -> None:
    write_model(models / "scaling" / "1" / "model.onnx", scaling(), None)
    x = {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6]}
    by = {"name": "by", "shape": [], "datatype": "FP32", "data": [10]}
    async with serve() as client:
        answer = await client.post("/v2/models/scaling/infer", json={"inputs": [x, by]})
        assert tensor(answer, "y").tolist() == [[10, 20, 30], [40, 50, 60]]
        best = {"inputs": [x, by], "outputs": [{"name": "y", "parameters": {"classification": 2}}]}
        assert tensor(await client.post("/v2/models/scaling/infer", json=best), "y").tolist() == [
            ["30.0:2", "20.0:1"],
            ["60.0:2", "50.0:1"],
        ]


async def test_a_model_that_cannot_run_on_these_tensors_is_no_500(serve: Serve, models: Path) -> None:
    write_model(models / "picking" / "1" / "model.onnx", picking(), None)
    write_model(models / "joining" / "1" / "model.onnx", joining(), None)
    async with serve() as client:
        index = {"name": "index", "shape": [2], "datatype": "INT64"}
        good, bad = ({"inputs": [index | {"data": data}]} for data in ([0, 4], [0, 5]))
        refused(await client.post("/v2/models/picking/infer", json=bad), 400, "cannot run on these tensors")
        assert tensor(await client.post("/v2/models/picking/infer", json=good), "picked").tolist() == [0, 4]
        x, y = (
            {"name": name, "shape": [1, n], "datatype": "FP32", "data": [1] * n} for name, n in (("x", 2), ("y", 3))
        )
        refused(await client.post("/v2/models/joining/infer", json={"inputs": [x, y]}), 400, "cannot run")
