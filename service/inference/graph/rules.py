"""Rules: which operator lets see what; one that is not listed is taken to see everything."""

from collections.abc import Callable, Iterable

import onnx

from service.inference.graph import mixing, moving
from service.inference.graph.operands import Operands, Unknown
from service.inference.graph.sight import Sight
from service.inference.graph.window import CONVOLUTIONS, POOLINGS

GLOBAL_POOLINGS = frozenset({"GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"})
# fmt: off
ELEMENTWISE = frozenset({
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BatchNormalization", "BitShift",
    "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "Cosh",
    "DequantizeLinear", "Div", "Dropout", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual",
    "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max",
    "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "QuantizeLinear", "Reciprocal", "Relu",
    "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Sub", "Sum",
    "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
})
REDUCTIONS = frozenset({
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
})
# fmt: on

Rule = Callable[[Operands, onnx.NodeProto, Sight], Sight]


def _careful(rule: Rule) -> Rule:
    def ruled(operands: Operands, node: onnx.NodeProto, first: Sight) -> Sight:
        try:
            return rule(operands, node, first)
        except (Unknown, IndexError):  # the latter: a node that lacks inputs which its operator needs
            return first.blurred

    return ruled


_BY_RULE: dict[Rule, Iterable[str]] = {
    mixing.elementwise: ELEMENTWISE,
    mixing.windowed: CONVOLUTIONS | POOLINGS,
    mixing.pooled_whole: GLOBAL_POOLINGS | {"InstanceNormalization"},
    mixing.kept: ("LpNormalization",),
    moving.split: ("Split",),
    mixing.mixed_from: ("Softmax", "LogSoftmax", "Hardmax", "LayerNormalization"),
    mixing.across_channels: ("LRN",),
    mixing.reduced: REDUCTIONS,
    mixing.best: ("ArgMax", "ArgMin"),
    moving.transposed: ("Transpose",),
    moving.flattened: ("Flatten",),
    moving.reshaped: ("Reshape",),
    moving.squeezed: ("Squeeze",),
    moving.unsqueezed: ("Unsqueeze",),
    moving.joined: ("Concat",),
    moving.sliced: ("Slice",),
    moving.padded: ("Pad",),
    moving.gathered: ("Gather",),
    mixing.multiplied: ("MatMul",),
    moving.resized: ("Resize", "Upsample", "Expand"),
    moving.blocked: ("SpaceToDepth",),
    moving.unblocked: ("DepthToSpace",),
}
RULES: dict[str, Rule] = {op: _careful(rule) for rule, ops in _BY_RULE.items() for op in ops}
JOINING = (ELEMENTWISE | {"Concat", "MatMul"}) - {"BatchNormalization", "QuantizeLinear", "DequantizeLinear", "Clip"}
"""Operators whose operands are all looked through; elsewhere, one that depends on the pixels steers the whole."""
