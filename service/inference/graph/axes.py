"""What each axis of a tensor is: batch, channels, height or width."""

Order = tuple[int, ...]
"""Of each axis: 0 the batch, 1 the channels, 2 the height, 3 the width."""

CHANNELS, DOWN, ACROSS = 1, 2, 3
IMAGE_ORDERS: dict[str, Order] = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 2, 3, 1)}
