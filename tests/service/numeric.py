"""Two small true models that take numbers: a signal rises or falls, a volume changes along one of its axes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.inference.contract.card import Golden, InputCard, ModelCard, OutputCard
from tests.service.tiny import write_model

Array = NDArray[Any]

LENGTH = 40
EXTENTS = (5, 6, 8)
COURSES = ("rising", "falling")
AXES = ("depth", "height", "width")


def signal_onnx(*, layout: Literal["NHWC", "NCHW"] = "NHWC") -> onnx.ModelProto:
    """float32 signals -> difference of neighbours -> relu -> pool -> mean of three -> head -> softmax."""
    rising = np.array([-1, 0, 1], np.float32)
    weights = {
        "kernel": np.stack([rising, -rising])[:, np.newaxis],
        "mean": np.stack([np.full((1, 3), 1 / 3, np.float32)] * 2),
        "weights": np.eye(2, dtype=np.float32) * 20,
    }
    last = layout == "NHWC"
    nodes = [
        helper.make_node("Transpose", ["signal"], ["input"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["input" if last else "signal", "kernel"], ["stem.conv"], pads=[1, 1]),
        helper.make_node("Relu", ["stem.conv"], ["stem.relu"]),
        helper.make_node("MaxPool", ["stem.relu"], ["stem.pool"], kernel_shape=[2], strides=[2]),
        helper.make_node("Conv", ["stem.pool", "mean"], ["mean.conv"], group=2),
        helper.make_node("GlobalAveragePool", ["mean.conv"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flatten"]),
        helper.make_node("MatMul", ["flatten", "weights"], ["head"]),
        helper.make_node("Softmax", ["head"], ["probabilities"], axis=1),
    ]
    shape = (LENGTH, 1) if last else (1, LENGTH)
    return _model(nodes[0 if last else 1 :], ("signal", TensorProto.FLOAT, shape), len(COURSES), weights)


def volume_onnx(extents: Sequence[int] = EXTENTS) -> onnx.ModelProto:
    """uint8 voxels -> difference of neighbours along each axis -> its size -> mean -> head -> softmax."""
    kernel = np.zeros((3, 1, 3, 3, 3), np.float32)
    for axis in range(3):
        along = np.moveaxis(kernel[axis, 0], axis, 0)
        along[0, 1, 1], along[2, 1, 1] = -1, 1
    nodes = [
        helper.make_node("Cast", ["voxels"], ["input.float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["input.float"], ["input"], perm=[0, 4, 1, 2, 3]),
        helper.make_node("Conv", ["input", "kernel"], ["stem.conv"], strides=[1, 1, 2]),
        helper.make_node("Abs", ["stem.conv"], ["stem.abs"]),
        helper.make_node("GlobalAveragePool", ["stem.abs"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flatten"]),
        helper.make_node("MatMul", ["flatten", "weights"], ["head"]),
        helper.make_node("Softmax", ["head"], ["probabilities"], axis=1),
    ]
    weights = {"kernel": kernel, "weights": np.eye(3, dtype=np.float32) * 20}
    return _model(nodes, ("voxels", TensorProto.UINT8, (*extents, 1)), len(AXES), weights)


def signal_card(**changes: Any) -> InputCard:
    """The input of `signal_onnx`."""
    fields = {"name": "signal", "kind": "signal", "size": (LENGTH,), "channels": 1, "layout": "NHWC"}
    return InputCard.model_validate({**fields, "dtype": "float32", **changes})


def volume_card(extents: Sequence[int] = EXTENTS, **changes: Any) -> InputCard:
    """The input of `volume_onnx`."""
    fields = {"name": "voxels", "kind": "volume", "size": tuple(extents), "channels": 1, "layout": "NHWC"}
    return InputCard.model_validate({**fields, "dtype": "uint8", **changes})


def write(file: Path, model: onnx.ModelProto, card: InputCard, labels: Sequence[str]) -> None:
    """Write `model` with a card that has two golden inputs, which it answered itself."""
    session = ort.InferenceSession(model.SerializeToString())
    inputs = np.random.default_rng(0).integers(0, 2, (2, *card.shape)).astype(card.dtype)
    golden = [Golden.of(one, session.run(None, {card.name: one[np.newaxis]})[0][0]) for one in inputs]
    full = ModelCard(
        task="multiclass", labels=tuple(labels), input=card, output=OutputCard(name="probabilities"), golden=(*golden,)
    )
    write_model(file, model, full)


def write_both(models: Path) -> None:
    """The models `signal` and `volume` in the folder of models."""
    write(models / "signal" / "1" / "model.onnx", signal_onnx(), signal_card(), COURSES)
    write(models / "volume" / "1" / "model.onnx", volume_onnx(), volume_card(), AXES)


def course(label: str) -> list[float]:
    """A signal for `signal_onnx`."""
    rising: list[float] = np.sin(np.linspace(-1.5, 1.5, LENGTH)).round(3).tolist()
    return rising if label == "rising" else rising[::-1]


def change(label: str, extents: Sequence[int] = EXTENTS) -> Array:
    """Voxels for `volume_onnx`: 0 in one half, 1 in the other, along the axis `label`."""
    axis = AXES.index(label)
    changed: Array = (np.indices(extents)[axis] >= extents[axis] // 2).astype(np.uint8)
    return changed


def _model(
    nodes: Sequence[onnx.NodeProto],
    taken: tuple[str, int, Sequence[int]],
    classes: int,
    weights: Mapping[str, Array],
) -> onnx.ModelProto:
    name, kind, shape = taken
    graph = helper.make_graph(
        nodes,
        "numeric",
        [helper.make_tensor_value_info(name, kind, ["N", *shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", classes])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
