"""The status table of the /v1 doors, a row a test; after every refusal the next good request is answered."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from PIL import Image
from starlette.types import Message, Scope

from service.app import create_app
from service.settings import Settings
from tests.service.conftest import Client, Serve
from tests.service.gate import Gate, until
from tests.service.scrape import sample
from tests.service.tiny import write_tiny

Picture = Callable[..., bytes]
PNG = {"Content-Type": "image/png"}
JSON = {"Content-Type": "application/json"}
PREDICT = "/v1/models/tiny/predict"
MAPS = "/v1/models/tiny/feature-maps"


@pytest.fixture
async def client(serve: Serve, picture: Picture) -> AsyncIterator[Client]:
    """A service that has not been hurt by what a test did to it."""
    async with serve(max_pictures=20, max_body_bytes=100_000, max_answer_bytes=10_000) as client:
        yield client
        assert (await client.predict(picture("blue"))).json()["predictions"][0]["classes"][0]["label"] == "blue"


def refused(answer: httpx.Response, status: int, *words: str) -> dict[str, object]:
    """Check the one shape that every refusal under /v1 has; its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    assert "total;dur=" in answer.headers["server-timing"]
    body: dict[str, object] = answer.json()
    assert body["type"] == "about:blank"
    assert body["status"] == status
    assert body["title"]
    assert body["instance"] == answer.request.url.path
    for word in words:
        assert word in str(body["detail"])
    return body


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "image/png"),
        (b"", "application/json"),
        (b"{", "application/json"),
        (b'{"images": ["%%%"]}', "application/json"),
        (b'{"images": [17]}', "application/json"),
        (b'{"images": []}', "application/json"),
        (b"[" * 50_000, "application/json"),
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x"),
        (b"--x--\r\n", "multipart/form-data"),
    ],
)
async def test_400_for_a_body_that_is_empty_or_malformed(client: Client, body: bytes, content_type: str) -> None:
    refused(await client.post(PREDICT, content=body, headers={"Content-Type": content_type}), 400)


@pytest.mark.parametrize("top_k", ["0", "-1", "many", "1.5", "", "9" * 5000])
async def test_400_for_top_k_that_is_no_positive_number(client: Client, picture: Picture, top_k: str) -> None:
    refused(await client.post(f"{PREDICT}?top_k={top_k}", content=picture(), headers=PNG), 400, "top_k")


async def test_400_for_feature_maps_of_no_layer(client: Client, picture: Picture) -> None:
    refused(await client.post(MAPS, content=picture(), headers=PNG), 400, "layer")


async def test_400_for_a_png_of_more_than_one_layer_or_picture(client: Client, picture: Picture) -> None:
    two_layers = f"{MAPS}?layer=stem.conv&layer=stem.relu"
    refused(await client.post(two_layers, content=picture(), headers={**PNG, "Accept": "image/png"}), 400, "one layer")
    files = [("images", ("a.png", picture(), "image/png"))] * 2
    one_layer = f"{MAPS}?layer=stem.conv"
    refused(await client.post(one_layer, files=files, headers={"Accept": "image/png"}), 400, "one layer")


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("/v1/models/tony/predict", "tiny"),
        ("/v1/models/tiny/versions/2/predict", "1"),
        ("/v1/models/tiny/versions/latest/predict", "1"),
        (f"{MAPS}?layer=stem.rulu", "stem.relu"),
    ],
)
async def test_404_for_an_unknown_name_lists_the_nearest(
    client: Client, picture: Picture, path: str, nearest: str
) -> None:
    body = refused(await client.post(path, content=picture(), headers=PNG), 404, nearest)
    nearest_names = body["nearest"]
    assert isinstance(nearest_names, list)
    assert nearest in nearest_names


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/models/tiny/nothing", "/v1/models/tiny/versions", "/nothing"])
async def test_404_for_a_path_that_is_no_door(client: Client, path: str) -> None:
    refused(await client.get(path), 404)


async def test_405_for_a_method_that_a_door_has_not(client: Client) -> None:
    answer = await client.get(PREDICT)
    refused(answer, 405)
    assert answer.headers["allow"] == "POST"
    both = await client.delete("/v1/models/tiny/latency")
    refused(both, 405)
    assert both.headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("method", "path", "accept"),
    [
        ("POST", PREDICT, "image/png"),
        ("POST", f"{MAPS}?layer=stem.conv", "text/html"),
        ("POST", f"{MAPS}?layer=stem.conv", "application/json;q=0, application/xml"),
        ("GET", "/v1/models/tiny/layers", "image/png"),
        ("GET", "/v1/models", "text/csv"),
    ],
)
async def test_406_when_none_of_the_accepted_types_can_be_given(
    client: Client, picture: Picture, method: str, path: str, accept: str
) -> None:
    body = picture() if method == "POST" else b""
    refused(await client.request(method, path, content=body, headers={**PNG, "Accept": accept}), 406)


