"""What is exact: shift the picture by a multiple of a layer's step, and the layer's maps are shifted along.

It holds for a convolution off the border, where the receptive field lies within the picture; nearer to it, padding
comes in. It is computed with the trained weights, in float64, on a sheet of several test pictures, for a single one is
smaller than the receptive fields of deep layers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.compare.cost import sized
from training.compare.figures import Change, Comparison, Layer
from training.compare.hardship import shifted
from training.config import Recipe
from training.data.examples import Task
from training.networks.table import build

PIXELS = (1, 2, 4, 8)
TILES = 4  # pictures along an edge of the sheet
AT_ONCE = 16
TOLERANCE = 1e-12
INFINITE = float("inf")

Maps = Mapping[str, Tensor]


@dataclass(frozen=True)
class Reach:
    """Cell `i` along an axis sees the pixels from `i * step - before` to `i * step + after`, and no others."""

    step: int
    before: int
    after: int

    def clean(self, start: int, stop: int, cells: int) -> range:
        """Those of `cells` cells that see nothing but pixels `start` to `stop` - 1."""
        first = -(-(self.before + start) // self.step)
        return range(first, min(cells, (stop - 1 - self.after) // self.step + 1))


def sheet_of(pictures: Tensor) -> Tensor:
    """The first pictures [count, height, width, channels], laid out in a square, as one [1, ...]; over again if few."""
    chosen = pictures[torch.arange(TILES**2) % len(pictures)]
    rows = [torch.cat(tuple(row), dim=1) for row in torch.split(chosen, TILES)]
    return torch.cat(rows)[None]


def widened(network: nn.Module, recipe: Recipe, task: Task, sheet: Tensor) -> nn.Module:
    """The network for pictures as large as the sheet, in float64: all weights that fit are the trained ones."""
    height, width = sheet.shape[1:3]
    wide = build(recipe, sized(task, height, width, task.input.channels))
    own, trained = wide.state_dict(), network.state_dict()
    wide.load_state_dict({name: trained[name] if trained[name].shape == own[name].shape else own[name] for name in own})
    return wide.double().eval()


def layers(network: nn.Module, sheet: Tensor) -> tuple[Layer, ...]:
    """Compare all layers of `network` that yield maps, on `sheet` and on the sheet shifted by each of PIXELS."""
    still, reaches = maps(network, sheet.double()), reaches_of(network, sheet)
    moved = {pixels: maps(network, shifted(sheet, pixels, pixels).double()) for pixels in PIXELS}
    return tuple(
        Layer(
            name=name,
            step=reach.step if reach else 0,
            field=reach.before + reach.after + 1 if reach else 0,
            border=max(reach.before, reach.after) if reach else 0,
            compared=tuple(
                compared(still[name], moved[pixels][name], reach, pixels, sheet.shape[1:3]) for pixels in PIXELS
            ),
        )
        for name, reach in reaches.items()
    )


def exact(layer: Layer) -> bool:
    """Whether the maps go along with every shift by a multiple of the layer's step."""
    multiples = [each for each in layer.compared if each.cells.is_integer()]
    return bool(layer.step and multiples) and all(each.largest <= TOLERANCE for each in multiples)


def compared(still: Tensor, moved: Tensor, reach: Reach | None, pixels: int, extents: Sequence[int]) -> Comparison:
    """Hold maps [1, channels, h, w] of the picture beside those of the picture shifted down and right.

    At a shift that is no multiple of the step, the nearer of the two whole shifts of the maps counts. Where cells see
    the whole picture, or have no place in it, there is nothing to compare: the difference is infinite.
    """
    if reach is None:
        return Comparison(pixels=pixels, cells=0, largest=INFINITE, mean=INFINITE)
    cells, fewest, most = pixels / reach.step, pixels // reach.step, -(-pixels // reach.step)
    rows, columns = (
        reach.clean(pixels - fewest * reach.step, extent - most * reach.step, count - most)
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


def reaches_of(network: nn.Module, sheet: Tensor) -> dict[str, Reach | None]:
    """What the cells of each layer with maps see, found by trying: NaN spreads to all that depends on it.

    None for a layer whose cells do not each see a part of the picture, one a whole number of pixels further than the
    one before. It is tried along the height; kernels here are square.
    """
    height = sheet.shape[1]
    seen: dict[str, list[Tensor]] = {}
    for rows in torch.split(torch.arange(height), AT_ONCE):
        blinded = sheet.double().repeat(len(rows), 1, 1, 1)
        blinded[torch.arange(len(rows)), rows] = torch.nan
        for name, values in maps(network, blinded).items():
            seen.setdefault(name, []).append(values.isnan().any(dim=1).any(dim=-1))
    return {name: reach(torch.cat(parts)) for name, parts in seen.items()}


def reach(seen: Tensor) -> Reach | None:
    """Read the reach of the cells in the middle off `seen`, bool [pixels, cells]: whether the cell sees the pixel."""
    pixels, cells = seen.shape
    ends = [seen[:, cell].nonzero() for cell in (cells // 2, cells // 2 + 1) if cell < cells]
    if len(ends) < 2 or not all(len(each) for each in ends):
        return None
    (first, last), (following, _) = ((int(each.min()), int(each.max())) for each in ends)
    step = following - first
    if step < 1 or first == 0 or last == pixels - 1:
        return None
    return Reach(step, before=(cells // 2) * step - first, after=last - (cells // 2) * step)


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
