"""Where the weights of a model may lie, and what becomes of a file that cannot be served."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from service.inference.graph.subgraph import producers
from tests.service.api.strange_graphs import FLOAT32, NODE, all_layers, card_of, close, model_of, noise, old, single
from tests.service.conftest import Serve
from tests.service.inference.small import branching, run


def keep_outside(file: Path, model: onnx.ModelProto, location: str) -> None:
    """Write `model`, its kernel in another file: at `location`, as the model has it."""
    kernel = model.graph.initializer[0]
    outside = file.parent / location
    outside.parent.mkdir(parents=True, exist_ok=True)
    outside.write_bytes(kernel.raw_data)
    length = len(kernel.raw_data)
    kernel.ClearField("raw_data")
    kernel.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": str(length)}.items():
        kernel.external_data.add(key=key, value=value)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("location", ["weights.bin", "inside/weights.bin"])
async def test_weights_may_lie_beside_the_model(serve: Serve, models: Path, location: str) -> None:
    model = single()
    expected = run(model, {"x": noise(model)[1]}, producers(model.graph))
    carded = single()
    helper.set_model_props(carded, {"convscope.card": card_of(model).model_dump_json()})
    keep_outside(models / "odd" / "1" / "model.onnx", carded, location)
    async with serve() as client:
        found = await all_layers(client, model)
    assert [name for name in found if not close(found[name], expected[name], FLOAT32)] == []


def outside(location: str) -> Callable[[Path], None]:
    return lambda file: keep_outside(file, single(), location)


def linked(file: Path) -> None:
    keep_outside(file, single(), "../../elsewhere.bin")
    model = onnx.load(file, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "link.bin"
    file.write_bytes(model.SerializeToString())
    (file.parent / "link.bin").symlink_to(file.parent / "../../elsewhere.bin")


def missing(file: Path) -> None:
    keep_outside(file, single(), "weights.bin")
    (file.parent / "weights.bin").unlink()


def written(make: Callable[[], onnx.ModelProto], cut: int | None = None) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(make().SerializeToString()[:cut])

    return write


def with_a_nameless_part() -> onnx.ModelProto:
    nodes = [NODE("Split", ["x"], ["", "a", "b"], axis=1, num_outputs=3), NODE("Relu", ["a"], ["last"])]
    return model_of(*nodes, weights={})


def with_a_nameless_part_in_a_branch() -> onnx.ModelProto:
    model = branching()
    model.graph.node[5].attribute[0].g.node.insert(0, NODE("Split", ["left"], ["", "rest"], num_outputs=2))
    return model


def too_old() -> onnx.ModelProto:
    model = old()
    model.opset_import[0].version = 6
    return model


def of_another_type() -> onnx.ModelProto:
    model = single()
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return model


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (outside("../../elsewhere.bin"), "outside"),
        (linked, "symbolic link"),
        (missing, "weights.bin"),
        (written(single, -200), "cannot be opened"),
        (written(too_old), "opset 6"),
        (written(with_a_nameless_part), "Split of 'x'"),
        (written(with_a_nameless_part_in_a_branch), "Split of 'left'"),
        (written(of_another_type), "cannot be opened"),
    ],
)
async def test_what_cannot_be_served_is_listed_with_its_reason_and_hurts_nobody(
    serve: Serve, models: Path, picture: Callable[..., bytes], write: Callable[[Path], None], reason: str
) -> None:
    write(models / "odd" / "1" / "model.onnx")
    async with serve() as client:
        [entry] = [entry for entry in (await client.get("/v1/models")).json()["models"] if entry["name"] == "odd"]
        assert (entry["state"], reason in entry["reason"]) == ("failed", True), entry["reason"]
        for path in ("layers", "feature-maps?layer=a"):
            ask = client.get if path == "layers" else client.post
            answer = await ask(f"/v1/models/odd/{path}")
            assert (answer.status_code, reason in answer.json()["detail"]) == (503, True)
        assert (await client.predict(picture())).status_code == 200


async def test_an_absolute_path_is_refused(serve: Serve, models: Path, tmp_path: Path) -> None:
    keep_outside(models / "odd" / "1" / "model.onnx", single(), str(tmp_path / "elsewhere.bin"))
    async with serve() as client:
        answer = await client.get("/v1/models/odd/layers")
    assert (answer.status_code, "absolute path" in answer.json()["detail"]) == (503, True)