async def test_406_for_a_layer_that_has_no_picture(serve: Serve, picture: Picture, models: Path) -> None:
    count = onnx.helper.make_node("Size", ["pixels"], ["pixel.count"])
    write_tiny(models / "counting" / "1" / "model.onnx", count)
    async with serve() as client:
        path = "/v1/models/counting/feature-maps?layer=pixel.count"
        refused(await client.post(path, content=picture(), headers={**PNG, "Accept": "image/png"}), 406)
        refused(await client.post(path, content=picture(), headers={**PNG, "Accept": "application/json"}), 406)
        answer = await client.post(path, content=picture(), headers={**PNG, "Accept": "application/x-npz"})
        assert np.load(io.BytesIO(answer.content))["pixel.count"] == 8 * 8 * 3


async def test_400_for_json_of_a_layer_that_has_infinite_values(serve: Serve, picture: Picture, models: Path) -> None:
    inverse = onnx.helper.make_node("Reciprocal", ["stem.relu"], ["inverse"])
    write_tiny(models / "inverting" / "1" / "model.onnx", inverse)
    async with serve() as client:
        path = "/v1/models/inverting/feature-maps?layer=inverse"
        black = picture("black")
        refused(await client.post(path, content=black, headers={**PNG, "Accept": "application/json"}), 400, "NaN")
        answer = await client.post(path, content=black, headers={**PNG, "Accept": "application/x-npz"})
        assert np.isinf(np.load(io.BytesIO(answer.content))["inverse"]).all()


async def test_413_for_a_body_over_its_limit_as_announced(client: Client) -> None:
    refused(await client.post(PREDICT, content=bytes(100_001), headers=PNG), 413, "100001", "100000")


async def test_413_for_a_body_over_its_limit_while_it_streams_in(client: Client) -> None:
    sent = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            sent.append(1)
            yield bytes(10_000)

    refused(await client.post(PREDICT, content=endless(), headers=PNG), 413, "100000")
    assert len(sent) < 15


async def test_413_for_121_megapixels_in_15_kilobytes(client: Client) -> None:
    buffer = io.BytesIO()
    Image.new("1", (11_000, 11_000)).save(buffer, "PNG")
    assert len(buffer.getvalue()) < 20_000
    refused(await client.post(PREDICT, content=buffer.getvalue(), headers=PNG), 413, "121000000", "100000000")


@pytest.mark.parametrize("count", [21, 10_001])
async def test_413_for_too_many_pictures(serve: Serve, picture: Picture, count: int) -> None:
    async with serve(max_pictures=20) as client:
        parts = [("images", ("a.png", picture(), "image/png"))] * count
        refused(await client.post(PREDICT, files=parts), 413, str(count), "20")
        images = [base64.b64encode(picture()).decode()] * count
        refused(await client.post(PREDICT, json={"images": images}), 413, str(count), "20")


async def test_413_for_an_answer_that_is_too_large_says_how_to_cut_it(client: Client, picture: Picture) -> None:
    files = [("images", ("a.png", picture(), "image/png"))] * 20
    answer = await client.post(f"{MAPS}?layer=stem.conv", files=files, headers={"Accept": "application/x-npz"})
    refused(answer, 413, "10000", "fewer")


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "video/mp4", "nonsense", None])
async def test_415_for_another_content_type(client: Client, picture: Picture, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    refused(await client.post(PREDICT, content=picture(), headers=headers), 415, "multipart/form-data")


def truncated_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(buffer, "JPEG")
    return buffer.getvalue()[:-100]


def tiff() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "TIFF")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "body",
    [b"I am a text.", truncated_jpeg(), tiff(), b"8BPS\x00\x01" + bytes(40), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"],
    ids=["text", "truncated jpeg", "tiff", "psd", "png signature", "jpeg signature"],
)
async def test_422_for_bytes_that_are_no_whole_picture(client: Client, body: bytes) -> None:
    problem = refused(await client.post(PREDICT, content=body, headers={"Content-Type": "image/jpeg"}), 422)
    assert problem["index"] == 0


async def test_422_names_the_bad_one_among_good_ones(client: Client, picture: Picture) -> None:
    files = [("images", ("a.png", b"" if index == 13 else picture(), "image/png")) for index in range(20)]
    assert refused(await client.post(PREDICT, files=files), 422, "image 13")["index"] == 13
    images = [base64.b64encode(b"no" if index == 7 else picture()).decode() for index in range(20)]
    assert refused(await client.post(PREDICT, json={"images": images}), 422, "image 7")["index"] == 7


