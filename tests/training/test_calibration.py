import numpy as np
import pytest
import torch

from training.calibration import BINS, LEAST, MOST, fitted_temperature, loss_of, reliability


def test_the_loss_of_several_logits_is_the_cross_entropy_with_smoothed_labels() -> None:
    logits, targets = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 2.0]]), [2, 0]
    logarithms = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    wanted = np.array([[0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])  # three tenths are spread over three labels
    expected = -(wanted * logarithms).sum(axis=1).mean()
    assert loss_of(torch.from_numpy(logits), torch.tensor(targets), 0.3).item() == pytest.approx(expected)


def test_the_loss_of_one_logit_is_that_of_the_second_of_two_smoothed_labels() -> None:
    logits, wanted = np.array([1.0, -2.0, 0.5]), np.array([0.85, 0.85, 0.15])
    second = 1 / (1 + np.exp(-logits))
    expected = -(wanted * np.log(second) + (1 - wanted) * np.log(1 - second)).mean()
    assert loss_of(torch.from_numpy(logits)[:, None], torch.tensor([1, 1, 0]), 0.3).item() == pytest.approx(expected)


def test_the_temperature_of_logits_three_times_too_large_is_three() -> None:
    random = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(5000, 5, generator=random)
    targets = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
    assert fitted_temperature(logits, targets) == pytest.approx(1, rel=0.1)
    assert fitted_temperature(3 * logits, targets) == pytest.approx(3, rel=0.1)


def test_the_temperature_of_one_logit_three_times_too_large_is_three() -> None:
    random = torch.Generator().manual_seed(2)
    logits = 2 * torch.randn(5000, 1, generator=random)
    targets = torch.bernoulli(logits.sigmoid(), generator=random)[:, 0].long()
    assert fitted_temperature(logits, targets) == pytest.approx(1, rel=0.1)
    assert fitted_temperature(3 * logits, targets) == pytest.approx(3, rel=0.1)


def test_the_calibration_error_weighs_each_bin_by_its_answers() -> None:
    probabilities = np.array([[0.88, 0.12], [0.1, 0.9], [0.08, 0.92], [0.36, 0.64]], np.float32)
    found = reliability(probabilities, np.array([0, 0, 1, 1]))
    assert {place: int(count) for place, count in enumerate(found.count) if count} == {9: 1, 13: 3}
    assert [found.confidence[9], found.confidence[13]] == pytest.approx([0.64, 0.9])
    assert [found.accuracy[9], found.accuracy[13]] == pytest.approx([1, 2 / 3])
    assert found.error == pytest.approx((1 * (1 - 0.64) + 3 * (0.9 - 2 / 3)) / 4)


def test_an_answer_without_any_doubt_is_in_the_last_bin() -> None:
    assert reliability(np.array([[1, 0]], np.float32), np.array([0])).count.tolist() == [0] * (BINS - 1) + [1]


@pytest.mark.parametrize(
    ("logits", "targets", "bound"),
    [
        ([[3.0], [1.0]], [0, 0], MOST),
        ([[2000.0, 0.0]], [1], MOST),
        ([[3.0], [-1.0]], [1, 0], LEAST),
    ],
)
def test_a_handful_of_answers_leads_no_temperature_beyond_its_bounds(
    logits: list[list[float]], targets: list[int], bound: float
) -> None:
    assert fitted_temperature(torch.tensor(logits), torch.tensor(targets)) == bound
