"""From a dense layer to a convolution, each step proved on tensors.

After A. Zhang, Z. Lipton, M. Li and A. Smola, "Dive into Deep Learning", chapter 7.1, whose notation this is: a neuron
at (i, j), a pixel at (k, l), the offset (a, b) between them. A map m and a channel c come before them, so that weights
are [m, i, j, c, k, l] by pixel and [m, i, j, c, a, b] by offset. A neuron stands on the first pixel of its window, so
offsets run from -(rows - 1) to height - 1; in a tensor, whose indices start at 0, offset a has the index rows - 1 + a.
"""

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from training.derive.layer import Layer
from training.derive.proof import Numbers, Step, apart, different


def derivation(layer: Layer, seed: int = 0) -> list[Step]:
    """Each step with its weights; its proof is on `layer` itself, or on a small one where it is too large."""
    small, numbers = layer.provable(), Numbers(seed)
    picture = numbers.picture(small.channels, small.height, small.width)
    weights = numbers.weights(small.maps, small.rows, small.columns, *picture.shape)
    offsets = numbers.weights(small.maps, small.channels, *small.reach)
    return [
        Step("dense: W[i,j,k,l], one for every neuron (i,j) and pixel (k,l)", layer.dense, full(weights, picture)),
        Step("re-indexed by offset: V[i,j,a,b] = W[i,j,i+a,j+b]", layer.dense, reindexed(weights, picture)),
        Step(
            f"translation invariance: V[a,b], {layer.reach[0]:,} x {layer.reach[1]:,} offsets for all places",
            layer.invariant,
            invariant(small, offsets, picture),
        ),
        Step(
            f"the same, each group of {layer.places:,} sharing a set as large as the picture",
            layer.sets,
            in_sets(small, offsets, picture),
        ),
        Step(f"locality: V[a,b] only for {near(layer.kernel)}", layer.local, local(small, offsets, picture)),
        Step(
            f"what is left is torch's conv2d, weight [{layer.maps}, {layer.channels}, {layer.kernel}, {layer.kernel}]",
            layer.local,
            convolved(small, offsets, picture),
        ),
    ]


def full(weights: Tensor, picture: Tensor) -> float:
    """A sum over every pixel, for every neuron, is torch's dense layer on the flattened picture."""
    layer = functional.linear(picture.flatten(), weights.reshape(-1, picture.numel()))
    return apart((dense(weights, picture).flatten(), layer), (different(weights), weights.numel()))


def reindexed(weights: Tensor, picture: Tensor) -> float:
    """To count pixels from the neuron's own place changes names, no weight and no result."""
    rows, columns = weights.shape[1:3]
    offsets = by_offset(weights)
    sums = torch.einsum("mijcab,cijab->mij", offsets, surroundings(picture, rows, columns))
    back = by_pixel(offsets, *picture.shape[1:])
    return apart((sums, dense(weights, picture)), (back, weights), (different(offsets), weights.numel()))


def invariant(layer: Layer, offsets: Tensor, picture: Tensor) -> float:
    """A dense layer whose weight depends on the offset alone is a convolution with a kernel beyond the picture."""
    weights = tied(layer, offsets)
    around = (layer.columns - 1, layer.columns - 1, layer.rows - 1, layer.rows - 1)
    kernel = functional.conv2d(functional.pad(picture, around), offsets)
    return apart((dense(weights, picture), kernel), (different(weights), layer.invariant))


def in_sets(layer: Layer, offsets: Tensor, picture: Tensor) -> float:
    """Of all offsets only as many as the picture has pixels: the set goes along, what hangs over the edge meets 0."""
    weights = tied(layer, within(layer, offsets, layer.height, layer.width))
    beyond = functional.pad(picture, (0, layer.columns - 1, 0, layer.rows - 1))
    kernel = functional.conv2d(beyond, offsets[..., layer.rows - 1 :, layer.columns - 1 :])
    return apart((dense(weights, picture), kernel), (different(weights), layer.sets))


