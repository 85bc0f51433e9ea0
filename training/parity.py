"""Each layer of an ONNX graph beside the PyTorch module of its name."""

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Floats = NDArray[np.float32]


def layer_differences(
    model: onnx.ModelProto, network: nn.Module, inputs: NDArray[np.generic], wrapper: str = ""
) -> dict[str, float]:
    """How far each layer named after a module is from that module's output, as a share of its largest magnitude.

    `inputs` is a batch of the network's input. Infinite where the shapes differ, or where the module yields only zeros
    and the layer does not. Where layers are named without the attribute that holds them, `wrapper` is its name.
    """
    modules = module_outputs(network, inputs)
    if wrapper:
        within = f"{wrapper}."
        modules = {name.removeprefix(within): value for name, value in modules.items() if name.startswith(within)}
    layers = layer_outputs(model, inputs)
    return {name: _difference(layers[name], modules[name]) for name in layers if name in modules}


def module_outputs(network: nn.Module, inputs: NDArray[np.generic]) -> dict[str, Floats]:
    """What every module of the network yields for `inputs` at its first call, by its dotted name, caught by hooks.

    Modules that yield no single tensor are left out.
    """
    caught: dict[str, Floats] = {}

    def catch(name: str, output: object) -> None:
        if isinstance(output, Tensor):
            caught.setdefault(name, output.detach().clone().numpy())

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: catch(name, output))
        for name, module in network.named_modules()
        if name
    ]
    try:
        with torch.inference_mode():
            network.eval()(torch.from_numpy(inputs))
    finally:
        for hook in hooks:
            hook.remove()
    return caught


def layer_outputs(model: onnx.ModelProto, inputs: NDArray[np.generic]) -> dict[str, Floats]:
    """What every node yields for `inputs`, by its name, from onnxruntime with its optimisations off."""
    names = [name for node in model.graph.node for name in node.output if name]
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    known = {value.name for value in opened.graph.output}
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(opened.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: inputs}), strict=True))


def _difference(layer: Floats, module: Floats) -> float:
    if layer.shape != module.shape:
        return float("inf")
    one, other = layer.astype(np.float64), module.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinities, as masks of attention have them
        difference = float(np.where(one == other, 0, np.abs(one - other)).max())
    largest = float(np.abs(other[np.isfinite(other)]).max(initial=0))
    if not difference:
        return 0.0
    return difference / largest if largest else float("inf")
