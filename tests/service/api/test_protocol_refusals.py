"""The /v2 doors' rows of the status table."""

import asyncio
import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.service.api.protocol import GREEN, INFER, LENGTH, asking, in_binary, refused
from tests.service.conftest import Client, Serve
from tests.service.gate import Gate, until
from tests.service.odd_models import identity
from tests.service.tiny import write_model, write_tiny


async def test_400_for_wrong_names_types_and_shapes(protocol: Client) -> None:
    [good] = asking()["inputs"]
    for changes, words in (
        ({"name": "pixel"}, ("unknown input 'pixel'", "pixels")),
        ({"name": "x" * 90_000}, ("unknown input",)),
        ({"datatype": "INT8"}, ("out of range",)),
        ({"datatype": "UINT16"}, ("is UINT8, not UINT16",)),
        ({"shape": [1, 192]}, ("[-1, 8, 8, 3]", "[1, 192]")),
        ({"shape": [1, 8, 3, 8]}, ("does not fit",)),
        ({"shape": [8, 8, 3]}, ("does not fit",)),
        ({"shape": [0, 8, 8, 3], "data": []}, ("below 1",)),
        ({"shape": [-1, 8, 8, 3]}, ("below 1",)),
        ({"shape": [2**63, 2**63, 8, 3]}, ("more values",)),
        ({"shape": [10**12, 8, 8, 3]}, ("do not fill",)),
    ):
        refused(await protocol.post(INFER, json={"inputs": [{**good, **changes}]}), 400, *words)
    refused(await protocol.post(INFER, json=asking(GREEN, {"name": "stem.rulu"})), 400, "stem.relu")
    refused(await protocol.post(INFER, json={"inputs": []}), 400, "no inputs")
    refused(await protocol.post(INFER, content=b""), 400, "JSON")


async def test_400_for_lengths_that_lie(protocol: Client) -> None:
    body, headers = in_binary()
    for length in ("-1", "1", "99999", "many", "9" * 5000):
        refused(await protocol.post(INFER, content=body, headers={LENGTH: length}), 400)
    twice = [(LENGTH, headers[LENGTH]), (LENGTH, "7")]
    refused(await protocol.post(INFER, content=body, headers=twice), 400, "2 times")
    for size in (191, 193, 10**30, -1, 192.0):
        body, headers = in_binary(parameters={"binary_data_size": size})
        refused(await protocol.post(INFER, content=body, headers=headers), 400)


async def test_400_for_nan_in_json_of_an_answer_and_binary_has_it(serve: Serve, models: Path) -> None:
    write_tiny(
        models / "inverting" / "1" / "model.onnx", onnx.helper.make_node("Reciprocal", ["stem.relu"], ["inverse"])
    )
    async with serve() as client:
        url = "/v2/models/inverting/infer"
        black = np.zeros((1, 8, 8, 3), np.uint8)
        refused(await client.post(url, json=asking(black, {"name": "inverse"})), 400, "binary_data")
        answer = await client.post(url, json=asking(black, {"name": "inverse"}, binary_data_output=True))
        assert np.isinf(np.frombuffer(answer.content[int(answer.headers[LENGTH]) :], "<f4")).all()


@pytest.mark.parametrize(
    "path", ["/v2/models/tony", "/v2/models/tony/infer", "/v2/models/tiny/versions/2/ready", "/v2/models/tony/stats"]
)
async def test_404_for_an_unknown_model_or_version_lists_the_nearest(protocol: Client, path: str) -> None:
    method = "POST" if path.endswith("infer") else "GET"
    refused(await protocol.request(method, path), 404, "nearest")


async def test_405_for_a_method_that_a_door_has_not(protocol: Client) -> None:
    refused(await protocol.get(INFER), 405)


@pytest.mark.parametrize(("method", "path"), [("POST", INFER), ("GET", "/v2"), ("GET", "/v2/models/tiny/stats")])
async def test_406_for_a_client_that_reads_neither_form(protocol: Client, method: str, path: str) -> None:
    answer = await protocol.request(method, path, json=asking(), headers={"Accept": "text/html"})
    refused(answer, 406, "application/json")


