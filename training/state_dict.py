"""State dicts: the weights that somebody trained, given to a module."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from service.errors import ConvscopeError
from training.data.examples import first_line

COUNTER = "num_batches_tracked"  # of a normalisation, which does without: older files lack it


class ModuleRefused(ConvscopeError):
    """A module that cannot be made, does not fit its weights, labels or pictures, or cannot be exported."""


def give_weights(network: nn.Module, path: Path) -> None:
    """Load a state dict, from safetensors or from torch.save. Raises ModuleRefused when it cannot be read or fitted."""
    weights, wanted = _read_weights(path), network.state_dict()
    missing, unknown = (
        [key for key in some if key not in other and not key.endswith(COUNTER)]
        for some, other in ((wanted, weights), (weights, wanted))
    )
    odd = [key for key in wanted if key in weights and weights[key].shape != wanted[key].shape]
    said = [
        f"{what} {keys[0]}{_more(keys)}" for what, keys in (("it lacks", missing), ("it has also", unknown)) if keys
    ]
    if odd:
        shapes = f"{list(weights[odd[0]].shape)} instead of {list(wanted[odd[0]].shape)}"
        said.append(f"{odd[0]}{_more(odd)} is {shapes}")
    if said:
        raise ModuleRefused(f"{path} does not fit the module: {'; '.join(said)}")
    try:
        network.load_state_dict(weights, strict=False)
    except (RuntimeError, ValueError) as error:  # a module may have rules of its own
        raise ModuleRefused(f"{path} does not fit the module: {first_line(error)}") from error


def _more(keys: list[str]) -> str:
    return f" and {len(keys) - 1} more" if len(keys) > 1 else ""


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModuleRefused(f"there is no file {path}")
    try:
        values: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # damaged files raise a dozen types; so does a pickle that wants to run something
        raise ModuleRefused(f"{path} cannot be read as weights: {first_line(error)}") from error
    for key in ("state_dict", "model"):  # as training scripts nest it in a checkpoint
        if isinstance(values, Mapping) and isinstance(values.get(key), Mapping):
            values = values[key]
    if not isinstance(values, Mapping) or not all(isinstance(value, Tensor) for value in values.values()):
        raise ModuleRefused(f"{path} holds no state dict: tensors by name")
    parallel = values and all(key.startswith("module.") for key in values)  # DistributedDataParallel's wrapper
    return {key.removeprefix("module.") if parallel else key: value for key, value in values.items()}
