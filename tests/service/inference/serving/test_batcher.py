import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import QueueFull, RunFailed, Stopping, TooLarge
from service.inference.serving.batcher import MicroBatcher


class Log:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.depths: list[int] = []

    def queued(self, depth: int) -> None:
        self.depths.append(depth)

    def ran(self, size: int, failed: int, seconds: float) -> None:  # noqa: ARG002
        self.sizes.append(size)


class Machine:
    """Doubles numbers, in batches that it remembers; it can be held, and it fails on numbers it was told to."""

    def __init__(self, *, failing: Sequence[int] = ()) -> None:
        self.batches: list[list[int]] = []
        self.free = threading.Event()
        self.free.set()
        self.entered = threading.Event()
        self._failing = set(failing)

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.entered.set()
        assert self.free.wait(60)
        if bad := self._failing & set(items):
            raise ValueError(f"cannot double {bad}")
        return [2 * item for item in items]

    def hold(self) -> None:
        self.free.clear()
        self.entered.clear()

    async def reached(self) -> None:
        """A run has begun."""
        assert await asyncio.to_thread(self.entered.wait, 60)


@asynccontextmanager
async def running(
    run: Callable[[Sequence[int]], Sequence[int]],
    *,
    observer: Log | None = None,
    max_batch_size: int = 4,
    max_queue_size: int = 16,
    max_queue_delay: float = 0.0,
    runners: int = 1,
) -> AsyncIterator[MicroBatcher[int, int]]:
    batcher = MicroBatcher[int, int](
        run,
        key=lambda item: item >= 100,
        observer=observer or Log(),
        max_batch_size=max_batch_size,
        max_queue_size=max_queue_size,
        max_queue_delay=max_queue_delay,
        runners=runners,
    )
    batcher.start()
    try:
        yield batcher
    finally:
        await batcher.stop()


async def submitted(batcher: MicroBatcher[int, int], *requests: Sequence[int]) -> list[asyncio.Task[list[int]]]:
    """Tasks that have each put their request into the queue, in order."""
    tasks = []
    for request in requests:
        tasks.append(asyncio.create_task(results(batcher, request)))
        await asyncio.sleep(0)
    return tasks


async def results(batcher: MicroBatcher[int, int], items: Sequence[int]) -> list[int]:
    return (await batcher.submit(items)).results


async def test_results_come_in_the_order_of_the_items() -> None:
    async with running(Machine()) as batcher:
        assert await results(batcher, [3, 1, 2, 9, 8, 7]) == [6, 2, 4, 18, 16, 14]


async def test_requests_that_wait_share_one_batch() -> None:
    machine = Machine()
    async with running(machine) as batcher:
        machine.hold()
        first = await submitted(batcher, [1])
        await machine.reached()
        others = await submitted(batcher, [2], [3], [4])
        machine.free.set()
        assert await asyncio.gather(*first, *others) == [[2], [4], [6], [8]]
    assert machine.batches == [[1], [2, 3, 4]]


async def test_first_in_first_out_and_never_more_than_the_maximum() -> None:
    machine = Machine()
    async with running(machine, max_batch_size=3) as batcher:
        machine.hold()
        tasks = await submitted(batcher, [0])
        await machine.reached()
        tasks += await submitted(batcher, [1, 2], [3, 4], [5], [6])
        machine.free.set()
        await asyncio.gather(*tasks)
    assert machine.batches == [[0], [1, 2, 3], [4, 5, 6]]


async def test_a_batch_holds_items_of_one_key_and_keeps_their_order() -> None:
    machine = Machine()
    async with running(machine) as batcher:
        machine.hold()
        tasks = await submitted(batcher, [0])
        await machine.reached()
        tasks += await submitted(batcher, [1], [100], [2], [3])
        machine.free.set()
        await asyncio.gather(*tasks)
    assert machine.batches == [[0], [1], [100], [2, 3]]


