"""Window: what a convolution or a pooling sees at once, and how it moves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from service.inference.graph.shapes import Shape

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
POOLINGS = frozenset({"MaxPool", "AveragePool", "LpPool"})


@dataclass(frozen=True)
class Window:
    """Extents in space, one value per axis; `padding` as in ONNX: all begins, then all ends; None where unknown."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | None
    dilation: tuple[int, ...]


def window(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> Window | None:
    """The window of a standard `node`; None if it has none, or if its kernel is unknown.

    Formulas: ONNX operator specification.
    """
    if node.op_type not in CONVOLUTIONS | POOLINGS:
        return None
    settings = attributes(node)
    kernel = _kernel(node, settings, shapes)
    if kernel is None:
        return None
    ones = [1] * len(kernel)
    stride = tuple(settings.get("strides", ones))
    dilation = tuple(settings.get("dilations", ones))
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True)]
    extents = shapes.get(node.input[0], ())[2:]
    pad = _transposed_padding if node.op_type == "ConvTranspose" else _padding
    return Window(kernel, stride, pad(settings, extents, reach, stride), dilation)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of `node` as Python values; text as bytes."""
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _kernel(node: onnx.NodeProto, settings: dict[str, Any], shapes: Mapping[str, Shape]) -> tuple[int, ...] | None:
    if "kernel_shape" in settings:
        return tuple(settings["kernel_shape"])
    extents = shapes.get(node.input[1], ())[2:] if node.op_type in CONVOLUTIONS else ()
    known = tuple(size for size in extents if isinstance(size, int))
    return known if known and len(known) == len(extents) else None


def _padding(
    settings: dict[str, Any], extents: Shape, reach: Sequence[int], stride: Sequence[int]
) -> tuple[int, ...] | None:
    mode = settings.get("auto_pad", b"NOTSET")
    if mode not in (b"SAME_UPPER", b"SAME_LOWER"):
        return _explicit(settings, mode, len(reach))
    if len(extents) != len(reach):
        extents = (None,) * len(reach)
    totals = []
    for extent, size, step in zip(extents, reach, stride, strict=True):
        if step == 1:  # the output is as long as the input, whatever that is
            totals.append(size - 1)
        elif isinstance(extent, int):
            totals.append(max((-(-extent // step) - 1) * step + size - extent, 0))
        else:
            return None
    return _split(totals, more_at_end=mode == b"SAME_UPPER")


def _transposed_padding(
    settings: dict[str, Any], extents: Shape, reach: Sequence[int], stride: Sequence[int]
) -> tuple[int, ...] | None:
    mode = settings.get("auto_pad", b"NOTSET")
    wanted = settings.get("output_shape", ())[-len(reach) :]
    if not wanted and mode not in (b"SAME_UPPER", b"SAME_LOWER"):
        return _explicit(settings, mode, len(reach))
    beyond = settings.get("output_padding", [0] * len(reach))
    if not wanted:  # the output is `extent * stride` long, so that the extent cancels out
        totals = [max(more + size - step, 0) for more, size, step in zip(beyond, reach, stride, strict=True)]
        return _split(totals, more_at_end=mode == b"SAME_UPPER")
    totals = []
    for extent, more, size, step, length in zip(extents, beyond, reach, stride, wanted, strict=False):
        if not isinstance(extent, int):
            return None
        totals.append(max(step * (extent - 1) + more + size - length, 0))
    return _split(totals, more_at_end=mode == b"SAME_UPPER") if len(totals) == len(reach) else None


def _explicit(settings: dict[str, Any], mode: bytes, rank: int) -> tuple[int, ...]:
    none = [0] * (2 * rank)
    return tuple(none if mode == b"VALID" else settings.get("pads", none))


def _split(totals: Sequence[int], more_at_end: bool) -> tuple[int, ...]:
    """Halves; where a total is odd, the larger one goes to the end or to the begin."""
    less = [total // 2 for total in totals]
    more = [total - total // 2 for total in totals]
    return (*less, *more) if more_at_end else (*more, *less)
