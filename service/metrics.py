"""Every Prometheus metric, declared once, on the registry that is handed in."""

import math
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

STAGE_BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
CONFIDENCE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
MOST_LABELS = 100
STAGES = ("decode", "queue", "infer", "encode")
MOST_LAYERS = 300
MODEL = ("model", "version")


class Metrics:
    """All metrics of one service; durations in seconds."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.request_duration = Histogram(
            "convscope_request_duration_seconds",
            "Time from a request's arrival to the start of its answer",
            ("endpoint", "status"),
            buckets=STAGE_BUCKETS,
            registry=registry,
        )
        self.stage_duration = Histogram(
            "convscope_stage_duration_seconds",
            f"Time of one request, answered or refused, in one stage that it reached: {', '.join(STAGES)}",
            (*MODEL, "stage"),
            buckets=STAGE_BUCKETS,
            registry=registry,
        )
        self.batch_size = Histogram(
            "convscope_batch_size", "Inputs in one run of a model", MODEL, buckets=BATCH_BUCKETS, registry=registry
        )
        self.confidence = Histogram(
            "convscope_prediction_confidence",
            "Probability of the class that was predicted",
            MODEL,
            buckets=CONFIDENCE_BUCKETS,
            registry=registry,
        )
        self.queue_depth = Gauge("convscope_queue_depth", "Inputs that wait for a run", MODEL, registry=registry)
        self.in_flight = Gauge(
            "convscope_requests_in_flight", "Requests being answered, this scrape among them", registry=registry
        )
        self.model_info = Gauge(
            "convscope_model_info",
            "1 for every version that is served",
            (*MODEL, "provider", "provider_wanted", "sha256"),
            registry=registry,
        )
        self.rejected = Counter("convscope_rejected", "Requests refused, by reason", ("reason",), registry=registry)
        self.cancelled = Counter(
            "convscope_cancelled", "Requests whose client left before the answer", ("model",), registry=registry
        )
        self.load_failures = Counter(
            "convscope_model_load_failures", "Model files that were refused", ("model",), registry=registry
        )
        self.layer_duration = Gauge(
            "convscope_layer_duration_seconds",
            f"Time of one layer for one input, when last measured; for models of at most {MOST_LAYERS} layers",
            (*MODEL, "layer"),
            registry=registry,
        )
        self.predictions = Counter(
            "convscope_predictions",
            f"Predictions by class, for models of at most {MOST_LABELS} labels",
            (*MODEL, "label"),
            registry=registry,
        )

    def batches(self, model: str, version: str) -> "BatchMetrics":
        """The observer for the batcher of one model, whose series begin at 0, so that increase() sees the first."""
        for stage in STAGES:
            self.stage_duration.labels(model, version, stage)
        self.confidence.labels(model, version)
        self.cancelled.labels(model)
        self.load_failures.labels(model)
        return BatchMetrics(self, model, version)

    def observe_stages(self, model: str, version: str, stages: Mapping[str, float]) -> None:
        """One request went through these stages (name -> seconds)."""
        for stage, seconds in stages.items():
            self.stage_duration.labels(model, version, stage).observe(seconds)

    def stage_buckets(self, model: str, version: str) -> dict[str, list[tuple[float, float]]]:
        """Of each stage since the start: upper bounds (seconds) and cumulative counts, by rising bound."""
        [family] = self.stage_duration.collect()
        found: dict[str, list[tuple[float, float]]] = {stage: [] for stage in STAGES}
        for sample in family.samples:
            mine = sample.labels["model"] == model and sample.labels["version"] == version
            if mine and sample.name.endswith("_bucket"):
                found[sample.labels["stage"]].append((float(sample.labels["le"]), sample.value))
        return {stage: sorted(buckets) for stage, buckets in found.items()}

    def observe_layers(self, model: str, version: str, seconds: Mapping[str, float]) -> None:
        """The layers of a model were measured; a model of too many is left out, so that series stay few."""
        if len(seconds) <= MOST_LAYERS:
            for layer, duration in seconds.items():
                self.layer_duration.labels(model, version, layer).set(duration)

    def observe_predictions(
        self, model: str, version: str, predicted: Iterable[tuple[str, float]], label_count: int
    ) -> None:
        """These (label, probability) were predicted, by a model of `label_count` labels."""
        for label, probability in predicted:
            self.confidence.labels(model, version).observe(probability)
            if label_count <= MOST_LABELS:
                self.predictions.labels(model, version, label).inc()


def histogram_quantile(quantile: float, buckets: Sequence[tuple[float, float]]) -> float | None:
    """As Prometheus' function of that name: the value below which `quantile` (0 to 1) of the observations lie.

    `buckets` are (upper bound, cumulative count), the last bound infinite. Within a bucket observations are taken as
    evenly spread, the first one begins at 0; beyond the last finite bound it is that bound. None without observations.
    """
    if not buckets or not buckets[-1][1]:
        return None
    rank = quantile * buckets[-1][1]
    place = next(index for index, (_, count) in enumerate(buckets) if count >= rank)
    lower, below = buckets[place - 1] if place else (0.0, 0.0)
    upper, count = buckets[place]
    if math.isinf(upper):
        return lower
    return lower + (upper - lower) * (rank - below) / (count - below) if count > below else upper


class BatchMetrics:
    """What one batcher does, as metrics."""

    def __init__(self, metrics: Metrics, model: str, version: str) -> None:
        self._depth = metrics.queue_depth.labels(model, version)
        self._size = metrics.batch_size.labels(model, version)

    def queued(self, depth: int) -> None:
        """`depth` items wait now."""
        self._depth.set(depth)

    def ran(self, size: int, failed: int, seconds: float) -> None:  # noqa: ARG002 - others want them
        """A batch of `size` items was run."""
        self._size.observe(size)
