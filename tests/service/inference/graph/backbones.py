"""The convolutions and poolings of well-known networks, as torchvision builds them, without their weights' values."""

from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.service.inference.small import Array, build


class Stack:
    """Nodes one after the other on NCHW `x`; kernels of ones and three channels, as only the geometry counts."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Array] = {}

    def add(self, op: str, *inputs: str, **settings: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **settings))
        return name

    def conv(self, x: str, size: int, stride: int = 1, padding: int = 0, channels: int = 3) -> str:
        kernel = f"kernel{len(self.nodes)}"
        self.weights[kernel] = np.ones((3, channels, size, size), np.float32)
        return self.add("Conv", x, kernel, strides=[stride] * 2, pads=[padding] * 4)

    def pool(self, x: str, size: int, stride: int, padding: int = 0) -> str:
        return self.add("MaxPool", x, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[padding] * 4)

    def model(self, last: str, extent: int | str = 224) -> onnx.ModelProto:
        return build(self.nodes, {"x": ["N", 3, extent, extent]}, [last], self.weights)


def resnet50(extent: int | str = 224) -> tuple[onnx.ModelProto, str]:
    """And the name of its last sum; the stride is in the 3x3 convolution of a block, as in torchvision."""
    stack = Stack()
    x = stack.add("Relu", stack.conv("x", 7, 2, 3))
    x = stack.pool(x, 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            inner = stack.add("Relu", stack.conv(x, 1))
            inner = stack.add("Relu", stack.conv(inner, 3, stride, 1))
            inner = stack.conv(inner, 1)
            skip = stack.conv(x, 1, stride) if not block else x
            x = stack.add("Relu", stack.add("Add", inner, skip))
    flat = stack.add("Flatten", stack.add("GlobalAveragePool", x))
    return stack.model(flat, extent), x


def vgg16() -> tuple[onnx.ModelProto, str]:
    """And the name of its last pooling."""
    stack, x = Stack(), "x"
    for convolutions in (2, 2, 3, 3, 3):
        for _ in range(convolutions):
            x = stack.add("Relu", stack.conv(x, 3, 1, 1))
        x = stack.pool(x, 2, 2)
    return stack.model(stack.add("Flatten", x)), x


def alexnet() -> tuple[onnx.ModelProto, str]:
    """And the name of its last pooling."""
    stack = Stack()
    x = stack.pool(stack.add("Relu", stack.conv("x", 11, 4, 2)), 3, 2)
    x = stack.pool(stack.add("Relu", stack.conv(x, 5, 1, 2)), 3, 2)
    for _ in range(3):
        x = stack.add("Relu", stack.conv(x, 3, 1, 1))
    x = stack.pool(x, 3, 2)
    return stack.model(stack.add("Flatten", x)), x
