"""Compares answers of a model: the same, but for the last digits, in which processors differ."""

import pytest


def assert_alike(answer: object, promised: object) -> None:
    """Hold two JSON documents against each other; numbers may differ by one in ten thousand of their size."""
    if isinstance(promised, dict):
        assert isinstance(answer, dict)
        assert list(answer) == list(promised)
        for key, value in promised.items():
            assert_alike(answer[key], value)
    elif isinstance(promised, list):
        assert isinstance(answer, list)
        assert len(answer) == len(promised)
        for one, other in zip(answer, promised, strict=True):
            assert_alike(one, other)
    elif isinstance(promised, float):
        assert answer == pytest.approx(promised, rel=1e-3, abs=1e-4)
    else:
        assert answer == promised
