"""Graphs as nobody here would make them: old, oddly named, recurrent, quantised; and what of them is asked."""

import io

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from service.inference.contract.card import InputCard, ModelCard, OutputCard
from service.inference.graph.subgraph import producers
from tests.service.conftest import Client
from tests.service.inference.small import Array, Lengths, weight

NODE = helper.make_node
FLOAT32, FLOAT16 = 1e-4, 2e-3
QUANTUM = 1 / 127
"""One step of an INT8 tensor whose scale fits its largest magnitude."""


def model_of(
    *nodes: onnx.NodeProto,
    weights: dict[str, Array],
    shape: Lengths = ("N", 3, 8, 8),
    kind: int = TensorProto.FLOAT,
    opset: int = 18,
    ir_version: int = 10,
    declared: Lengths | None = None,
) -> onnx.ModelProto:
    """`x` -> `nodes`, whose last yields `last` -> two `scores`, its mean and the mean again."""
    head = [
        NODE("Flatten", ["last"], ["flat"]),
        NODE("ReduceMean", ["flat"], ["mean"], axes=[1])
        if opset < 18
        else NODE("ReduceMean", ["flat", "head.axes"], ["mean"]),
        NODE("Concat", ["mean", "mean"], ["scores"], axis=1),
    ]
    weights = weights if opset < 18 else {**weights, "head.axes": np.array([1])}
    scores = helper.make_tensor_value_info("scores", kind, declared or [shape[0], 2])
    graph = helper.make_graph(
        [*nodes, *head],
        "odd",
        [helper.make_tensor_value_info("x", kind, shape)],
        [scores],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def old() -> onnx.ModelProto:
    """Opset 7; initialisers listed as inputs, as IR version 3 wants it; nodes without names."""
    nodes = [
        NODE("Conv", ["x", "k"], ["a"], pads=[1, 1, 1, 1]),
        NODE("BatchNormalization", ["a", "s", "b", "m", "v"], ["c"]),
        NODE("Dropout", ["c"], ["d", "mask"]),
        NODE("Add", ["d", "b1"], ["last"]),
    ]
    weights = {"k": weight(4, 3, 3, 3), "v": np.abs(weight(4)), "b1": weight(4, 1, 1)}
    model = model_of(*nodes, weights={**weights, **{name: weight(4) for name in "sbm"}}, opset=7, ir_version=3)
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return model


def oddly_named() -> onnx.ModelProto:
    """Names of tensors as exporters make them, and worse."""
    names = ["a/b:0", "c.d", "e,f", "file", "Ünï code", "g&h=i#j?k+l%20", "last"]
    pairs = zip(["x", *names], names, strict=False)
    return model_of(*(NODE("Abs", [one], [other]) for one, other in pairs), weights={})


def half() -> onnx.ModelProto:
    nodes = [NODE("Conv", ["x", "k"], ["a"]), NODE("Relu", ["a"], ["last"])]
    kernel = weight(4, 3, 3, 3).astype(np.float16)
    return model_of(*nodes, weights={"k": kernel}, kind=TensorProto.FLOAT16)


def channels_last(extent: int | str = 8) -> onnx.ModelProto:
    nodes = [
        NODE("Mul", ["x", "s"], ["scaled"]),
        NODE("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        NODE("Conv", ["planes", "k"], ["a"], auto_pad="SAME_UPPER", strides=[2, 2]),
        NODE("Transpose", ["a"], ["last"], perm=[0, 2, 3, 1]),
    ]
    weights = {"s": weight(3), "k": weight(4, 3, 3, 3)}
    return model_of(*nodes, weights=weights, shape=["N", extent, extent, 3])


def dynamic() -> onnx.ModelProto:
    """Height and width free; resized by what only the picture's shape says."""
    nodes = [
        NODE("Conv", ["x", "k"], ["a"], strides=[2, 2]),
        NODE("Shape", ["x"], ["shape"]),
        NODE("Slice", ["shape", "two", "four"], ["extents"]),
        NODE("Concat", ["front", "extents"], ["target"], axis=0),
        NODE("Shape", ["x"], ["batch"], end=1),
        NODE("Concat", ["batch", "channels", "extents"], ["sizes"], axis=0),
        NODE("Resize", ["a", "", "", "sizes"], ["last"], mode="nearest"),
    ]
    steering = {"two": np.array([2]), "four": np.array([4]), "front": np.array([1, 4]), "channels": np.array([4])}
    return model_of(*nodes, weights={"k": weight(4, 3, 3, 3), **steering}, shape=["N", 3, "H", "W"])


def single() -> onnx.ModelProto:
    nodes = [NODE("Conv", ["x", "k"], ["a"]), NODE("LeakyRelu", ["a"], ["last"])]
    return model_of(*nodes, weights={"k": weight(4, 3, 3, 3)}, shape=[1, 3, 8, 8])


def quantised() -> onnx.ModelProto:
    """QDQ: pixels and kernel through INT8, a scale per channel."""
    kernel = weight(4, 3, 3, 3)
    scales = np.abs(kernel).max(axis=(1, 2, 3)) / 127
    weights: dict[str, Array] = {
        "k.q": np.round(kernel / scales[:, None, None, None]).astype(np.int8),
        "k.s": scales.astype(np.float32),
        "x.s": np.array(1 / 127, np.float32),
        "a.s": np.array(0.1, np.float32),
        "k.z": np.zeros(4, np.int8),
        "z": np.array(0, np.int8),
    }
    nodes = [
        NODE("QuantizeLinear", ["x", "x.s", "z"], ["x.q"]),
        NODE("DequantizeLinear", ["x.q", "x.s", "z"], ["x.d"]),
        NODE("DequantizeLinear", ["k.q", "k.s", "k.z"], ["k"], axis=0),
        NODE("Conv", ["x.d", "k"], ["a"]),
        NODE("Relu", ["a"], ["b"]),
        NODE("QuantizeLinear", ["b", "a.s", "z"], ["b.q"]),
        NODE("DequantizeLinear", ["b.q", "a.s", "z"], ["last"]),
    ]
    return model_of(*nodes, weights=weights)


def recurrent() -> onnx.ModelProto:
    """Rows of the picture as steps of an LSTM; an output left out, one that nobody reads."""
    nodes = [
        NODE("ReduceMean", ["x", "one"], ["grey"], keepdims=0),
        NODE("Transpose", ["grey"], ["steps"], perm=[1, 0, 2]),
        NODE("LSTM", ["steps", "w", "r"], ["", "state", "cell"], hidden_size=4),
        NODE("Squeeze", ["state", "zero"], ["last"]),
    ]
    weights = {"one": np.array([1]), "zero": np.array([0]), "w": weight(1, 16, 8), "r": weight(1, 16, 4)}
    return model_of(*nodes, weights=weights)


def attentive() -> onnx.ModelProto:
    """Places attend to places; what is no float among the layers, and of no batch."""
    nodes = [
        NODE("Reshape", ["x", "rows"], ["a"]),
        NODE("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
        NODE("MatMul", ["b", "a"], ["scores.raw"]),
        NODE("Softmax", ["scores.raw"], ["attention"], axis=-1),
        NODE("MatMul", ["a", "attention"], ["c"]),
        NODE("Greater", ["c", "half"], ["above"]),
        NODE("Where", ["above", "c", "half"], ["d"]),
        NODE("ArgMax", ["d"], ["best"], axis=1),
        NODE("Cast", ["best"], ["last"], to=TensorProto.FLOAT),
        NODE("Constant", [], ["constant"], value=numpy_helper.from_array(weight(2, 2))),
    ]
    return model_of(*nodes, weights={"rows": np.array([0, 3, 64]), "half": np.array(0.5, np.float32)})


def chosen() -> onnx.ModelProto:
    """An If by a weight, whose bodies read a layer and another weight around them."""

    def body(name: str, op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{name}.out", TensorProto.FLOAT, None)
        return helper.make_graph([NODE(op, ["a", "w"], [f"{name}.out"])], name, [], [out])

    nodes = [
        NODE("Conv", ["x", "k"], ["a"]),
        NODE("ReduceMax", ["k"], ["top"], keepdims=0),
        NODE("Greater", ["top", "zero"], ["bright"]),
        NODE("If", ["bright"], ["last"], then_branch=body("then", "Mul"), else_branch=body("else", "Add")),
    ]
    return model_of(*nodes, weights={"k": weight(4, 3, 3, 3), "w": weight(4, 1, 1), "zero": np.array(0, np.float32)})


def scanning() -> onnx.ModelProto:
    """A Loop of three rounds, which leaves all of them beside one another, [3, N, 4, 6, 6], as `rounds`."""
    values = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (
            ("i", TensorProto.INT64, []),
            ("go", TensorProto.BOOL, []),
            ("before", TensorProto.FLOAT, None),
            ("on", TensorProto.BOOL, []),
            ("after", TensorProto.FLOAT, None),
            ("each", TensorProto.FLOAT, None),
        )
    ]
    inner = [
        NODE("Identity", ["go"], ["on"]),
        NODE("Sin", ["before"], ["after"]),
        NODE("Identity", ["after"], ["each"]),
    ]
    body = helper.make_graph(inner, "round", values[:3], values[3:])
    nodes = [
        NODE("Conv", ["x", "k"], ["a"]),
        NODE("ReduceMean", ["x"], ["level"], keepdims=0),
        NODE("Loop", ["three", "", "a"], ["turned", "rounds"], body=body),
        NODE("Add", ["a", "turned"], ["last"]),
    ]
    return model_of(*nodes, weights={"k": weight(4, 3, 3, 3), "three": np.array(3)})


def functional() -> onnx.ModelProto:
    """A function of the model's own."""
    inside = [NODE("Sigmoid", ["v"], ["gate"]), NODE("Mul", ["v", "gate"], ["out"])]
    opset = [helper.make_opsetid("", 18)]
    swish = helper.make_function("mine", "MySwish", ["v"], ["out"], inside, opset)
    nodes = [NODE("Conv", ["x", "k"], ["a"]), NODE("MySwish", ["a"], ["last"], domain="mine")]
    model = model_of(*nodes, weights={"k": weight(4, 3, 3, 3)})
    model.functions.append(swish)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    return model


def split() -> onnx.ModelProto:
    nodes = [
        NODE("Split", ["x", "sizes"], ["one", "two"], axis=1),
        NODE("Concat", ["two", "one"], ["a"], axis=1),
        NODE("Slice", ["a", "one.i", "end", "axes", "step"], ["b"]),
        NODE("MaxPool", ["b"], ["last", "places"], kernel_shape=[2, 2], ceil_mode=1),
    ]
    steering = {"sizes": [1, 2], "one.i": [1], "end": [9], "axes": [3], "step": [2]}
    return model_of(*nodes, weights={name: np.array(values) for name, values in steering.items()})


def wrongly_declared() -> onnx.ModelProto:
    """What the file says of its output and of a layer is not what they are."""
    nodes = [NODE("Conv", ["x", "k"], ["a"]), NODE("Relu", ["a"], ["last"])]
    model = model_of(*nodes, weights={"k": weight(4, 3, 3, 3)}, declared=["N", 7])
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 9, 9, 9]))
    return model


