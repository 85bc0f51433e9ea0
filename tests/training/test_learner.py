import pytest
from torch import nn

from training.learner import first_kernels, one_cycle


def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    rates = [one_cycle(step / 100, 0.25) for step in range(101)]
    assert max(rates) == rates[25] == 1
    assert rates[:26] == sorted(rates[:26])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert 0 < rates[0] < 0.1
    assert rates[100] == pytest.approx(0)


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_a_schedule_without_rise_or_fall_stays_within_the_peak(warmup: float) -> None:
    assert all(0 <= one_cycle(step / 10, warmup) <= 1 for step in range(11))


def test_the_first_convolution_is_found_in_any_network_that_has_one() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Conv1d(1, 4, 5)), nn.Conv1d(4, 2, 3))
    [kernels] = first_kernels(network)
    assert kernels.shape == (4, 1, 5)
    assert first_kernels(nn.Linear(2, 2)) == []
