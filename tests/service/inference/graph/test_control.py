from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from service.inference.graph.control import steered
from tests.service.inference.small import build

NODE = helper.make_node
WEIGHTS = {"zero": np.array(0, np.float32), "three": np.array(3), "k": np.array(1, np.float32), "true": np.array(True)}


def value(name: str, kind: int = TensorProto.FLOAT, shape: Sequence[int] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def made(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    return build(list(nodes), {"x": ["N", 3]}, outputs=["y"], weights=WEIGHTS)


def choice(condition: str, *before: onnx.NodeProto, name: str = "y") -> list[onnx.NodeProto]:
    """An If by `condition`, which `before` lead to."""
    bodies = {
        f"{branch}_branch": helper.make_graph(
            [NODE(op, ["x"], [f"{name}.{branch}"])], branch, [], [value(f"{name}.{branch}")]
        )
        for branch, op in (("then", "Neg"), ("else", "Abs"))
    }
    return [*before, NODE("If", [condition], [name], **bodies)]


def greater(what: str) -> list[onnx.NodeProto]:
    return [NODE("ReduceMax", [what], ["peak"], keepdims=0), NODE("Greater", ["peak", "zero"], ["bright"])]


def loop(*inner: onnx.NodeProto, rounds: str = "three", go: str = "", on: str = "on") -> onnx.NodeProto:
    """A Loop that carries `x` as `v` to `w`; `inner` yield `on` and `w`."""
    taken = [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("v")]
    body = helper.make_graph(list(inner), "round", taken, [value(on, TensorProto.BOOL, []), value("w")])
    return NODE("Loop", [rounds, go, "x"], ["y"], body=body)


ON = NODE("Identity", ["go"], ["on"])
SIN = NODE("Sin", ["v"], ["w"])


def in_a_function(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    model = made(NODE("Choose", ["x"], ["y"], domain="own"))
    model.functions.append(
        helper.make_function("own", "Choose", ["x"], ["y"], list(nodes), [helper.make_opsetid("", 18)])
    )
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


@pytest.mark.parametrize(
    "model",
    [
        made(*choice("bright", *greater("x"))),
        made(*choice("lit", *greater("x"), NODE("Not", ["bright"], ["lit"]))),
        made(NODE("ReduceMax", ["x"], ["t"], keepdims=0), NODE("Cast", ["t"], ["n"], to=7), loop(ON, SIN, rounds="n")),
        made(*greater("x"), loop(ON, SIN, go="bright")),
        made(loop(SIN, *greater("w"), NODE("Identity", ["bright"], ["on"]))),
        made(loop(ON, *greater("v"), *choice("bright", name="w"))),
        in_a_function(NODE("Constant", [], ["zero"], value_float=0.0), *choice("bright", *greater("x"))),
    ],
    ids=["if", "if-later", "rounds", "begin", "end", "if-in-loop", "if-in-function"],
)
def test_what_goes_by_values_of_the_input_is_found(model: onnx.ModelProto) -> None:
    assert steered(model) == "y"


@pytest.mark.parametrize(
    "model",
    [
        made(NODE("Relu", ["x"], ["y"])),
        made(*choice("true")),
        made(*choice("bright", *greater("k"))),
        made(*choice("large", NODE("Size", ["x"], ["n"]), NODE("Greater", ["n", "three"], ["large"]))),
        made(loop(ON, SIN)),
        made(loop(NODE("Less", ["i", "three"], ["on"]), SIN)),
        made(loop(ON, *greater("k"), *choice("bright", name="w"))),
        in_a_function(NODE("Constant", [], ["c"], value_int=1), NODE("Cast", ["c"], ["t"], to=9), *choice("t")),
    ],
    ids=["none", "constant", "computed", "shape", "loop", "counter", "if-in-loop", "if-in-function"],
)
def test_what_goes_by_constants_or_shapes_is_not(model: onnx.ModelProto) -> None:
    assert steered(model) is None


def test_what_a_loop_carries_may_come_to_depend_on_values_only_in_a_later_round() -> None:
    taken = [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("a"), value("b")]
    given = [value("on", TensorProto.BOOL, []), value("b.next"), value("c")]
    inner = [
        ON,
        *greater("a"),  # a constant in the first round, in the next what was made of `x`
        *choice("bright", name="c"),
        NODE("Add", ["b", "x"], ["b.next"]),
    ]
    body = helper.make_graph(inner, "round", taken, given)
    assert steered(made(NODE("Loop", ["three", "", "k", "k"], ["y", "z"], body=body))) == "y"


def test_a_scan_is_looked_into() -> None:
    def scan(*inner: onnx.NodeProto) -> onnx.ModelProto:
        body = helper.make_graph(list(inner), "step", [value("v")], [value("w")])
        return made(NODE("Scan", ["x"], ["y"], body=body, num_scan_inputs=1))

    assert steered(scan(SIN)) is None
    assert steered(scan(*greater("v"), *choice("bright", name="w"))) == "y"
