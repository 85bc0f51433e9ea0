import numpy as np
import onnxruntime as ort
import pytest

from service.errors import InvalidRequest
from service.inference.contract.signature import Signature, Tensor
from tests.service.odd_models import adding, scaling

A, B = np.ones((2, 2), np.float32), np.ones((2, 2), np.int64)


def signature() -> Signature:
    session = ort.InferenceSession(adding().SerializeToString())
    return Signature.of(session.get_inputs(), session.get_outputs(), batches=True)


def test_free_extents_and_types_in_the_protocol_s_words() -> None:
    assert signature().inputs == (Tensor("a", "FP32", (-1, 2)), Tensor("b", "INT64", (-1, 2)))
    assert signature().outputs == (Tensor("sum", "FP32", (-1, 2)), Tensor("positive", "BOOL", (-1, 2)))
    session = ort.InferenceSession(scaling().SerializeToString())
    whole = Signature.of(session.get_inputs(), session.get_outputs(), batches=False)
    assert [tensor.shape for tensor in whole.inputs] == [(2, -1), ()]


@pytest.mark.parametrize(
    ("shapes", "rows"),
    [
        ([(2, 3)], 2),
        ([(2, 3), (2, 5)], 2),
        ([(1, 3)], 1),
        ([(-1, 3)], None),
        ([(2, 3), (4, 3)], None),
        ([(2, 3), ()], None),
        ([], None),
    ],
)
def test_the_rows_of_a_run_are_known_where_the_file_fixes_them(shapes: list[tuple[int, ...]], rows: int | None) -> None:
    inputs = tuple(Tensor(f"x{number}", "FP32", shape) for number, shape in enumerate(shapes))
    assert Signature(inputs, (), batches=False).fixed_batch == rows


def test_what_fits_passes_and_has_so_many_rows() -> None:
    signature().check({"b": B, "a": A})
    assert signature().rows({"b": B, "a": A}) == 2


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        ({"a": A}, "'b' is missing"),
        ({"a": A, "b": B, "c": B}, "unknown input 'c'"),
        ({"a": A, "b": A}, "'b' is INT64, not FP32"),
        ({"a": A.astype(np.complex64), "b": B}, "'a' is FP32, not None"),
        ({"a": A[:, :1], "b": B}, "does not fit"),
        ({"a": A[0], "b": B}, "does not fit"),
        ({"a": A[:1], "b": B}, "rows"),
    ],
)
def test_what_does_not_fit_is_refused(
    feed: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        signature().check(feed)
