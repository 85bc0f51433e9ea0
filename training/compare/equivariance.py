"""What is exact: shift the picture by a multiple of a layer's step, and the layer's maps are shifted along.

It holds for a convolution off the border, where the receptive field lies within the picture; nearer to it, padding
comes in. It is computed with the trained weights, in float64, on a sheet of several test pictures, for a single one is
smaller than the receptive fields of deep layers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from service.errors import InvalidRequest
from training.compare.cost import sized
from training.compare.figures import Change, Comparison, Layer
from training.compare.hardship import shifted
from training.compare.maps import maps, watched
from training.compare.reach import Reach, Reaches, reaches_of
from training.config import Recipe
from training.data.examples import Task
from training.networks.table import build

PIXELS = (1, 2, 4, 8)
TILES = 4  # pictures along an edge of the sheet
TOLERANCE = 1e-12
INFINITE = float("inf")


def sheet_of(pictures: Tensor) -> Tensor:
    """The first pictures [count, height, width, channels], laid out in a square, as one [1, ...]; over again if few."""
    chosen = pictures[torch.arange(TILES**2) % len(pictures)]
    rows = [torch.cat(tuple(row), dim=1) for row in torch.split(chosen, TILES)]
    return torch.cat(rows)[None]


def untrained(recipe: Recipe, task: Task, sheet: Tensor) -> nn.Module:
    """A network for pictures as large as the sheet, in float64."""
    height, width = sheet.shape[1:3]
    return build(recipe, sized(task, height, width, task.input.channels)).double().eval()


def widened(network: nn.Module, recipe: Recipe, task: Task, sheet: Tensor) -> nn.Module:
    """The network for pictures as large as the sheet: all weights that fit are the trained ones."""
    wide = untrained(recipe, task, sheet)
    own, trained = wide.state_dict(), network.state_dict()
    wide.load_state_dict({name: trained[name] if trained[name].shape == own[name].shape else own[name] for name in own})
    return wide


def comparable(recipe: Recipe, task: Task, sheet: Tensor) -> Reaches:
    """What the layers of the recipe's network see of the sheet, if that leaves something to compare in each.

    No training changes it, so it can be known before. Raises InvalidRequest.
    """
    network = untrained(recipe, task, sheet)
    reaches = reaches_of(network, sheet)
    if reason := obstacle(layers(network, sheet, reaches), reaches):
        extents = " x ".join(map(str, sheet.shape[1:3]))
        raise InvalidRequest(
            f"network {recipe.network} cannot be shown to shift along with a sheet of {extents} pixels: {reason}"
        )
    return reaches


def obstacle(found: Sequence[Layer], reaches: Reaches) -> str:
    """Why there is nothing to compare in one of the layers, the deepest such; empty if there is in all."""
    for layer in reversed(found):
        seen = reaches[layer.name]
        if isinstance(seen, str):
            return f"its layer {layer.name} {seen}"
        if not multiples(layer):
            return f"its layer {layer.name} has a step of {layer.step} pixels, and shifts go up to {PIXELS[-1]}"
        if any(each.largest == INFINITE for each in multiples(layer)):
            return f"its layer {layer.name} sees {layer.field} x {layer.field} pixels, and what a shift leaves is less"
    return "" if found else "it has no layers that yield maps"


def layers(network: nn.Module, sheet: Tensor, reaches: Reaches) -> tuple[Layer, ...]:
    """Compare all layers of `network` that yield maps, on `sheet` and on the sheet shifted by each of PIXELS."""
    still = maps(network, sheet.double())
    moved = {pixels: maps(network, shifted(sheet, pixels, pixels).double()) for pixels in PIXELS}
    return tuple(
        layer_of(
            name,
            seen,
            tuple(compared(still[name], moved[pixels][name], seen, pixels, sheet.shape[1:3]) for pixels in PIXELS),
        )
        for name, seen in reaches.items()
    )


def layer_of(name: str, seen: Reach | str, found: tuple[Comparison, ...]) -> Layer:
    """A layer as it stands in the figures; of one without a reach all extents are 0."""
    if isinstance(seen, str):
        return Layer(name=name, step=0, field=0, border=0, compared=found)
    field, border = seen.before + seen.after + 1, max(seen.before, seen.after)
    return Layer(name=name, step=seen.step, field=field, border=border, compared=found)


def exact(layer: Layer) -> bool:
    """Whether the maps go along with every shift by a multiple of the layer's step."""
    return bool(multiples(layer)) and all(each.largest <= TOLERANCE for each in multiples(layer))


def multiples(layer: Layer) -> list[Comparison]:
    """What was found at shifts by a multiple of the layer's step."""
    return [each for each in layer.compared if layer.step and each.cells.is_integer()]


def compared(still: Tensor, moved: Tensor, seen: Reach | str, pixels: int, extents: Sequence[int]) -> Comparison:
    """Hold maps [1, channels, h, w] of the picture beside those of the picture shifted down and right.

    At a shift that is no multiple of the step, the nearer of the two whole shifts of the maps counts. Where cells see
    the whole picture, or have no place in it, there is nothing to compare: the difference is infinite.
    """
    if isinstance(seen, str):
        return Comparison(pixels=pixels, cells=0, largest=INFINITE, mean=INFINITE)
    cells, fewest, most = pixels / seen.step, pixels // seen.step, -(-pixels // seen.step)
    rows, columns = (
        seen.clean(pixels - fewest * seen.step, extent - most * seen.step, count - most)
        for extent, count in zip(extents, still.shape[2:], strict=True)
    )
    if not (rows and columns):
        return Comparison(pixels=pixels, cells=cells, largest=INFINITE, mean=INFINITE)
    before = still[..., rows.start : rows.stop, columns.start : columns.stop]
    differences = []
    for by in {fewest, most}:
        after = moved[..., rows.start + by : rows.stop + by, columns.start + by : columns.stop + by]
        differences.append((after - before).abs())
    nearest = min(differences, key=lambda each: float(each.mean()))
    return Comparison(
        pixels=pixels,
        cells=cells,
        largest=share(float(nearest.max()), float(before.abs().max())),
        mean=share(float(nearest.mean()), float(before.abs().mean())),
    )


def share(part: float, whole: float) -> float:
    """`part` of `whole`; where both are 0, 0."""
    return part / whole if whole else (INFINITE if part else 0.0)


def changes(network: nn.Module, pictures: Tensor) -> tuple[Change, ...]:
    """How much what the first dense layer of `network` yields changes when `pictures` are shifted by each of PIXELS."""
    name = next(name for name, module in network.named_modules() if isinstance(module, nn.Linear))
    with watched(network, rank=2) as values, torch.inference_mode():
        network.eval()(pictures)
        still = values[name]
        means = []
        for pixels in PIXELS:
            network(shifted(pictures, pixels, pixels))
            means.append(share(float((values[name] - still).abs().mean()), float(still.abs().mean())))
    return tuple(Change(pixels=pixels, mean=mean) for pixels, mean in zip(PIXELS, means, strict=True))
