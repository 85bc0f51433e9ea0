from pathlib import Path

import pytest
from pydantic import TypeAdapter

from service.api.protocol import IndexedModel
from tests.service.conftest import Client, Serve

INDEX = "/v2/repository/index"


async def test_the_index_lists_every_version_and_why_one_is_not_ready(serve: Serve, models: Path) -> None:
    (models / "tiny" / "2").mkdir()
    (models / "tiny" / "2" / "model.onnx").write_bytes(b"no model")
    async with serve() as client:
        for body in (b"", b"{}", b'{"ready": false}'):
            index = (await client.post(INDEX, content=body)).json()
            TypeAdapter(list[IndexedModel]).validate_python(index, strict=True)
            assert index[0] == {"name": "tiny", "version": "1", "state": "READY", "reason": ""}
            assert (index[1]["version"], index[1]["state"]) == ("2", "UNAVAILABLE")
            assert "cannot be opened" in index[1]["reason"]
        ready = (await client.post(INDEX, json={"ready": True})).json()
        assert [each["version"] for each in ready] == ["1"]


@pytest.mark.parametrize("body", [b'{"ready": 1}', b'{"ready": null}', b"[]", b"{", b"ready"])
async def test_a_request_that_makes_no_sense_is_refused(client: Client, body: bytes) -> None:
    answer = await client.post(INDEX, content=body)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]


async def test_the_index_is_not_given_before_everything_has_been_tried(client: Client) -> None:
    client.services.repository.loaded = False
    answer = await client.post(INDEX)
    assert answer.status_code == 503
    assert "still being loaded" in answer.json()["error"]