def local(layer: Layer, offsets: Tensor, picture: Tensor) -> float:
    """A dense layer that is 0 but in the window: H[i,j] is the sum of V[a,b] X[i+a,j+b] over the window alone."""
    weights = tied(layer, within(layer, offsets, layer.kernel, layer.kernel))
    sums = torch.zeros(layer.maps, layer.rows, layer.columns, dtype=torch.double)
    for a, b in product(range(layer.kernel), repeat=2):
        seen = picture[:, a : a + layer.rows, b : b + layer.columns]
        sums += torch.einsum("mc,cij->mij", offsets[..., layer.rows - 1 + a, layer.columns - 1 + b], seen)
    wired = layer.neurons * layer.channels * layer.kernel**2
    counts = (different(weights), layer.local), (int(weights.count_nonzero()), wired)
    return apart((dense(weights, picture), sums), *counts)


def convolved(layer: Layer, offsets: Tensor, picture: Tensor) -> float:
    """The dense layer that is left does what `conv2d` does with the window's weights as its kernel."""
    weights = tied(layer, within(layer, offsets, layer.kernel, layer.kernel))
    last = layer.rows - 1 + layer.kernel, layer.columns - 1 + layer.kernel
    kernel = offsets[..., layer.rows - 1 : last[0], layer.columns - 1 : last[1]]
    return apart((dense(weights, picture), functional.conv2d(picture, kernel)), (kernel.numel(), layer.local))


def near(kernel: int) -> str:
    """Which offsets a window has; an even one has no middle."""
    if kernel % 2:
        return f"|a|, |b| <= {kernel // 2}, counted from the window's middle"
    return f"0 <= a, b <= {kernel - 1}, counted from the window's first pixel"


def dense(weights: Tensor, picture: Tensor) -> Tensor:
    """The dense layer: weights [m, i, j, c, k, l] and a picture [c, k, l] to neurons [m, i, j]."""
    return torch.einsum("mijckl,ckl->mij", weights, picture)


def by_offset(weights: Tensor) -> Tensor:
    """Weights by pixel [m, i, j, c, k, l] to weights by offset [m, i, j, c, a, b]; 0 where there is no such pixel."""
    maps, rows, columns, channels, height, width = weights.shape
    offsets = weights.new_zeros(maps, rows, columns, channels, rows + height - 1, columns + width - 1)
    for i, j in product(range(rows), range(columns)):
        top, left = rows - 1 - i, columns - 1 - j
        offsets[:, i, j, :, top : top + height, left : left + width] = weights[:, i, j]
    return offsets


def by_pixel(offsets: Tensor, height: int, width: int) -> Tensor:
    """Weights by offset [m, i, j, c, a, b] to weights by pixel [m, i, j, c, k, l]: the way back."""
    maps, rows, columns, channels = offsets.shape[:4]
    weights = offsets.new_zeros(maps, rows, columns, channels, height, width)
    for i, j in product(range(rows), range(columns)):
        top, left = rows - 1 - i, columns - 1 - j
        weights[:, i, j] = offsets[:, i, j, :, top : top + height, left : left + width]
    return weights


def tied(layer: Layer, offsets: Tensor) -> Tensor:
    """One set of offsets [m, c, a, b] for all places, as the weights [m, i, j, c, k, l] of a dense layer."""
    everywhere = offsets[:, None, None].expand(-1, layer.rows, layer.columns, -1, -1, -1)
    return by_pixel(everywhere, layer.height, layer.width)


def within(layer: Layer, offsets: Tensor, height: int, width: int) -> Tensor:
    """The offsets [m, c, a, b] with 0 <= a < height and 0 <= b < width; the others 0."""
    kept = torch.zeros_like(offsets)
    there = ..., slice(layer.rows - 1, layer.rows - 1 + height), slice(layer.columns - 1, layer.columns - 1 + width)
    kept[there] = offsets[there]
    return kept


def surroundings(picture: Tensor, rows: int, columns: int) -> Tensor:
    """What lies at each offset from each place: a picture [c, k, l] to [c, i, j, a, b], 0 beyond its edge."""
    _, height, width = picture.shape
    padded = functional.pad(picture, (columns - 1, columns - 1, rows - 1, rows - 1))
    return padded.unfold(1, height + rows - 1, 1).unfold(2, width + columns - 1, 1)
