"""Kinds: what an operator is for, in the words by which a client narrows the layer table."""

from collections.abc import Iterable

from service.errors import InvalidRequest

ALL = "all"
PLUMBING = "plumbing"

# fmt: off
OPERATORS: dict[str, frozenset[str]] = {
    "conv": frozenset({"Conv", "ConvTranspose", "DeformConv"}),
    "norm": frozenset({
        "BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization",
        "LRN", "MeanVarianceNormalization", "RMSNormalization",
    }),
    "activation": frozenset({
        "Celu", "Clip", "Elu", "Gelu", "Hardmax", "HardSigmoid", "HardSwish", "LeakyRelu", "LogSoftmax", "Mish",
        "PRelu", "Relu", "Selu", "Shrink", "Sigmoid", "Softmax", "Softplus", "Softsign", "Swish", "Tanh",
        "ThresholdedRelu",
    }),
    "pool": frozenset({
        "AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool", "MaxRoiPool",
        "RoiAlign",
    }),
    "dense": frozenset({"Gemm", "MatMul"}),
}
# fmt: on
KINDS = (*OPERATORS, ALL)

_KIND = {op: kind for kind, ops in OPERATORS.items() for op in ops}


def kind_of(op: str) -> str | None:
    """'Conv' -> 'conv', of a standard operator; None for one of no kind, as a sum or a concatenation."""
    return _KIND.get(op)


def parse_kinds(texts: Iterable[str]) -> frozenset[str]:
    """['conv,norm', 'pool'] -> the three of them. Raises InvalidRequest, which lists those that there are."""
    kinds = frozenset(kind.strip() for text in texts for kind in text.split(","))
    for kind in sorted(kinds - set(KINDS)):
        raise InvalidRequest(f"unknown kind {kind[:200]!r}; the kinds are: {', '.join(KINDS)}")
    return kinds
