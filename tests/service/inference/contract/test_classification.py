import numpy as np
import pytest

from service.errors import InvalidRequest
from service.inference.contract.classification import classifications


def test_highest_first_equal_ones_by_index() -> None:
    values = np.array([[1, 10, 5, 10], [0, -1, -1, -2]], np.int8)
    assert classifications(values, 3, None, batched=True).tolist() == [["10:1", "10:3", "5:2"], ["0:0", "-1:1", "-1:2"]]


def test_labels_only_where_they_are_as_many_as_the_values() -> None:
    values = np.array([[0.1, 0.7]], np.float32)
    assert classifications(values, 9, ["no", "yes"], batched=True).tolist() == [["0.7:1:yes", "0.1:0:no"]]
    assert classifications(values, 1, ["a", "b", "c"], batched=True).tolist() == [["0.7:1"]]


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint64, 2**64 - 1), (np.int64, 2**63 - 1)])
def test_whole_numbers_are_compared_exactly(dtype: type[np.generic], largest: int) -> None:
    values = np.array([[largest - 1, largest, 0]], dtype)
    assert classifications(values, 2, None, batched=True).tolist() == [[f"{largest}:1", f"{largest - 1}:0"]]


def test_half_precision_and_nan_which_comes_first_so_that_it_is_seen() -> None:
    values = np.array([[1.5, np.nan, np.inf]], np.float16)
    assert classifications(values, 3, None, batched=True).tolist() == [["nan:1", "inf:2", "1.5:0"]]


def test_the_rows_are_the_first_axis_and_the_rest_is_one_row() -> None:
    values = np.arange(12, dtype=np.float64).reshape(2, 3, 2)
    assert classifications(values, 1, None, batched=False).tolist() == [["5.0:5"], ["11.0:5"]]


def test_one_axis_is_rows_only_where_the_model_batches() -> None:
    values = np.array([3, 1, 2], np.int32)
    assert classifications(values, 2, None, batched=False).tolist() == ["3:0", "2:2"]
    assert classifications(values, 2, None, batched=True).tolist() == [["3:0"], ["1:0"], ["2:0"]]
    assert classifications(np.array(4, np.int32), 2, None, batched=False).tolist() == ["4:0"]


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0)])
def test_nothing_has_no_classes(shape: tuple[int, ...]) -> None:
    assert classifications(np.zeros(shape, np.float32), 2, None, batched=True).size == 0


@pytest.mark.parametrize("values", [np.array([[True]]), np.array([["a"]], np.object_)])
def test_what_has_no_order_is_refused(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
    with pytest.raises(InvalidRequest):
        classifications(values, 1, None, batched=True)
