"""Kernels made by hand, and what they do to a picture: blur it, sharpen it, find its edges."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from training.derive.proof import Step, apart


def kernel(*rows: tuple[int, int, int], over: int = 1) -> Tensor:
    """A kernel [1, 1, 3, 3]; all are divided by `over`, a power of two, so that float64 holds them exactly."""
    return torch.tensor(rows, dtype=torch.double)[None, None] / over


KERNELS: Mapping[str, Tensor] = {
    "blur": kernel((1, 2, 1), (2, 4, 2), (1, 2, 1), over=16),
    "sharpen": kernel((0, -1, 0), (-1, 8, -1), (0, -1, 0), over=4),
    "vertical": kernel((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)),
    "horizontal": kernel((-1, -2, -1), (0, 0, 0), (1, 2, 1)),
}
SAME = kernel((0, 0, 0), (0, 1, 0), (0, 0, 0))
FLAT, DARK, BRIGHT = 8.0, 0.0, 16.0


def kernels() -> list[Step]:
    """What each does, on pictures where the answer is plain: all flat, and dark on the left, bright on the right."""
    return [
        Step("a flat picture comes out times the kernel's sum: 1 for blur and sharpen, 0 for edges", None, on_flat()),
        Step("blur makes a step between dark and bright, 0 0 0 16 16 16, a slope: 0 4 12 16", None, blurred()),
        Step("sharpen makes it steeper than it was: 0 -4 20 16", None, sharpened()),
        Step("edge kernels see where it is, each in its own direction only: 0 64 64 0", None, edged()),
    ]


def on_flat() -> float:
    """A flat picture stays what it is, but for the edge kernels, which see nothing in it."""
    flat = torch.full((1, 6, 6), FLAT, dtype=torch.double)
    left = {"blur": FLAT, "sharpen": FLAT, "vertical": 0.0, "horizontal": 0.0}
    return apart(*((applied(KERNELS[name], flat), torch.full((1, 4, 4), left[name])) for name in KERNELS))


def blurred() -> float:
    """A step becomes a slope: each pixel is the mean of its surroundings, the nearer the more."""
    return apart((applied(KERNELS["blur"], step()), lines(0, 4, 12, 16)))


def sharpened() -> float:
    """Sharpening adds to each pixel what sets it apart from its neighbours: at a step it overshoots on both sides."""
    return apart((applied(KERNELS["sharpen"], step()), lines(0, -4, 20, 16)))


def edged() -> float:
    """The kernel for vertical edges answers to a standing step alone; the one for horizontal edges to a lying one."""
    standing, lying = step(), step().transpose(1, 2)
    return apart(
        (applied(KERNELS["vertical"], standing), lines(0, 64, 64, 0)),
        (applied(KERNELS["horizontal"], standing), lines(0, 0, 0, 0)),
        (applied(KERNELS["horizontal"], lying), lines(0, 64, 64, 0).transpose(1, 2)),
        (applied(KERNELS["vertical"], lying), lines(0, 0, 0, 0)),
    )


def applied(kernel: Tensor, picture: Tensor, padding: int = 0) -> Tensor:
    """Let a kernel go over a grey picture [1, h, w]."""
    return functional.conv2d(picture, kernel, padding=padding)


def step() -> Tensor:
    """A picture [1, 6, 6]: its left half dark, its right half bright."""
    return torch.tensor([DARK] * 3 + [BRIGHT] * 3, dtype=torch.double).expand(1, 6, 6)


def lines(*values: float) -> Tensor:
    """A picture [1, 4, 4] of the same line four times."""
    return torch.tensor(values, dtype=torch.double).expand(1, 4, 4)
