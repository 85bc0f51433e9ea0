import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from service.errors import NotAcceptable
from service.inference.looking.archive import npz
from tests.service.inference.small import Array, weight


def loaded(file: bytes) -> dict[str, Array]:
    with np.load(io.BytesIO(file), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
VALUES = arrays(
    st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.int64, np.uint8, np.bool_]),
    array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


@given(st.dictionaries(NAMES.filter(lambda name: not name.endswith(".npy")), VALUES, max_size=4))
def test_npz_gives_back_exactly_what_it_was_given(given: dict[str, Array]) -> None:
    found = loaded(npz(given))
    assert list(found) == list(given)
    for name, values in given.items():
        assert found[name].dtype == values.dtype
        assert found[name].shape == values.shape
        np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("name", ["file", "args", "kwds", "allow_pickle", "/model/conv.1:0", "../up", "a\\b", "层", ""])
def test_npz_takes_any_name(name: str) -> None:
    assert list(loaded(npz({name: weight(2)}))) == [name]


def test_npz_of_the_same_arrays_is_the_same_bytes_whenever_it_is_made() -> None:
    file = npz({"a": weight(3), "b": weight(2, 2)})
    assert file == npz({"a": weight(3), "b": weight(2, 2)})
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_npz_writes_arrays_that_are_not_contiguous() -> None:
    values = weight(4, 6)[:, ::2].T
    np.testing.assert_array_equal(loaded(npz({"a": values}))["a"], values)


def test_npz_refuses_what_is_no_number() -> None:
    with pytest.raises(NotAcceptable, match="'words'"):
        npz({"words": np.array(["a", 1], object)})


@pytest.mark.parametrize("name", ["a\0b", "a" * 65_001])
def test_a_name_that_no_zip_file_can_hold_is_refused(name: str) -> None:
    with pytest.raises(NotAcceptable, match="no npz file"):
        npz({name: np.zeros(1)})
