"""MicroBatcher: whatever waits when a runner becomes free forms the next batch.

All its state belongs to the event loop, so it needs no lock; only `run` itself happens on a thread. A deadline and a
client that left are the same thing here: the waiting task is cancelled, and what it waited for is dropped unless it
already runs.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, Protocol, TypeVar

from service.errors import QueueFull, RunFailed, Stopping, TooLarge

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger(__name__)


class BatchObserver(Protocol):
    """Who wants to know what a batcher does."""

    def queued(self, depth: int) -> None:
        """`depth` items wait now."""

    def ran(self, size: int, failed: int, seconds: float) -> None:
        """A batch of `size` items was run in `seconds`; if some `failed`, the others were run again, each alone."""


@dataclass(frozen=True)
class Observers:
    """Several who want to know, as one."""

    members: tuple[BatchObserver, ...]

    def queued(self, depth: int) -> None:
        """Tell each."""
        for member in self.members:
            member.queued(depth)

    def ran(self, size: int, failed: int, seconds: float) -> None:
        """Tell each."""
        for member in self.members:
            member.ran(size, failed, seconds)


@dataclass(frozen=True)
class Batched(Generic[Result]):
    """The answer to one request: results in the order of its items, and where its time went, in seconds."""

    results: list[Result]
    queue_seconds: float
    infer_seconds: float


class _Request(Generic[Result]):
    """One caller of `submit`: answered once, when the last of its items is done or the first of them failed."""

    def __init__(self, size: int) -> None:
        self.done: asyncio.Future[Batched[Result]] = asyncio.get_running_loop().create_future()
        self._results: dict[int, Result] = {}
        self._size = size
        self._submitted = perf_counter()
        self._started: float | None = None

    def start(self) -> None:
        """Its first item is about to run; for later ones this says nothing new."""
        self._started = self._started or perf_counter()

    def settle(self, position: int, outcome: Result | Exception) -> None:
        if self.done.done():
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
            return
        self._results[position] = outcome
        if len(self._results) == self._size:
            self.done.set_result(self._answer())

    def _answer(self) -> Batched[Result]:
        started = self._started or self._submitted
        results = [self._results[position] for position in range(self._size)]
        return Batched(results, started - self._submitted, perf_counter() - started)


@dataclass(eq=False, slots=True)
class _Entry(Generic[Item, Result]):
    """One item in the queue, and its place in the request that brought it."""

    request: _Request[Result]
    position: int
    item: Item
    key: Hashable
    arrived: float


class MicroBatcher(Generic[Item, Result]):
    """Runs items of many callers in common batches.

    `run` gets 1 to `max_batch_size` items of equal `key` and returns as many results, in order; it is called on one of
    `runners` threads. `max_queue_delay` (seconds) is how long an incomplete batch waits for company.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        key: Callable[[Item], Hashable],
        observer: BatchObserver,
        max_batch_size: int,
        max_queue_size: int,
        max_queue_delay: float = 0.0,
        runners: int = 1,
    ) -> None:
        self._run = run
        self._key = key
        self._observer = observer
        self._max_batch_size = max_batch_size
        self._max_queue_size = max_queue_size
        self._max_queue_delay = max_queue_delay
        self._queue: deque[_Entry[Item, Result]] = deque()
        self._changed = asyncio.Event()
        self._stopping = False
        self._threads = ThreadPoolExecutor(runners, thread_name_prefix="runner")
        self._runners: list[asyncio.Task[None]] = []
        self._runner_count = runners
        self._began: dict[int, float] = {}

    def start(self) -> None:
        """Begin to run what is submitted. Call it on the event loop."""
        self._runners = [asyncio.create_task(self._serve()) for _ in range(self._runner_count)]

    def fault(self, stuck_after: float) -> str | None:
        """Why no more answers can be hoped for, if so: a dead runner, or a run of more than `stuck_after` seconds."""
        if not self._stopping and any(runner.done() for runner in self._runners):
            return "a runner has died"
        longest = perf_counter() - min(self._began.values(), default=perf_counter())
        return f"a run has taken {longest:.0f} s so far" if longest > stuck_after else None

    async def submit(self, items: Sequence[Item]) -> Batched[Result]:
        """Wait for the results of `items`, admitted whole or refused whole.

        Raises TooLarge when they could never fit the queue, QueueFull when they do not fit it now, Stopping after
        `stop`, and whatever `run` raised for one of them alone. Cancel it to give up: no run is spent on it any more.
        """
        self._admit(len(items))
        request = _Request[Result](len(items))
        now = perf_counter()
        entries = [_Entry(request, place, item, self._key(item), now) for place, item in enumerate(items)]
        self._queue.extend(entries)
        try:
            self._announce()
            return await request.done
        finally:
            self._forget(request)

    async def stop(self) -> None:
        """Refuse new work, finish what was accepted, and join the runners."""
        self._stopping = True
        self._changed.set()
        await asyncio.gather(*self._runners)
        self._threads.shutdown()

    def _admit(self, count: int) -> None:
        if self._stopping:
            raise Stopping("the service is stopping and takes no new work")
        if count > self._max_queue_size:
            raise TooLarge(f"{count} inputs can never fit a queue of {self._max_queue_size}")
        if len(self._queue) + count > self._max_queue_size:
            raise QueueFull(f"{len(self._queue)} of {self._max_queue_size} places in the queue are taken")

    def _announce(self) -> None:
        self._observer.queued(len(self._queue))
        self._changed.set()

    def _forget(self, request: _Request[Result]) -> None:
        """Give back the places of a request that nobody waits for: cancelled, or failed before its last item ran."""
        kept = [entry for entry in self._queue if entry.request is not request]
        if len(kept) < len(self._queue):
            self._queue = deque(kept)
            self._announce()

    async def _serve(self) -> None:
        while batch := await self._next_batch():
            try:
                await self._answer(batch)
            except Exception as error:
                log.exception("a batch was lost")
                self._settle(batch, [RunFailed(str(error))] * len(batch))

    async def _next_batch(self) -> list[_Entry[Item, Result]]:
        """The next batch; an empty one says that the batcher has stopped and nothing is left."""
        while True:
            await self._company()
            if batch := self._take():
                self._observer.queued(len(self._queue))
                return batch
            if self._stopping:
                return []
            await self._change()

    async def _company(self) -> None:
        """Let an incomplete batch wait for more, but its first item never longer than the delay."""
        while self._queue and len(self._queue) < self._max_batch_size and not self._stopping:
            left = self._queue[0].arrived + self._max_queue_delay - perf_counter()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await self._change()
            except TimeoutError:
                return

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _take(self) -> list[_Entry[Item, Result]]:
        """From the head of the queue, while keys stay equal: first in, first out."""
        batch: list[_Entry[Item, Result]] = []
        while self._queue and len(batch) < self._max_batch_size:
            if batch and self._queue[0].key != batch[0].key:
                break
            entry = self._queue.popleft()
            if not entry.request.done.done():
                batch.append(entry)
        return batch

    async def _answer(self, batch: list[_Entry[Item, Result]]) -> None:
        for entry in batch:
            entry.request.start()
        items = [entry.item for entry in batch]
        began = self._began[id(batch)] = perf_counter()
        try:
            outcomes = await asyncio.get_running_loop().run_in_executor(self._threads, self._attempt, items)
        finally:
            del self._began[id(batch)]
        self._settle(batch, outcomes)
        failed = sum(isinstance(outcome, Exception) for outcome in outcomes)
        self._observer.ran(len(batch), failed, perf_counter() - began)

    def _attempt(self, items: Sequence[Item]) -> list[Result | Exception]:
        """Run a batch; if it fails, each of its items alone, so that only the guilty fail."""
        try:
            results = list(self._run(items))
            if len(results) != len(items):
                raise RunFailed(f"a run of {len(items)} inputs gave {len(results)} results")  # noqa: TRY301
        except Exception as error:
            if len(items) == 1:
                return [error]
            return [outcome for item in items for outcome in self._attempt([item])]
        return [*results]

    @staticmethod
    def _settle(batch: list[_Entry[Item, Result]], outcomes: Sequence[Result | Exception]) -> None:
        for entry, outcome in zip(batch, outcomes, strict=True):
            entry.request.settle(entry.position, outcome)
