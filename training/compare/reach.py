"""Which pixels the cells of a layer's maps see: found by trying, and the same for any weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.compare.maps import maps

AT_ONCE = 16
WHOLE, EDGE = "sees the whole sheet", "sees, from the middle of the sheet, as far as its edge"
UNEVEN = "has neurons that are not spread evenly over the sheet"

Reaches = Mapping[str, "Reach | str"]  # by the layer's name; a string says why its neurons have none


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


def reaches_of(network: nn.Module, sheet: Tensor) -> Reaches:
    """What the cells of each layer with maps see of `sheet`: NaN spreads to all that depends on it.

    It is tried along the height; kernels here are square.
    """
    height = sheet.shape[1]
    seen: dict[str, list[Tensor]] = {}
    for rows in torch.split(torch.arange(height), AT_ONCE):
        blinded = sheet.double().repeat(len(rows), 1, 1, 1)
        blinded[torch.arange(len(rows)), rows] = torch.nan
        for name, values in maps(network, blinded).items():
            seen.setdefault(name, []).append(values.isnan().any(dim=1).any(dim=-1))
    return {name: reach(torch.cat(parts)) for name, parts in seen.items()}


def reach(seen: Tensor) -> Reach | str:
    """Read the reach of the two cells in the middle off `seen`, bool [pixels, cells]: whether the cell sees the pixel.

    Where they see past the sheet, or each is not a whole number of pixels further than the one before: WHOLE, EDGE or
    UNEVEN.
    """
    pixels, cells = seen.shape
    middle = (cells - 1) // 2
    places = [seen[:, cell].nonzero() for cell in range(middle, min(middle + 2, cells))]
    ends = [(int(each.min()), int(each.max())) for each in places if len(each)]
    if ends and ends[0] == (0, pixels - 1):
        return WHOLE
    if len(ends) < 2:
        return UNEVEN
    (first, last), (following, _) = ends
    if first == 0 or last == pixels - 1:
        return EDGE
    step = following - first
    if step < 1:
        return UNEVEN
    return Reach(step, before=middle * step - first, after=last - middle * step)
