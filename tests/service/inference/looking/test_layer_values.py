import numpy as np
import pytest

from service.errors import NotAcceptable
from service.inference.looking.layer_values import LayerValues
from tests.service.inference.small import Array, weight


def singles(*maps: Array) -> list[LayerValues]:
    return [LayerValues({"a": values}, 0.25, 0.5) for values in maps]


def test_joined_is_what_one_run_would_have_yielded() -> None:
    joined = LayerValues.joined(singles(weight(2, 3), weight(1, 3)))
    np.testing.assert_array_equal(joined.maps["a"], np.concatenate([weight(2, 3), weight(1, 3)]))
    assert (joined.queue_seconds, joined.infer_seconds) == (0.5, 1.0)


def test_joined_refuses_shapes_that_differ() -> None:
    with pytest.raises(NotAcceptable):
        LayerValues.joined(singles(weight(1, 3), weight(1, 4)))


def test_joined_has_what_belongs_to_no_input_once_and_only_if_it_is_the_same_for_all() -> None:
    one, same, other = (
        LayerValues({"k": values}, 0, 0, frozenset("k")) for values in (weight(4), weight(4), weight(5))
    )
    joined = LayerValues.joined([one, same])
    np.testing.assert_array_equal(joined.maps["k"], weight(4))
    assert joined.shared == {"k"}
    with pytest.raises(NotAcceptable, match="depends on which images are run together"):
        LayerValues.joined([one, other])