async def test_cancelled_waiter_is_dropped_and_leaves_its_batch_mates_answered() -> None:
    machine = Machine()
    async with running(machine) as batcher:
        machine.hold()
        first = await submitted(batcher, [1])
        await machine.reached()
        gone, stays = await submitted(batcher, [2, 22], [3])
        gone.cancel()
        machine.free.set()
        assert await stays == [6]
        assert await first[0] == [2]
        with pytest.raises(asyncio.CancelledError):
            await gone
    assert machine.batches == [[1], [3]]


async def test_waiter_cancelled_during_its_run_harms_nobody() -> None:
    machine = Machine()
    async with running(machine) as batcher:
        machine.hold()
        blocker = await submitted(batcher, [1])
        await machine.reached()
        gone, stays = await submitted(batcher, [2], [3])
        machine.entered.clear()
        machine.free.set()
        await machine.reached()
        gone.cancel()
        assert await stays == [6]
        assert await blocker[0] == [2]
        assert await results(batcher, [4]) == [8]


async def test_waiter_past_its_deadline_is_never_run() -> None:
    machine = Machine()
    async with running(machine) as batcher:
        machine.hold()
        first = await submitted(batcher, [1])
        await machine.reached()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batcher.submit([2]), timeout=0)
        late = asyncio.create_task(batcher.submit([3]))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(late, timeout=0.01)
        machine.free.set()
        await first[0]
        assert await results(batcher, [4]) == [8]
    assert machine.batches == [[1], [4]]


async def test_only_the_guilty_item_of_a_failing_batch_fails() -> None:
    machine = Machine(failing=[3])
    async with running(machine) as batcher:
        machine.hold()
        tasks = await submitted(batcher, [1])
        await machine.reached()
        good, guilty, other = await submitted(batcher, [2], [3], [4])
        machine.free.set()
        assert [await good, await other, await tasks[0]] == [[4], [8], [2]]
        with pytest.raises(ValueError, match="cannot double"):
            await guilty
        assert await results(batcher, [5]) == [10]


async def test_run_that_loses_results_fails_its_caller_but_not_the_batcher() -> None:
    async with running(lambda items: [] if 13 in items else items) as batcher:
        with pytest.raises(RunFailed, match="1 inputs gave 0 results"):
            await batcher.submit([13])
        assert await results(batcher, [1]) == [1]


async def test_a_failing_observer_does_not_end_the_batcher(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Log):
        def ran(self, size: int, failed: int, seconds: float) -> None:  # noqa: ARG002
            raise RuntimeError(f"nobody counts {size}")

    async with running(Machine(), observer=Broken()) as batcher:
        assert await results(batcher, [1]) == [2]
        assert await results(batcher, [2]) == [4]
    assert "nobody counts" in caplog.text


async def test_full_queue_refuses_whole_requests_at_once_and_recovers() -> None:
    machine = Machine()
    async with running(machine, max_queue_size=4) as batcher:
        machine.hold()
        tasks = await submitted(batcher, [1])
        await machine.reached()
        tasks += await submitted(batcher, [2, 3, 4])
        with pytest.raises(QueueFull):
            await batcher.submit([5, 6])
        tasks += await submitted(batcher, [7])
        machine.free.set()
        assert await asyncio.gather(*tasks) == [[2], [4, 6, 8], [14]]


async def test_request_larger_than_the_queue_can_never_be_admitted() -> None:
    async with running(Machine(), max_queue_size=4) as batcher:
        with pytest.raises(TooLarge):
            await batcher.submit(range(5))


async def test_cancelled_waiters_give_their_places_back() -> None:
    machine, log = Machine(), Log()
    async with running(machine, observer=log, max_queue_size=2) as batcher:
        machine.hold()
        first = await submitted(batcher, [1])
        await machine.reached()
        gone = await submitted(batcher, [2, 3])
        gone[0].cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        assert log.depths[-1] == 0
        others = await submitted(batcher, [4, 5])
        machine.free.set()
        assert await asyncio.gather(*first, *others) == [[2], [8, 10]]


