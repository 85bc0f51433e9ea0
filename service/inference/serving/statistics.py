"""Counts and times since the start, by stage and batch size, as Triton's statistics extension wants them.

All of it lives on the event loop, so it needs no lock.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

STAGES = ("decode", "queue", "infer", "encode")


@dataclass
class Duration:
    """How often something happened, and for how long in all (nanoseconds)."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float, times: int = 1) -> None:
        """It happened `times`, for `seconds` in all."""
        self.count += times
        self.ns += round(seconds * 1e9)


@dataclass
class Statistics:
    """What one version of one model did, on both roads: predicting and looking inside."""

    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    stages: dict[str, Duration] = field(default_factory=lambda: {stage: Duration() for stage in STAGES})
    runs: dict[int, Duration] = field(default_factory=dict)
    """By how many rows were run together."""
    last_inference: int = 0
    """When the last request ended, in milliseconds since 1970."""

    def queued(self, depth: int) -> None:
        """A batcher's observer; how many wait is no statistic."""

    def ran(self, size: int, failed: int, seconds: float) -> None:
        """A run of `size` rows took `seconds`. Where some failed, the others were run again, each alone."""
        if not failed:
            self.runs.setdefault(size, Duration()).add(seconds)
        elif failed < size:
            self.runs.setdefault(1, Duration()).add(seconds, size - failed)

    def looked_inside(self, rows: int, seconds: float, *, together: bool) -> None:
        """Layers of `rows` inputs were computed in one run, else in one each."""
        self.runs.setdefault(rows if together else 1, Duration()).add(seconds, 1 if together else rows)

    def ended(self, seconds: Mapping[str, float], total: float, *, succeeded: bool) -> None:
        """A request ended after `total` seconds; `seconds` by stage count only where it was answered."""
        self.last_inference = time.time_ns() // 1_000_000
        if not succeeded:
            self.fail.add(total)
            return
        self.success.add(total)
        for stage in seconds.keys() & self.stages.keys():
            self.stages[stage].add(seconds[stage])


class StatisticsBook:
    """The statistics of every version of every model, from its first use on."""

    def __init__(self) -> None:
        self._pages: dict[tuple[str, str], Statistics] = {}

    def of(self, model: str, version: str) -> Statistics:
        """Those of one version."""
        return self._pages.setdefault((model, version), Statistics())