async def test_503_with_retry_after_when_the_queue_is_full(serve: Serve, picture: Picture) -> None:
    async with serve(max_queue_size=2, max_pictures=2) as client:
        gate = Gate(client.services.repository.find("tiny"))
        running = asyncio.create_task(client.predict(picture()))
        await until(lambda: gate.entered == 1)
        files = [("images", ("a.png", picture(), "image/png"))] * 2
        waiting = asyncio.create_task(client.post(PREDICT, files=files))
        await until(lambda: client.waiting == 2)
        answer = await client.predict(picture())
        refused(answer, 503, "queue")
        assert int(answer.headers["retry-after"]) >= 1
        assert sample(await client.metrics(), "convscope_rejected_total", reason="queue_full") == 1
        gate.open()
        assert [(await running).status_code, (await waiting).status_code] == [200, 200]
        assert (await client.predict(picture())).status_code == 200


async def test_504_past_the_deadline_and_the_run_is_spared(serve: Serve, picture: Picture) -> None:
    async with serve(timeout_ms=1000) as client:
        gate = Gate(client.services.repository.find("tiny"))
        running = asyncio.create_task(client.predict(picture()))
        await until(lambda: gate.entered == 1)
        refused(await client.predict(picture()), 504, "1000 ms")
        refused(await running, 504)
        assert client.waiting == 0
        gate.open()
        assert (await client.predict(picture())).status_code == 200
        assert gate.entered == 2  # the one that was held, and the one just now: what was late never ran


async def test_a_client_that_leaves_is_counted_and_its_run_is_spared(serve: Serve, picture: Picture) -> None:
    async with serve() as client:
        gate = Gate(client.services.repository.find("tiny"))
        running = asyncio.create_task(client.predict(picture()))
        await until(lambda: gate.entered == 1)
        await leave(client, picture())
        assert sample(await client.metrics(), "convscope_cancelled_total", model="tiny") == 1
        gate.open()
        assert (await running).status_code == 200
        assert (await client.predict(picture())).status_code == 200
        assert gate.entered == 2


async def leave(client: Client, body: bytes) -> None:
    """Send a request and close the connection at once."""
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        assert message["type"].startswith("http.response")

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": PREDICT,
        "raw_path": PREDICT.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"image/png")],
        "scheme": "http",
        "server": ("service", 80),
        "client": ("client", 1),
    }
    await transport.app(scope, receive, send)


async def test_500_of_a_model_that_fails_is_logged_and_harms_nobody(
    client: Client, picture: Picture, caplog: pytest.LogCaptureFixture
) -> None:
    served = client.services.repository.find("tiny")
    session = served.model.session
    served.model.session = None
    refused(await client.predict(picture()), 500, "the model failed")
    served.model.session = session
    assert "Traceback" in caplog.text


async def test_an_unforeseen_failure_is_a_500_that_tells_only_where_to_look(
    client: Client, picture: Picture, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError("a secret")

    with monkeypatch.context() as patch:
        patch.setattr(client.services.decoder, "decode", fail)
        answer = await client.predict(picture())
    body = refused(answer, 500, answer.headers["x-request-id"])
    assert "secret" not in json.dumps(body)
    assert "a secret" in caplog.text


def test_every_error_of_the_domain_that_a_client_can_cause_has_a_status() -> None:
    from service import errors
    from service.api.problems import status_of

    def descendants(kind: type[errors.ConvscopeError]) -> set[type[errors.ConvscopeError]]:
        return {kind}.union(*(descendants(child) for child in kind.__subclasses__()))

    raised_at_load = {errors.ConvscopeError, errors.ModelRejected, errors.ProviderUnavailable}
    for kind in descendants(errors.ConvscopeError) - raised_at_load:
        if kind.__module__ == "service.errors":
            assert 400 <= status_of(kind.__new__(kind)) < 600


async def test_503_in_both_shapes_before_the_models_are_loaded(models: Path, picture: Picture) -> None:
    app = create_app(Settings(models=models))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        answer = await client.post(PREDICT, content=picture(), headers=PNG)
        refused(answer, 503, "still being loaded")
        assert answer.headers["retry-after"]
        answer = await client.get("/v2/health/ready")
    assert (answer.status_code, set(answer.json())) == (503, {"error"})
    assert answer.headers["retry-after"]


async def test_503_for_new_work_while_draining_but_probes_are_answered(serve: Serve, picture: Picture) -> None:
    async with serve() as client:
        client.services.lifecycle.leave()
        assert (await client.get("/v2/health/ready")).status_code == 503
        answer = await client.predict(picture())
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        client.services.lifecycle.drain()
        refused(await client.predict(picture()), 503, "stopping")
        refused(await client.post(f"{MAPS}?layer=pool", content=picture(), headers=PNG), 503, "stopping")
        assert (await client.get("/v2/health/live")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
