"""Reads the text that /metrics gives."""

from prometheus_client.parser import text_string_to_metric_families


def sample(metrics: str, name: str, **labels: str) -> float:
    """The sum of all samples called `name` that bear `labels`; 0 where there is none."""
    return sum(
        found.value
        for family in text_string_to_metric_families(metrics)
        for found in family.samples
        if found.name == name and labels.items() <= found.labels.items()
    )
