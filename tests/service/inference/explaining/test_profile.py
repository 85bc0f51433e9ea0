import tempfile
from pathlib import Path
from typing import Any

import pytest
from onnx import helper

from service.errors import Unprocessable
from service.inference.explaining.kernels import Kernels, named
from service.inference.explaining.profile import layer_times, named_after_layers, profile
from tests.service.conftest import Client, Serve
from tests.service.inference.small import branching
from tests.service.tiny import tiny_onnx, write_model, write_tiny


def kernel(name: str, start: int, duration: int, op: str = "Conv") -> dict[str, Any]:
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": duration, "args": {"op_name": op}}


def run(start: int) -> dict[str, Any]:
    return {"cat": "Session", "name": "model_run", "ts": start, "dur": 90, "args": {}}


def test_layers_have_the_median_of_the_measured_runs_and_their_share() -> None:
    events = [
        event
        for number, (first, second) in enumerate([(9000, 9000), (30, 10), (20, 20), (900, 60)])
        for event in (
            run(number * 100),
            kernel("a_nchwc", number * 100 + 1, first),
            kernel("ReorderOutput", number * 100 + 40, second, "ReorderOutput"),
            kernel("ReorderOutput_token_3", number * 100 + 50, 10, "ReorderOutput"),
            {"cat": "Node", "name": "a_fence_before", "ts": number * 100 + 1, "dur": 500, "args": {"op_name": "Conv"}},
        )
    ]
    rows = layer_times(list(reversed(events)), Kernels({"a"}, {}), 3)
    assert [(row.layer, row.op) for row in rows] == [("a", "Conv"), (None, "ReorderOutput")]
    assert [row.seconds for row in rows] == pytest.approx([30e-6, 30e-6])
    assert [row.share for row in rows] == pytest.approx([0.5, 0.5])


def test_a_kernel_that_did_not_run_each_time_has_its_mean() -> None:
    events = [run(0), kernel("a", 1, 40), run(100), kernel("b", 101, 20)]
    assert [row.seconds for row in layer_times(events, Kernels({"a", "b"}, {}), 2)] == pytest.approx([20e-6, 10e-6])


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("a", "a"),
        ("a_nchwc", "a"),
        ("b_nchwc", "b_nchwc"),
        ("fused a", "a"),
        ("InsertedPrecisionFreeCast_a_nchwc", "a"),
        ("InsertedPrecisionFreeCast_x", None),
        ("ReorderInput", None),
        ("a_token_36", "a"),
        ("a_quantized_token_2", "a_quantized"),
        ("a/MatMulAddFusion", "a"),
        ("a/QuickGeluFusion/", "a"),
        ("BiasGelu", None),
    ],
)
def test_a_kernel_belongs_to_the_layer_that_its_name_holds(name: str, layer: str | None) -> None:
    assert named(name, {"a", "a_quantized", "b_nchwc", "b"}) == layer


def test_every_node_gets_the_name_of_its_layer_and_the_model_stays_as_it_is() -> None:
    model = branching()
    before = model.SerializeToString()
    names = [node.name for node in named_after_layers(model).graph.node]
    assert names == ["left", "right", "aside", "total", "positive", "chosen", "y"]
    assert model.SerializeToString() == before


def test_what_is_inside_a_body_is_not_counted_twice() -> None:
    chosen = next(node for node in named_after_layers(branching()).graph.node if node.op_type == "If")
    names = [node.name for attribute in chosen.attribute for node in attribute.g.node]
    assert names
    events = [run(0), kernel("chosen", 1, 50, "If"), *(kernel(name, 2, 20, "Mul") for name in names)]
    assert [row.layer for row in layer_times(events, Kernels({"chosen"}, {}), 1)] == ["chosen"]


async def test_a_served_model_is_measured_at_one_and_at_the_largest_batch(
    serve: Serve, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(temporary)
    write_tiny(models / "single" / "1" / "model.onnx", batch=1)
    async with serve() as client:
        tiny, single = (profile(client.services.repository.find(name), 8) for name in ("tiny", "single"))
        graph = client.services.repository.find("tiny").graph
    assert [batch.batch for batch in tiny.batches] == [1, 8]
    assert [batch.batch for batch in single.batches] == [1]
    assert tiny.provider == "CPUExecutionProvider"
    for batch in (*tiny.batches, *single.batches):
        named = [row.layer for row in batch.layers if row.layer is not None]
        assert {"stem.relu", "head", "probabilities"} <= set(named) <= set(graph.layer_names)
        assert sum(row.share for row in batch.layers) == pytest.approx(1)
        assert batch.layer_seconds == pytest.approx(sum(row.seconds for row in batch.layers))
        assert batch.run_seconds > 0
        assert batch.runs >= 5
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(("batch", "wanted"), [(2, [2]), (1, [1])])
async def test_a_model_of_a_fixed_batch_is_measured_at_that(
    serve: Serve, models: Path, batch: int, wanted: list[int]
) -> None:
    write_model(models / "pair" / "1" / "model.onnx", tiny_onnx(batch=batch), None)
    async with serve() as client:
        found = profile(client.services.repository.find("pair"), 8)
    assert [measured.batch for measured in found.batches] == wanted


async def test_a_model_that_onnxruntime_cannot_write_down_is_measured_by_names(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    rows = profile(client.services.repository.find("tiny"), 1).batches[0].layers
    assert {"head", "probabilities"} <= {row.layer for row in rows}


async def test_a_model_of_unnamed_nodes_is_measured_by_its_layers(serve: Serve, models: Path) -> None:
    model = tiny_onnx()
    for node in model.graph.node:
        node.name = ""
    write_model(models / "unnamed" / "1" / "model.onnx", model, None)
    async with serve() as client:
        found = profile(client.services.repository.find("unnamed"), 2)
    assert "head" in [row.layer for row in found.batches[0].layers]


async def test_a_model_whose_shapes_nobody_knows_cannot_be_measured(serve: Serve, models: Path) -> None:
    model = tiny_onnx(helper.make_node("Identity", ["pixels"], ["same"]))
    for place in (1, 2):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_param = "any"
    write_model(models / "free" / "1" / "model.onnx", model, None)
    async with serve() as client:
        with pytest.raises(Unprocessable, match="no input"):
            profile(client.services.repository.find("free"), 2)
