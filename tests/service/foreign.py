"""A model as somebody else would bring it: float32, no card, and the file does not say how it wants its pixels."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def foreign_onnx(
    *,
    batch: str | int = "N",
    size: tuple[int | str, int | str] = (8, 8),
    layout: str = "NCHW",
    offset: float = 0.5,
    softmax: bool = False,
) -> onnx.ModelProto:
    """Says which of red, green and blue differs most from `offset` upwards, channel by channel; logits out.

    With an offset of 0.5 it wants 0 to 1: a picture in 0 to 255 saturates all of them.
    """
    shape: list[int | str] = [batch, 3, *size] if layout == "NCHW" else [batch, *size, 3]
    planes = ["x"] if layout == "NCHW" else ["planes"]
    nodes = [] if layout == "NCHW" else [helper.make_node("Transpose", ["x"], ["planes"], perm=[0, 3, 1, 2])]
    nodes += [
        helper.make_node("GlobalAveragePool", planes, ["pool"]),
        helper.make_node("Sub", ["pool", "offset"], ["off"]),
        helper.make_node("Clip", ["off", "low", "high"], ["bounded"]),
        helper.make_node("Flatten", ["bounded"], ["flat"]),
        helper.make_node("Mul", ["flat", "gain"], ["logits"]),
    ]
    output = "logits"
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], axis=1))
        output = "scores"
    constants = {"offset": offset, "low": -0.5, "high": 0.5, "gain": 20.0}
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
