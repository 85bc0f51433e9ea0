"""What the layers of a network yield on the way: looked at, not kept."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Maps = Mapping[str, Tensor]


@torch.inference_mode()
def maps(network: nn.Module, inputs: Tensor) -> Maps:
    """What each innermost module of `network` yields that is maps [count, channels, h, w]; not what prepares inputs."""
    with watched(network, rank=4) as values:
        network(inputs)
    return {name: value for name, value in values.items() if not name.startswith("input.") and min(value.shape[2:]) > 1}


@contextmanager
def watched(network: nn.Module, rank: int) -> Iterator[dict[str, Tensor]]:
    """Note what each innermost module yields, in order of calls, where it has `rank` axes."""
    values: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, __: tuple[Tensor, ...], made: Tensor) -> None:
            if made.ndim == rank:
                values[name] = made

        return hook

    leaves = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(note(name)) for name, module in leaves]
    try:
        yield values
    finally:
        for handle in handles:
            handle.remove()
