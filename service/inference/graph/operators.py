"""Operators: which standard ONNX operator a node is, or is as good as; a name without its domain says nothing."""

from collections.abc import Sequence

import onnx

STANDARD = frozenset({"", "ai.onnx"})
CONTRIBUTED = "com.microsoft"
BLOCKED = "com.microsoft.nchwc"
"""The convolutions of a file that onnxruntime has optimised: their tensors are NCHW in shape, whatever in memory."""

# What each is as good as, and which of its inputs are that one's: the rest are scales and zero points.
# ONNX operator specification; onnxruntime's docs/ContribOperators.md.
_EQUIVALENTS: dict[tuple[str, str], tuple[str, Sequence[int] | slice]] = {
    ("", "QLinearConv"): ("Conv", (0, 3, 8)),
    ("", "ConvInteger"): ("Conv", (0, 1)),
    ("", "QLinearMatMul"): ("MatMul", (0, 3)),
    ("", "MatMulInteger"): ("MatMul", (0, 1)),
    (CONTRIBUTED, "FusedConv"): ("Conv", (0, 1, 2, 3)),  # the fourth is added to the sum
    (CONTRIBUTED, "FusedGemm"): ("Gemm", (0, 1, 2)),
    (CONTRIBUTED, "FusedMatMul"): ("MatMul", (0, 1)),
    (CONTRIBUTED, "QGemm"): ("Gemm", (0, 3, 6)),
    (CONTRIBUTED, "MatMulIntegerToFloat"): ("MatMul", (0, 1, 6)),
    (CONTRIBUTED, "QLinearAdd"): ("Add", (0, 3)),
    (CONTRIBUTED, "QLinearMul"): ("Mul", (0, 3)),
    (CONTRIBUTED, "QLinearWhere"): ("Where", (0, 1, 4)),
    (CONTRIBUTED, "QLinearConcat"): ("Concat", slice(2, None, 3)),
    (CONTRIBUTED, "QLinearGlobalAveragePool"): ("GlobalAveragePool", (0,)),
    (CONTRIBUTED, "QLinearAveragePool"): ("AveragePool", (0,)),
    (CONTRIBUTED, "QLinearLeakyRelu"): ("LeakyRelu", (0,)),
    (CONTRIBUTED, "QLinearSigmoid"): ("Sigmoid", (0,)),
    (CONTRIBUTED, "QuantizeLinear"): ("QuantizeLinear", (0, 1, 2)),
    (CONTRIBUTED, "DequantizeLinear"): ("DequantizeLinear", (0, 1, 2)),
    # An activation of every opset, number by number, alone and with a bias; which one makes no difference here.
    (CONTRIBUTED, "Gelu"): ("Sigmoid", (0,)),
    (CONTRIBUTED, "QuickGelu"): ("Sigmoid", (0,)),
    (CONTRIBUTED, "BiasGelu"): ("PRelu", (0, 1)),
    (BLOCKED, "Conv"): ("Conv", (0, 1, 2, 3)),
    (BLOCKED, "MaxPool"): ("MaxPool", (0,)),
    (BLOCKED, "AveragePool"): ("AveragePool", (0,)),
    (BLOCKED, "GlobalMaxPool"): ("GlobalMaxPool", (0,)),
    (BLOCKED, "GlobalAveragePool"): ("GlobalAveragePool", (0,)),
    (BLOCKED, "ReorderOutput"): ("Identity", (0,)),
}
_TURNED = frozenset({"channels_last", "transBatchA", "transBatchB"})
_BLOCK = 16
"""onnxruntime's blocks of channels are 8 or 16 long, and the last one is filled up."""


def standard(node: onnx.NodeProto) -> onnx.NodeProto:
    """`node` as the standard operator of the same shapes, places and weights, its inputs those numbers alone.

    One that is as good as none bears its domain in its name, "my::Conv", so that nobody takes it for the standard one.
    """
    if (found := equivalent(node)) is not None:
        return found
    foreign = _copy(node)
    foreign.op_type = f"{node.domain}::{node.op_type}"
    return foreign


def equivalent(node: onnx.NodeProto) -> onnx.NodeProto | None:
    """As `standard`, and None for an operator that is as good as none."""
    domain = "" if node.domain in STANDARD else node.domain
    found = _EQUIVALENTS.get((domain, node.op_type))
    if found is None:
        return None if domain else node
    if _is_turned(node):
        return None
    op, places = found
    names = list(node.input)
    kept = names[places] if isinstance(places, slice) else [names[place] for place in places if place < len(names)]
    same = _copy(node)
    same.op_type, same.domain = op, ""
    del same.input[:]
    same.input.extend(kept)
    return same


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that `model` is written in."""
    return next((entry.version for entry in model.opset_import if entry.domain in STANDARD), 1)


def is_foreign(node: onnx.NodeProto) -> bool:
    """Whether a node that `standard` gave is of an operator not known here."""
    return "::" in node.op_type


def _is_turned(node: onnx.NodeProto) -> bool:
    """Whether the axes lie otherwise than in the standard operator, or are not as long as they look."""
    wrong = _TURNED | {"transA", "transB"} if node.op_type == "FusedMatMul" else _TURNED
    if any(attribute.name in wrong and attribute.i for attribute in node.attribute):
        return True
    channels = [attribute.i for attribute in node.attribute if attribute.name == "channels"]
    return node.op_type == "ReorderOutput" and any(count % _BLOCK for count in channels)


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
