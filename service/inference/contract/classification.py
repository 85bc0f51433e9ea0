"""The best classes of an output as text, as Triton's classification extension has them: "value:index:label"."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidRequest, TooLarge

MOST = 200_000  # strings, of which each takes microseconds and a hundred bytes


def classifications(
    values: NDArray[Any], count: int, labels: Sequence[str] | None, *, batched: bool
) -> NDArray[np.object_]:
    """The `count` highest values of each row, highest first, equal ones by index: strings of shape [N, count].

    The first axis is the rows (the whole is one row, and the answer has the shape [count], where it is the only axis
    and `batched` is false). More than there are gives all. A row is read in row-major order; `labels` are written where
    they are as many as a row has values. A value is written as the shortest decimal that its type reads back.
    Raises InvalidRequest for values that have no order, and TooLarge for more than `MOST` strings.
    """
    if values.dtype.kind not in "uif":
        raise InvalidRequest("classification is for numbers")
    alone = values.ndim < 2 and not batched
    rows = values.reshape(1, -1) if alone or not values.size else values.reshape(len(values), -1)
    named = labels if labels and len(labels) == rows.shape[1] else None
    if (wanted := len(rows) * min(count, rows.shape[1])) > MOST:
        raise TooLarge(f"{wanted} classes are more than the limit of {MOST}: ask for fewer of each row, or fewer rows")
    texts = np.empty((len(rows), min(count, rows.shape[1])), np.object_)
    for row, written in zip(rows, texts, strict=True):
        for place, index in enumerate(_best(row, count)):
            label = f":{named[index]}" if named else ""
            written[place] = f"{row[index]!s}:{index}{label}"
    return texts[0] if alone else texts


def _best(row: NDArray[Any], count: int) -> NDArray[np.intp]:
    """Sorted backwards and turned round, as unsigned numbers cannot be negated; NaN comes first, so that it is seen."""
    backwards = np.argsort(row[::-1], kind="stable")[::-1]
    return len(row) - 1 - backwards[:count]
