import numpy as np
import pytest
import torch

from training.data.examples import Examples
from training.evaluate import AT_ONCE, Inputs, Probabilities, predict, report

LABELS = ("cat", "dog", "eel")


def shown(*targets: int) -> Examples:
    return Examples(torch.zeros(len(targets), 1, 1, 1, dtype=torch.uint8), torch.tensor(targets))


def seen(*labels: int) -> Probabilities:
    return np.eye(3, dtype=np.float32)[list(labels)]


def test_the_confusion_matrix_has_a_row_for_what_is_shown() -> None:
    result = report(seen(0, 1, 1, 0), shown(0, 0, 1, 1), LABELS)
    assert result.confusion.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_accuracy_in_all_and_per_class() -> None:
    result = report(seen(0, 1, 1, 1), shown(0, 0, 1, 1), LABELS)
    assert (result.accuracy, result.count) == (0.75, 4)
    assert result.per_class == {"cat": 0.5, "dog": 1.0, "eel": 0.0}
    assert result.card().accuracy == 0.75


def test_the_printed_table_holds_every_label_and_count() -> None:
    text = str(report(seen(0, 1, 1, 1), shown(0, 0, 1, 1), LABELS))
    assert "accuracy 75.00% on 4 inputs" in text
    assert [line.split()[1:] for line in text.splitlines() if "cat" in line] == [["cat", "50.0%", "1", "1", "0"]]


@pytest.mark.parametrize("count", [1, AT_ONCE, AT_ONCE + 1])
def test_predictions_keep_the_order_whatever_the_batches(count: int) -> None:
    pixels = torch.arange(count).remainder(251).to(torch.uint8).reshape(count, 1, 1, 1)

    def echo(batch: Inputs) -> Probabilities:
        assert len(batch) <= AT_ONCE
        return batch.reshape(len(batch), 1).astype(np.float32)

    answers = predict(echo, Examples(pixels, torch.zeros(count, dtype=torch.int64)))
    assert answers[:, 0].tolist() == pixels.flatten().tolist()
