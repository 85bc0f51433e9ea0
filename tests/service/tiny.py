"""A tiny true model, built without torch: 8x8 RGB pixels in, one of three colours out."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from service.inference.contract.card import METADATA_KEY, Golden, InputCard, ModelCard, OutputCard

LABELS = ("red", "green", "blue")
SIZE = 8


def tiny_onnx(*extra: onnx.NodeProto, batch: str | int = "N") -> onnx.ModelProto:
    """Pixels -> NCHW -> convolution -> relu -> mean of each channel -> dense -> softmax: the strongest colour wins.

    Nodes of `extra` come on top.
    """
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    kernel[range(3), range(3), 1, 1] = 1.0
    nodes = [
        helper.make_node("Cast", ["pixels"], ["input.float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["input.float", "scale"], ["input.scaled"]),
        helper.make_node("Transpose", ["input.scaled"], ["input"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["input", "kernel"], ["stem.conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["stem.conv"], ["stem.relu"]),
        helper.make_node("GlobalAveragePool", ["stem.relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flatten"]),
        helper.make_node("MatMul", ["flatten", "weights"], ["head"]),
        helper.make_node("Softmax", ["head"], ["probabilities"], axis=1),
    ]
    weights = {
        "scale": np.float32(1 / 255),
        "kernel": kernel,
        "weights": np.eye(3, dtype=np.float32) * 20,
    }
    graph = helper.make_graph(
        [*nodes, *extra],
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [batch, SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def tiny_card(model: onnx.ModelProto) -> ModelCard:
    """The card of `model`, with two golden inputs that it answered itself."""
    session = ort.InferenceSession(model.SerializeToString())
    pictures = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    answers = [session.run(None, {"pixels": picture[np.newaxis]})[0][0] for picture in pictures]
    return ModelCard(
        task="multiclass",
        labels=LABELS,
        input=InputCard(
            name="pixels", kind="image", size=(SIZE, SIZE), channels=3, colour="RGB", layout="NHWC", dtype="uint8"
        ),
        output=OutputCard(name="probabilities"),
        golden=tuple(Golden.of(picture, answer) for picture, answer in zip(pictures, answers, strict=True)),
    )


def write_model(file: Path, model: onnx.ModelProto, card: ModelCard | None) -> None:
    """Write `model` with `card` in its metadata."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    if card:
        helper.set_model_props(model, {METADATA_KEY: card.model_dump_json()})
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, file)


def write_tiny(file: Path, *extra: onnx.NodeProto, batch: str | int = "N") -> None:
    """Write the tiny model with its card."""
    model = tiny_onnx(*extra, batch=batch)
    write_model(file, model, tiny_card(model))
