"""The documentation that the service serves: it works offline, and its examples are true."""

import base64
import re
from pathlib import Path

import pytest

from tests.alike import assert_alike
from tests.service.conftest import Client, Serve

ROOT = Path(__file__).parents[2]


async def test_docs_load_nothing_from_elsewhere(client: Client) -> None:
    page = await client.get("/docs")
    assert page.status_code == 200
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sources
    for source in sources:
        assert source.startswith("/")
        assert (await client.get(source)).status_code == 200


@pytest.mark.parametrize("door", ["predict", "feature-maps"])
async def test_the_examples_of_the_docs_are_true(serve: Serve, door: str) -> None:
    async with serve(models=ROOT / "models") as client:
        path = f"/v1/models/{{model}}/versions/{{version}}/{door}"
        operation = (await client.get("/openapi.json")).json()["paths"][path]["post"]
        given = (item for item in operation["parameters"] if "examples" in item["schema"])
        parameters = {item["name"]: item["schema"]["examples"][0] for item in given}
        address = path.format(model=parameters.pop("model"), version=parameters.pop("version"))
        request = operation["requestBody"]["content"]["application/json"]["example"]
        answer = await client.post(address, params=parameters, json=request)
        promised = operation["responses"]["200"]["content"]["application/json"]["example"]
    assert_alike(answer.json(), promised)
    picture = (ROOT / "docs" / "samples" / "ankle-boot.png").read_bytes()
    assert request["images"] == [base64.b64encode(picture).decode()]


async def test_the_front_door_leads_to_the_docs(client: Client) -> None:
    answer = await client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")


async def test_every_door_of_a_model_exists_with_and_without_a_version(client: Client) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    for door in ("", "/predict", "/layers", "/feature-maps", "/weights"):
        for prefix, names in (("/v1/models/{model}", ["model"]), ("/v1/models/{model}/versions/{version}", None)):
            [operation] = paths[prefix + door].values()
            documented = [item["name"] for item in operation["parameters"] if item["in"] == "path"]
            assert documented == (names or ["model", "version"])


async def test_every_answer_bears_an_id_and_its_time(client: Client) -> None:
    for path in ("/", "/docs", "/openapi.json", "/metrics", "/v1/models", "/v2/health/live", "/nowhere"):
        answer = await client.get(path)
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
        assert re.search(r"total;dur=\d+\.\d+", answer.headers["server-timing"])


async def test_the_clients_own_id_comes_back_unless_it_is_unsafe(client: Client) -> None:
    for own, kept in (("a-1.b:2", True), ("x" * 129, False), ("a b", False), ("é", False)):
        answer = await client.get("/v2/health/live", headers=[(b"x-request-id", own.encode("latin-1"))])
        assert (answer.headers["x-request-id"] == own) is kept
