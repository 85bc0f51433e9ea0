"""Arrays -> a file of arrays."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import NotAcceptable

LONGEST_NAME = 65_000  # in bytes; a zip file counts them in 16 bits
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip: a file must not depend on when it was made


def npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An uncompressed .npz of exactly these arrays, under their names; `np.load(..., allow_pickle=False)` reads it.

    The same arrays give the same bytes. (numpy looks `a.npy` up as `a` where there is both; that is how it reads.)
    Raises NotAcceptable for an array that is not made of numbers, and a name that a zip file cannot hold.
    """
    encoded = io.BytesIO()
    with zipfile.ZipFile(encoded, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            if array.dtype.hasobject:
                raise NotAcceptable(f"layer {name!r} is not made of numbers")
            if "\0" in name or len(name.encode()) > LONGEST_NAME:
                raise NotAcceptable(f"no npz file can hold a name such as {name[:50]!r}")
            with archive.open(zipfile.ZipInfo(f"{name}.npy", EPOCH), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return encoded.getvalue()
