import numpy as np
import pytest

from service.inference.graph.shapes import Shape
from service.inference.looking.layout import Layout
from tests.service.inference.small import weight


@pytest.mark.parametrize(
    ("shape", "channels", "alone", "given", "rows", "axis"),
    [
        (("N", 4, 5), None, False, (3, 4, 5), (3, 4, 5), 1),
        (("N", 4, 5), 2, False, (3, 4, 5), (3, 4, 5), 2),
        ((4, "N", 5), None, False, (4, 3, 5), (3, 4, 5), 1),
        ((4, "N", 5), 0, False, (4, 3, 5), (3, 4, 5), 1),
        ((4, "N", 5), 2, False, (4, 3, 5), (3, 4, 5), 2),
        ((4, 5, "N"), 1, False, (4, 5, 3), (3, 4, 5), 2),
        ((None, "N", 5), None, False, (4, 3, 5), (3, 4, 5), 1),
        ((None, 4), None, True, (1, 4), (1, 4), 1),
        ((None, 4), None, True, (3, 4), (1, 3, 4), 1),
        (None, None, True, (1, 4), (1, 4), 1),
        (None, None, True, (6, 4), (1, 6, 4), 1),
        ((3, 4), None, False, (3, 4), None, 1),
        ((), None, False, (), None, 1),
        ((1, 4, 5), None, True, (1, 4, 5), (1, 4, 5), 1),
        ((4, 1, 5), None, True, (4, 1, 5), (1, 4, 1, 5), 1),
        ((4, 1, 5), 2, True, (4, 1, 5), (1, 4, 1, 5), 3),
        ((4, "N", 5), None, True, (4, 1, 5), (1, 4, 5), 1),
        ((), None, True, (), (1,), 1),
    ],
)
def test_inputs_come_first_wherever_the_graph_has_them(
    shape: Shape | None,
    channels: int | None,
    alone: bool,
    given: tuple[int, ...],
    rows: tuple[int, ...] | None,
    axis: int,
) -> None:
    layout = Layout.of(shape, channels, alone=alone)
    found = layout.rows(np.zeros(given), 1 if alone else 3)
    assert (found.shape if found is not None else None, layout.channels) == (rows, axis)


@pytest.mark.parametrize("shape", [None, (None, 4)])
def test_a_layer_that_keeps_the_inputs_nobody_knows_where_is_run_for_one_at_a_time(shape: Shape | None) -> None:
    layout = Layout.of(shape, None, alone=False)
    assert (layout.alone, layout.of_one_input) == (True, True)
    assert not Layout.of(("N", None), None, alone=False).alone


def test_each_input_gets_its_own() -> None:
    values = weight(4, 3, 5)
    found = Layout.of((4, "N", 5), None, alone=False).rows(values, 3)
    assert found is not None
    np.testing.assert_array_equal(found[1], values[:, 1])


def test_lengths_are_those_of_one_input() -> None:
    assert Layout.of((4, "N", None), None, alone=False).lengths((4, "N", None)) == (1, 4, None)
    assert Layout.of((4, 5), None, alone=False).lengths((4, 5)) == (1, 4, 5)
