import hashlib
from pathlib import Path

from pydantic import TypeAdapter

from service.api.schemas import ModelDescription, ModelList
from tests.service.conftest import Client, Serve
from tests.service.tiny import write_tiny


async def test_the_listing_names_every_model_with_its_card(client: Client, models: Path) -> None:
    listing = (await client.get("/v1/models")).json()
    TypeAdapter(ModelList).validate_python(listing, strict=True)
    [model] = listing["models"]
    assert listing["default"] == model["name"] == "tiny"
    assert (model["versions"], model["default_version"], model["state"], model["reason"]) == (["1"], "1", "ready", None)
    assert model["sha256"] == hashlib.sha256((models / "tiny/1/model.onnx").read_bytes()).hexdigest()
    assert model["provider"] == "CPUExecutionProvider"
    assert model["card"]["labels"] == ["red", "green", "blue"]


async def test_the_default_model_is_the_one_that_was_set_where_it_is_there_else_the_first(
    serve: Serve, models: Path
) -> None:
    for name in ("cifar10", "another"):
        write_tiny(models / name / "1" / "model.onnx")
    for settings, default in (
        ({}, "cifar10"),
        ({"default_model": "tiny"}, "tiny"),
        ({"default_model": "x"}, "another"),
    ):
        async with serve(**settings) as client:
            assert (await client.get("/v1/models")).json()["default"] == default


async def test_the_newest_ready_version_answers_and_a_broken_one_says_why(serve: Serve, models: Path) -> None:
    write_tiny(models / "tiny" / "2" / "model.onnx")
    write_tiny(models / "tiny" / "10" / "model.onnx")
    (models / "tiny" / "11").mkdir()
    (models / "tiny" / "11" / "model.onnx").write_bytes(b"no model")
    async with serve() as client:
        model = (await client.get("/v1/models/tiny")).json()
        assert (model["versions"], model["default_version"], model["version"]) == (["1", "2", "10", "11"], "10", "10")
        broken = (await client.get("/v1/models/tiny/versions/11")).json()
        TypeAdapter(ModelDescription).validate_python(broken, strict=True)
        assert (broken["state"], broken["card"], broken["default_version"]) == ("failed", None, "10")
        [listed] = (await client.get("/v1/models")).json()["models"]
        assert (listed["state"], listed["reason"]) == ("ready", None)
        assert [(each["version"], each["state"]) for each in listed["states"]] == [
            ("1", "ready"),
            ("2", "ready"),
            ("10", "ready"),
            ("11", "failed"),
        ]
        assert listed["states"][3]["reason"] == broken["reason"]
        assert "model.onnx" in broken["reason"]
        answer = await client.post("/v1/models/tiny/versions/11/predict", content=b"x")
        assert answer.status_code == 503
        assert broken["reason"] in answer.json()["detail"]
        failures = client.services.metrics.registry.get_sample_value(
            "convscope_model_load_failures_total", {"model": "tiny"}
        )
        assert failures == 1
