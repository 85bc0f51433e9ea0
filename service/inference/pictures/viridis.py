"""Viridis (van der Walt and Smith, 2015, CC0): even steps of value look even, in grey and to the colour-blind too."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Every fifth of its 256 colours; the straight line between two of them is off by 1 of 255 at most.
_ANCHORS = np.frombuffer(
    bytes.fromhex(
        "44015446085c471063481769481d6f482475472a7a46307e453781433d844142873f48893d4e8a3a538b38598c355e8d33638d31"
        "688e2e6d8e2c718e2a768e297b8e27808e25848e23898e218e8d20928c1f978b1e9c891fa18821a58524aa8328ae802eb37c35b7"
        "793dbc7446c06f50c46a5ac86465cb5e70cf577cd25089d54895d840a2da37b0dd2fbddf26cae11fd8e219e5e419f1e51dfde725"
    ),
    np.uint8,
).reshape(-1, 3)
_PLACES = np.linspace(0, 1, len(_ANCHORS))
_TABLE = np.stack([np.interp(np.linspace(0, 1, 256), _PLACES, channel) for channel in _ANCHORS.T], axis=1)
VIRIDIS: NDArray[np.uint8] = np.rint(_TABLE).astype(np.uint8)
"""256 colours, RGB, from the lowest value to the highest."""


def viridis(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Colours of `values` from 0 to 1, of any shape [...]: RGB [..., 3]."""
    colours: NDArray[np.uint8] = VIRIDIS[np.rint(values * 255).astype(np.uint8)]
    return colours
