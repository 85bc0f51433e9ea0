"""The value of a tensor that does not depend on any input: an initialiser, a Constant, or what is computed of those."""

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

from service.inference.graph.subgraph import initialiser_names, producers, subgraph

Array = NDArray[Any]


def constant(model: onnx.ModelProto, name: str) -> Array | None:
    """The value of `name`, a quantised one dequantised, say; None where it depends on an input or is not there.

    bfloat16 and the smaller floats, which numpy lacks, come as float32.
    """
    for tensor in model.graph.initializer:
        if tensor.name == name:
            value: Array = numpy_helper.to_array(tensor)
            return value if value.dtype.kind in "biuf" and value.dtype.isbuiltin else value.astype(np.float32)
    return _computed(model, name) if name in producers(model.graph) else None


def _computed(model: onnx.ModelProto, name: str) -> Array | None:
    part = subgraph(model, [name])
    if {value.name for value in part.graph.input} - initialiser_names(part.graph):
        return None
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
    [value] = session.run([name], {})
    return value if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" else None