def card_of(model: onnx.ModelProto) -> ModelCard:
    """Pictures of 8x8 pixels from 0 to 1, in the layout and type that `x` has."""
    value = model.graph.input[0].type.tensor_type
    last = value.shape.dim[-1].dim_value == 3
    return ModelCard(
        task="multiclass",
        labels=("one", "other"),
        input=InputCard(
            name="x", kind="image", size=(8, 8), channels=3, colour="RGB", layout="NHWC" if last else "NCHW",
            dtype="float16" if value.elem_type == TensorProto.FLOAT16 else "float32", scale=1 / 255,
        ),
        output=OutputCard(name="scores"),
    )  # fmt: skip


def noise(model: onnx.ModelProto) -> tuple[list[bytes], Array]:
    """Two pictures, or one for a model that takes no more; and what of them the model gets."""
    count = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 2
    pixels = np.random.default_rng(3).integers(0, 256, (count, 8, 8, 3), np.uint8)
    encoded = []
    for one in pixels:
        buffer = io.BytesIO()
        Image.fromarray(one).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    card = card_of(model).input
    values = (pixels.astype(np.float32) * np.float32(1 / 255)).astype(card.dtype)
    return encoded, values if card.layout == "NHWC" else values.transpose(0, 3, 1, 2)


def close(actual: Array, expected: Array, tolerance: float) -> bool:
    """Of the same type and shape, and within `tolerance` of the largest magnitude."""
    if (actual.dtype, actual.shape) != (expected.dtype, expected.shape):
        return False
    wide = expected.astype(np.float64)
    return bool(np.all(np.abs(actual.astype(np.float64) - wide) <= tolerance * np.abs(wide).max(initial=0)))


async def all_layers(client: Client, model: onnx.ModelProto, name: str = "odd") -> dict[str, Array]:
    """Every layer at once, from the door for feature maps."""
    pictures, _ = noise(model)
    files = [("images", ("a.png", picture, "image/png")) for picture in pictures]
    layers = list(producers(model.graph))
    path, wish = f"/v1/models/{name}/feature-maps", {"Accept": "application/x-npz"}
    answer = await client.post(path, files=files, params={"layer": layers}, headers=wish)
    assert answer.status_code == 200, answer.text
    return dict(np.load(io.BytesIO(answer.content), allow_pickle=False))