async def test_stop_finishes_what_was_accepted_and_refuses_what_is_new() -> None:
    machine = Machine()
    async with running(machine) as batcher:
        machine.hold()
        tasks = await submitted(batcher, [1])
        await machine.reached()
        tasks += await submitted(batcher, [2], [3])
        stopping = asyncio.create_task(batcher.stop())
        await asyncio.sleep(0)
        with pytest.raises(Stopping):
            await batcher.submit([4])
        machine.free.set()
        await stopping
        assert await asyncio.gather(*tasks) == [[2], [4], [6]]


async def test_incomplete_batch_waits_for_company_when_told_to() -> None:
    machine = Machine()
    async with running(machine, max_batch_size=2, max_queue_delay=60) as batcher:
        tasks = await submitted(batcher, [1], [2])
        assert await asyncio.gather(*tasks) == [[2], [4]]
    assert machine.batches == [[1, 2]]


async def test_lone_item_is_run_once_its_delay_is_over() -> None:
    async with running(Machine(), max_queue_delay=0.001) as batcher:
        assert await results(batcher, [1]) == [2]


async def test_several_runners_run_side_by_side() -> None:
    both = threading.Barrier(2, timeout=60)

    def meet(items: Sequence[int]) -> Sequence[int]:
        both.wait()
        return items

    async with running(meet, max_batch_size=1, runners=2) as batcher:
        one, other = await asyncio.gather(results(batcher, [1]), results(batcher, [2]))
        assert (one, other) == ([1], [2])


async def test_a_run_that_takes_too_long_is_a_fault_until_it_ends() -> None:
    machine = Machine()
    async with running(machine) as batcher:
        assert batcher.fault(0) is None
        machine.hold()
        first = await submitted(batcher, [1])
        await machine.reached()
        assert batcher.fault(60) is None
        assert "a run has taken" in str(batcher.fault(0))
        machine.free.set()
        await first[0]
        assert batcher.fault(0) is None


async def test_a_dead_runner_is_a_fault_but_one_that_was_stopped_is_none() -> None:
    async with running(Machine()) as batcher:
        batcher._runners.append(asyncio.create_task(asyncio.sleep(0)))
        await batcher._runners[-1]
        assert batcher.fault(60) == "a runner has died"
    assert batcher.fault(60) is None


async def test_observer_sees_batch_sizes_and_the_depth_of_the_queue() -> None:
    log = Log()
    async with running(Machine(), observer=log, max_batch_size=4) as batcher:
        await batcher.submit(range(6))
    assert log.sizes == [4, 2]
    assert (max(log.depths), log.depths[-1]) == (6, 0)


async def test_times_say_how_long_it_waited_and_ran() -> None:
    machine = Machine()
    async with running(machine) as batcher:
        machine.hold()
        first = asyncio.create_task(batcher.submit([1]))
        await machine.reached()
        second = asyncio.create_task(batcher.submit([2]))
        await asyncio.sleep(0)
        machine.free.set()
        ran, waited = await first, await second
        assert waited.queue_seconds > 0
        assert ran.infer_seconds > 0
        assert waited.queue_seconds <= ran.queue_seconds + ran.infer_seconds


@settings(max_examples=60, deadline=None)
@given(
    requests=st.lists(st.lists(st.integers(0, 199), min_size=1, max_size=6), min_size=1, max_size=12),
    leavers=st.sets(st.integers(0, 11)),
    failing=st.sets(st.integers(0, 199), max_size=20),
    max_batch_size=st.integers(1, 8),
    runners=st.integers(1, 3),
)
def test_every_waiter_is_answered_exactly_once(
    requests: list[list[int]], leavers: set[int], failing: set[int], max_batch_size: int, runners: int
) -> None:
    async def scenario() -> list[list[int] | BaseException]:
        async with running(
            Machine(failing=list(failing)), max_batch_size=max_batch_size, max_queue_size=1000, runners=runners
        ) as batcher:
            tasks = await submitted(batcher, *requests)
            for leaver in leavers & set(range(len(tasks))):
                tasks[leaver].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    for number, (request, answer) in enumerate(zip(requests, asyncio.run(scenario()), strict=True)):
        if failing & set(request):
            assert isinstance(answer, ValueError | asyncio.CancelledError)
        elif isinstance(answer, BaseException):
            assert number in leavers
        else:
            assert answer == [2 * item for item in request]
