"""Blue over white to red: ColorBrewer's RdBu (Brewer and Harrower, 2013, Apache-2.0), safe for the colour-blind."""

import numpy as np
from numpy.typing import NDArray

_ANCHORS = np.array(
    [
        (5, 48, 97), (33, 102, 172), (67, 147, 195), (146, 197, 222), (209, 229, 240), (247, 247, 247),
        (253, 219, 199), (244, 165, 130), (214, 96, 77), (178, 24, 43), (103, 0, 31),
    ],
    np.float64,
)  # fmt: skip
_PLACES = np.linspace(0, 1, len(_ANCHORS))
_TABLE = np.stack([np.interp(np.linspace(0, 1, 255), _PLACES, channel) for channel in _ANCHORS.T], axis=1)
DIVERGING: NDArray[np.uint8] = np.rint(_TABLE).astype(np.uint8)
"""255 colours, RGB, an odd number so that 0 has one of its own: from the most negative over 0 to the most positive."""
