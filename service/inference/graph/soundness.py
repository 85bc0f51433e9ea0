"""Soundness: what onnxruntime would not refuse by itself, and yet cannot be served.

`onnx.checker` is no help here: it asks for declarations that onnxruntime does without, and lets pass what crashes it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import onnx

from service.errors import ModelRejected
from service.inference.graph.operators import STANDARD, standard
from service.inference.graph.subgraph import bodies

OLDEST_OPSET = 7
"""Before, Add and its like broadcast in another way, and onnxruntime does not know them; other operators it runs."""


def check_sound(model: onnx.ModelProto) -> None:
    """Raises ModelRejected, with the reason, for what crashes onnxruntime."""
    for node in _nodes(model):
        # onnxruntime 1.31 opens it, and the first run kills the process. The specification wants each part named.
        if standard(node).op_type == "Split" and not all(node.output):
            raise ModelRejected(f"its Split of {node.input[0]!r} has a part without a name, which crashes onnxruntime")


@contextmanager
def age_explained(model: onnx.ModelProto) -> Iterator[None]:
    """Raises ModelRejected for what fails within, if the model's age is the likely reason; else lets it through."""
    try:
        yield
    except Exception as error:
        for entry in model.opset_import:
            if entry.domain in STANDARD and entry.version < OLDEST_OPSET:
                raise ModelRejected(
                    f"it is of opset {entry.version}, of which onnxruntime runs only a part ({error}); "
                    f"onnx.version_converter, or exporting it anew, gives opset {OLDEST_OPSET} or later"
                ) from error
        raise


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of sub-graphs and of functions among them."""
    waiting = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [inner for body in bodies(node) for inner in body.node]
