"""What a graph wants outside of it: `(value * scale - mean) / std`, for pixels and for numbers alike."""

import numpy as np
from numpy.typing import NDArray

from service.inference.contract.card import InputCard


def normalised(values: NDArray[np.generic], card: InputCard) -> NDArray[np.float32]:
    """`values` [..., channels] as the card's scale, mean and deviation have them; a new array."""
    wanted = values.astype(np.float32) * np.float32(card.scale)
    if card.mean:
        wanted -= np.array(card.mean, np.float32)
    if card.std:
        wanted /= np.array(card.std, np.float32)
    return wanted
