from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from service.inference.graph.dense_equivalent import DenseEquivalent
from service.inference.graph.layers import Graph
from tests.service.inference.small import build, weight

extents = st.integers(1, 9)


@given(inside=extents, outside=extents, stride=st.integers(1, 12))
def test_shared_weights_are_as_many_as_there_are_offsets(inside: int, outside: int, stride: int) -> None:
    offsets = {place - other * stride for place in range(inside) for other in range(outside)}
    found = DenseEquivalent.of((2, inside), (3, outside), 7, (stride,))
    assert found == DenseEquivalent(dense=2 * inside * 3 * outside, shared=2 * 3 * len(offsets), local=7)


def test_a_transposed_convolution_is_one_with_in_and_out_exchanged() -> None:
    node = helper.make_node("ConvTranspose", ["x", "k"], ["y"], strides=[3])
    model = build([node], {"x": ["N", 2, 4]}, ["y"], {"k": weight(2, 5, 3)})
    assert Graph.of(model).layer("y").dense_equivalent == DenseEquivalent.of((5, 12), (2, 4), 2 * 5 * 3, (3,))


def test_a_model_without_convolutions_has_no_total() -> None:
    assert DenseEquivalent.total([]) is None


def test_what_one_convolution_does_not_know_the_total_does_not() -> None:
    known, unknown = DenseEquivalent(8, 4, 2), DenseEquivalent(None, None, 1)
    assert DenseEquivalent.total([known, known]) == DenseEquivalent(16, 8, 4)
    assert DenseEquivalent.total([known, unknown]) == DenseEquivalent(None, None, 3)
