from typing import Any

import onnx
from onnx import helper

from service.inference.graph.axes import Order, orders
from tests.service.inference.small import build, weight

LAST: Order = (0, 2, 3, 1)
FIRST: Order = (0, 1, 2, 3)


def read(*nodes: onnx.NodeProto, given: Order | None = None) -> dict[str, Order]:
    graph = build(nodes, {"x": [1, 4, 6, 5]}, [], {"k": weight(5, 4, 1, 1)}).graph
    return orders(graph, {"x": given} if given else {}, {})


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


def test_axes_are_followed_through_transposes_and_what_keeps_them() -> None:
    found = read(
        node("Relu", "x", "relu"), node("Transpose", "relu", "planes", perm=[0, 3, 1, 2]),
        node("Conv", "planes k", "conv"), node("Transpose", "conv", "turned", perm=[0, 3, 2, 1]),
        node("Concat", "turned turned", "both", axis=1), given=LAST,
    )  # fmt: skip
    assert (found["relu"], found["planes"], found["conv"], found["both"]) == (LAST, FIRST, FIRST, (0, 3, 2, 1))


def test_a_convolution_begins_anew_where_nothing_is_known_and_not_where_it_is_known_to_be_otherwise() -> None:
    assert read(node("Conv", "x k", "conv"))["conv"] == FIRST
    assert "conv" not in read(node("Conv", "x k", "conv"), given=LAST)
    assert "relu" not in read(node("Conv", "x k", "conv"), node("Relu", "conv", "relu"), given=LAST)
    swapped = read(
        node("Conv", "x k", "conv"), node("MaxPool", "conv", "pool", kernel_shape=[1, 1]), given=(0, 1, 3, 2)
    )
    assert swapped["pool"] == (0, 1, 3, 2)


def test_where_two_orders_meet_nothing_is_certain() -> None:
    found = read(
        node("Transpose", "x", "turned", perm=[0, 1, 3, 2]), node("Add", "turned x", "sum"),
        node("Conv", "sum k", "conv"), given=FIRST,
    )  # fmt: skip
    assert not {"sum", "conv"} & found.keys()


def test_a_reshape_and_an_unknown_operator_end_what_is_known() -> None:
    found = read(
        node("Reshape", "x shape", "rows"), node("Einsum", "x", "other", equation="nchw->nwhc"),
        node("Transpose", "x", "flat", perm=[0, 1, 2]), given=FIRST,
    )  # fmt: skip
    assert not {"rows", "other", "flat"} & found.keys()
