"""What each axis of a tensor is: batch, channels, height or width, followed through whatever moves axes about."""

from collections.abc import Mapping, Sequence

import onnx

from service.inference.graph.channels import SPATIAL
from service.inference.graph.kinds import OPERATORS
from service.inference.graph.operators import standard
from service.inference.graph.shapes import Shape
from service.inference.graph.window import attributes

Order = tuple[int, ...]
"""Of each axis: 0 the batch, 1 the channels, 2 the height, 3 the width."""

ONNX_ORDER: Order = (0, 1, 2, 3)
IMAGE_ORDERS: dict[str, Order] = {"NCHW": ONNX_ORDER, "NHWC": (0, 2, 3, 1)}

# What gives each axis of its output the meaning that the same axis of its inputs has.
KEEPING = OPERATORS["activation"] | {
    "Abs", "Add", "BitShift", "Cast", "Ceil", "Concat", "DequantizeLinear", "Div", "Dropout", "Erf", "Exp", "Floor",
    "Identity", "Log", "Max", "Mean", "Min", "Mod", "Mul", "Neg", "Pad", "Pow", "QLinearAdd", "QLinearConcat",
    "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid", "QuantizeLinear", "Reciprocal", "Resize", "Round", "Sign",
    "Slice", "Sqrt", "Sub", "Sum", "Upsample", "Where",
}  # fmt: skip


def orders(graph: onnx.GraphProto, inputs: Mapping[str, Order], shapes: Mapping[str, Shape]) -> dict[str, Order]:
    """The order of the four axes of each tensor of which it is certain.

    It is followed from `inputs`, whose orders are known. A convolution, a pooling or a normalisation has its channels
    at 1, as ONNX has it; what a reshape made unknown begins there anew, with height before width. Where tensors of
    different orders meet, or a convolution takes something else for channels, nothing is certain any more.
    """
    found: dict[str, Order | None] = dict(inputs)  # None: not certain; what is not in it may begin anew
    for node in map(standard, graph.node):
        met = {found[name] for name in node.input if name in found}
        if node.op_type not in SPATIAL | KEEPING | {"Transpose"} or not (met or node.op_type in SPATIAL):
            continue
        order = next(iter(met)) if len(met) == 1 else None if met else ONNX_ORDER
        if order is not None and node.op_type == "Transpose":
            order = _moved(order, attributes(node).get("perm", range(len(order))[::-1]))
        if order is not None and node.op_type in SPATIAL and order[:2] != ONNX_ORDER[:2]:
            order = None
        found[node.output[0]] = order if len(shapes.get(node.output[0], ONNX_ORDER)) == len(ONNX_ORDER) else None
    return {name: order for name, order in found.items() if order is not None}


def _moved(order: Order, perm: Sequence[int]) -> Order | None:
    return tuple(order[axis] for axis in perm) if sorted(perm) == sorted(ONNX_ORDER) else None