async def test_413_for_a_body_over_its_limit(protocol: Client) -> None:
    refused(await protocol.post(INFER, content=bytes(100_001)), 413, "100000")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_413_for_a_bomb(protocol: Client, encoding: str) -> None:
    packed = (gzip if encoding == "gzip" else zlib).compress(bytes(50_000_000))
    assert len(packed) < 100_000
    answer = await protocol.post(INFER, content=packed, headers={"Content-Encoding": encoding})
    refused(answer, 413, "inflated", "100000")


@pytest.mark.parametrize("body", [b"", b"{}", gzip.compress(b"{}")[:-1], gzip.compress(b"{}") + b"!", b"\x1f\x8b\x08"])
async def test_400_for_a_body_that_is_not_compressed_as_it_says(protocol: Client, body: bytes) -> None:
    refused(await protocol.post(INFER, content=body, headers={"Content-Encoding": "gzip"}), 400, "compress")


async def test_413_for_an_answer_over_its_limit_before_it_is_computed(protocol: Client) -> None:
    pictures = np.repeat(GREEN, 100, axis=0)
    gate = Gate(protocol.services.repository.find("tiny"))
    refused(await protocol.post(INFER, json=asking(pictures, {"name": "stem.relu"})), 413, "20000", "fewer")
    assert gate.entered == 0
    gate.open()


async def test_413_for_more_rows_than_the_queue_could_ever_take(serve: Serve, models: Path) -> None:
    write_model(models / "bytes" / "1" / "model.onnx", identity(TensorProto.UINT8), None)
    body, headers = in_binary(np.zeros((400_000, 2), np.uint8), name="x")
    async with serve() as client:
        refused(await client.post("/v2/models/bytes/infer", content=body, headers=headers), 413, "400000", "1024")


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "text/plain", "image/png", "", "nonsense"]
)
async def test_415_for_another_content_type(protocol: Client, content_type: str) -> None:
    body = json.dumps(asking()).encode()
    refused(await protocol.post(INFER, content=body, headers={"Content-Type": content_type}), 415, "octet-stream")


async def test_415_for_another_content_encoding(protocol: Client) -> None:
    refused(await protocol.post(INFER, content=b"{}", headers={"Content-Encoding": "br"}), 415, "br", "gzip")


async def test_503_when_the_queue_is_full_and_504_past_the_request_s_timeout(serve: Serve) -> None:
    async with serve(max_queue_size=2, max_pictures=2) as client:
        gate = Gate(client.services.repository.find("tiny"))
        running = asyncio.create_task(client.post(INFER, json=asking()))
        await until(lambda: gate.entered == 1)
        waiting = asyncio.create_task(client.post(INFER, json=asking(np.repeat(GREEN, 2, axis=0))))
        await until(lambda: client.waiting == 2)
        answer = await client.post(INFER, json=asking())
        refused(answer, 503, "queue")
        assert int(answer.headers["retry-after"]) >= 1
        waiting.cancel()
        await until(lambda: client.waiting == 0)
        refused(await client.post(INFER, json=asking(GREEN, timeout=20_000)), 504, "timeout")
        gate.open()
        assert (await running).status_code == 200
        assert (await client.post(INFER, json=asking(GREEN, timeout=30_000_000))).status_code == 200


async def test_504_past_the_setting_however_long_the_request_would_wait(serve: Serve) -> None:
    async with serve(timeout_ms=50) as client:
        gate = Gate(client.services.repository.find("tiny"))
        refused(await client.post(INFER, json=asking(GREEN, timeout=10**12)), 504, "50 ms")
        gate.open()


async def test_503_for_a_version_that_is_not_served(serve: Serve, models: Path) -> None:
    (models / "broken" / "1").mkdir(parents=True)
    (models / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    async with serve() as client:
        for door in ("", "/ready", "/config"):
            refused(await client.get(f"/v2/models/broken{door}"), 503, "not served")
        refused(await client.post("/v2/models/broken/infer", json=asking()), 503)
        assert (await client.get("/v2/models/broken/stats")).json() == {"model_stats": []}


async def test_500_of_a_model_that_fails_is_not_laid_at_the_client_s_door(protocol: Client) -> None:
    served = protocol.services.repository.find("tiny")
    session = served.model.session
    served.model.session = None
    refused(await protocol.post(INFER, json=asking()), 500, "the model failed")
    served.model.session = session
