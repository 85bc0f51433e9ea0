import asyncio
import threading
import time
from collections.abc import AsyncIterator

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from service.errors import InvalidRequest, NotAcceptable, QueueFull, RunFailed, Stopping, UnknownName
from service.inference.graph.subgraph import producers, subgraph
from service.inference.looking import feature_maps as looking
from service.inference.looking.feature_maps import LONGEST_REST, FeatureMaps
from service.inference.looking.layer_values import LayerValues
from tests.service.inference.small import Array, assert_close, build, classic, open_session, run, weight

BATCH = {"x": weight(5, 1, 8, 8)}


class Opener:
    """Opens sessions, remembers for which outputs and on which thread, and waits while it is held."""

    def __init__(self) -> None:
        self.opened: list[list[str]] = []
        self.threads: set[int] = set()
        self.free = threading.Event()
        self.free.set()
        self.entered = threading.Event()

    def __call__(self, model: bytes) -> ort.InferenceSession:
        self.entered.set()
        self.free.wait()
        session = open_session(model)
        self.opened.append([output.name for output in session.get_outputs()])
        self.threads.add(threading.get_ident())
        return session

    async def started(self) -> None:
        """Until the lane's thread is busy."""
        await asyncio.to_thread(self.entered.wait)


@pytest.fixture
def opener() -> Opener:
    return Opener()


@pytest.fixture
async def lane(opener: Opener) -> AsyncIterator[FeatureMaps]:
    smallest, largest = (subgraph(classic(), [layer]).ByteSize() for layer in ("conv1", "pool"))
    lane = FeatureMaps(classic(), opener, capacity=smallest + largest, queue_size=2)
    yield lane
    opener.free.set()
    await lane.close()


def ask(lane: FeatureMaps, *layers: str) -> asyncio.Task[LayerValues]:
    return asyncio.create_task(lane.compute(BATCH, layers))


async def settle() -> None:
    """Let every task run until it has to wait for something."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_every_layer_has_onnxruntimes_own_value(lane: FeatureMaps) -> None:
    model = classic()
    layers = list(producers(model.graph))
    expected = run(model, BATCH, layers)
    for asked in ([layer] for layer in layers):
        assert_close((await lane.compute(BATCH, asked)).maps[asked[0]], expected[asked[0]])
    together = (await lane.compute(BATCH, layers)).maps
    for layer in layers:
        assert_close(together[layer], expected[layer])


async def test_batch_of_several_equals_single_runs(lane: FeatureMaps) -> None:
    layers = ["conv2", "dense2"]
    together = await lane.compute(BATCH, layers)
    singles = [await lane.compute({"x": BATCH["x"][index : index + 1]}, layers) for index in range(5)]
    joined = LayerValues.joined(singles)
    for layer in layers:
        assert_close(joined.maps[layer], together.maps[layer])
    assert joined.infer_seconds == sum(single.infer_seconds for single in singles)


async def test_layers_come_in_the_order_asked_for_and_once(lane: FeatureMaps, opener: Opener) -> None:
    first = await lane.compute(BATCH, ["pool", "conv1", "pool"])
    second = await lane.compute(BATCH, ["conv1", "pool"])
    assert list(first.maps) == ["pool", "conv1"]
    assert list(second.maps) == ["conv1", "pool"]
    np.testing.assert_array_equal(first.maps["pool"], second.maps["pool"])
    assert len(opener.opened) == 1


async def test_session_computes_only_the_layers_asked_for(lane: FeatureMaps, opener: Opener) -> None:
    assert not opener.opened
    await lane.compute(BATCH, ["pool"])
    assert opener.opened == [["pool"]]


async def test_sessions_last_used_are_kept_and_no_more_than_the_capacity(lane: FeatureMaps, opener: Opener) -> None:
    for layer in ("conv1", "conv2", "conv1", "pool", "conv1"):
        await lane.compute(BATCH, [layer])
    assert opener.opened == [["conv1"], ["conv2"], ["pool"]]
    await lane.compute(BATCH, ["conv2"])
    assert opener.opened[3:] == [["conv2"]]


async def test_the_session_in_use_is_kept_however_large_it_is(opener: Opener) -> None:
    lane = FeatureMaps(classic(), opener, capacity=1)
    await lane.compute(BATCH, ["pool"])
    await lane.compute(BATCH, ["pool"])
    await lane.compute(BATCH, ["conv1"])
    await lane.compute(BATCH, ["pool"])
    await lane.close()
    assert opener.opened == [["pool"], ["conv1"], ["pool"]]


async def test_no_more_sessions_are_kept_than_are_allowed(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "MOST_SESSIONS", 2)
    lane = FeatureMaps(classic(), opener)
    for layer in ("conv1", "conv2", "pool", "conv2", "conv1"):
        await lane.compute(BATCH, [layer])
    await lane.close()
    assert opener.opened == [["conv1"], ["conv2"], ["pool"], ["conv1"]]


async def test_what_is_no_number_is_left_out_where_nobody_named_it() -> None:
    text = helper.make_node("Cast", ["x"], ["text"], to=TensorProto.STRING)
    model = build([text, helper.make_node("Abs", ["x"], ["y"])], {"x": ["N", 2]}, ["y"])
    lane, feeds = FeatureMaps(model, open_session), {"x": weight(3, 2)}
    found = await lane.compute_and([feeds], ["text", "y"], lambda values: list(values.maps), leave_out=True)
    assert found == ["y"]
    assert await lane.compute_and([feeds], ["text"], lambda values: list(values.maps), leave_out=True) == []
    with pytest.raises(NotAcceptable, match="text"):
        await lane.compute_and([feeds], ["text", "y"], lambda values: values)
    await lane.close()


async def test_all_work_is_done_on_one_thread_which_is_not_the_event_loops(lane: FeatureMaps, opener: Opener) -> None:
    await asyncio.gather(*(lane.compute(BATCH, [layer]) for layer in ("conv1", "conv2")))
    assert len(opener.threads) == 1
    assert threading.get_ident() not in opener.threads


async def test_feeds_that_a_layer_does_not_need_are_ignored(lane: FeatureMaps) -> None:
    found = await lane.compute({**BATCH, "other": weight(1)}, ["conv1"])
    assert_close(found.maps["conv1"], run(classic(), BATCH, ["conv1"])["conv1"])


async def test_time_in_the_queue_is_told_apart_from_the_run(lane: FeatureMaps) -> None:
    found = await lane.compute(BATCH, ["conv1"])
    assert found.queue_seconds >= 0
    assert found.infer_seconds > 0


async def test_unknown_layer_is_refused_before_it_takes_a_place(lane: FeatureMaps, opener: Opener) -> None:
    with pytest.raises(UnknownName, match="conv9"):
        await lane.compute(BATCH, ["conv1", "conv9"])
    assert not opener.opened


async def test_no_layer_at_all_is_refused(lane: FeatureMaps) -> None:
    with pytest.raises(InvalidRequest):
        await lane.compute(BATCH, [])


@pytest.mark.parametrize(
    ("feeds", "reason"),
    [
        ({}, "Required inputs"),
        ({"x": weight(1, 7, 8, 8)}, "invalid dimensions"),
        ({"x": np.zeros((1, 1, 8, 8), np.int64)}, "Unexpected input data type"),
    ],
)
async def test_failing_run_harms_nobody_else(lane: FeatureMaps, feeds: dict[str, Array], reason: str) -> None:
    with pytest.raises(RunFailed, match=reason):
        await lane.compute(feeds, ["conv1"])
    assert (await lane.compute(BATCH, ["conv1"])).maps["conv1"].shape == (5, 4, 8, 8)


async def test_session_that_cannot_be_opened_is_a_failed_run() -> None:
    def refuse(_: bytes) -> ort.InferenceSession:
        raise RuntimeError("no such provider")

    lane = FeatureMaps(classic(), refuse)
    with pytest.raises(RunFailed, match="no such provider"):
        await lane.compute(BATCH, ["conv1"])
    await lane.close()


async def test_layer_that_is_no_tensor_is_not_acceptable() -> None:
    model = build([helper.make_node("SequenceConstruct", ["x", "x"], ["both"])], {"x": [2]}, [])
    lane = FeatureMaps(model, open_session)
    with pytest.raises(NotAcceptable, match="both"):
        await lane.compute({"x": weight(2)}, ["both"])
    await lane.close()


async def test_full_queue_refuses_at_once_and_empties_again(lane: FeatureMaps, opener: Opener) -> None:
    opener.free.clear()
    running = ask(lane, "conv1")
    await opener.started()
    waiting = [ask(lane, "conv1"), ask(lane, "conv1")]
    await settle()
    with pytest.raises(QueueFull):
        await lane.compute(BATCH, ["conv1"])
    opener.free.set()
    assert len(await asyncio.gather(running, *waiting)) == 3
    assert (await lane.compute(BATCH, ["conv1"])).maps


async def test_first_in_is_first_out(lane: FeatureMaps, opener: Opener) -> None:
    opener.free.clear()
    tasks = [ask(lane, "conv1")]
    await opener.started()
    tasks += [ask(lane, "pool"), ask(lane, "conv2")]
    await settle()
    opener.free.set()
    await asyncio.gather(*tasks)
    assert opener.opened == [["conv1"], ["pool"], ["conv2"]]


async def test_caller_who_leaves_before_his_turn_costs_nothing(lane: FeatureMaps, opener: Opener) -> None:
    opener.free.clear()
    running = ask(lane, "conv1")
    await opener.started()
    leaving, staying = ask(lane, "pool"), ask(lane, "conv2")
    await settle()
    leaving.cancel()
    await settle()
    late = ask(lane, "conv2")  # his place is free again
    await settle()
    opener.free.set()
    await asyncio.gather(running, staying, late)
    assert leaving.cancelled()
    assert opener.opened == [["conv1"], ["conv2"]]


async def test_caller_who_leaves_during_the_run_does_not_let_two_run_at_once(lane: FeatureMaps, opener: Opener) -> None:
    opener.free.clear()
    leaving = ask(lane, "conv1")
    await opener.started()
    leaving.cancel()
    await settle()
    others = [ask(lane, "pool"), ask(lane, "pool")]
    await settle()
    with pytest.raises(QueueFull):  # the run that nobody waits for still holds the lane
        await lane.compute(BATCH, ["pool"])
    opener.free.set()
    await asyncio.gather(*others)
    assert leaving.cancelled()


async def test_run_that_fails_after_its_caller_left_is_forgotten(opener: Opener) -> None:
    lane = FeatureMaps(classic(), opener)
    opener.free.clear()
    leaving = asyncio.create_task(lane.compute({}, ["conv1"]))
    await opener.started()
    leaving.cancel()
    await settle()
    opener.free.set()
    assert (await lane.compute(BATCH, ["conv1"])).maps
    await lane.close()


async def test_close_answers_those_who_wait_and_refuses_the_rest(lane: FeatureMaps, opener: Opener) -> None:
    opener.free.clear()
    taken = [ask(lane, "conv1")]
    await opener.started()
    taken.append(ask(lane, "pool"))
    await settle()
    closing = asyncio.create_task(lane.close())
    await settle()
    with pytest.raises(Stopping):
        await lane.compute(BATCH, ["conv1"])
    assert not closing.done()
    opener.free.set()
    await closing
    assert all(task.done() for task in taken)
    assert [list(task.result().maps) for task in taken] == [["conv1"], ["pool"]]
    await lane.close()


async def test_close_ends_the_thread(opener: Opener) -> None:
    lane = FeatureMaps(classic(), opener)
    await lane.compute(BATCH, ["conv1"])
    [ident] = opener.threads
    assert ident in {thread.ident for thread in threading.enumerate()}
    await lane.close()
    assert ident not in {thread.ident for thread in threading.enumerate()}


@pytest.mark.parametrize(("encoding", "least", "most"), [(0.05, 0.05, 10.0), (0.8, LONGEST_REST, 0.7)])
async def test_the_lane_rests_as_long_as_an_answer_was_made_but_not_endlessly(
    encoding: float, least: float, most: float
) -> None:
    lane = FeatureMaps(classic(), open_session)
    await lane.compute(BATCH, ["conv1"])  # opens the session

    def encode(_: LayerValues) -> float:
        time.sleep(encoding)
        return time.perf_counter()

    encoded = await lane.compute_and([BATCH], ["conv1"], encode)
    begun = await lane.compute_and([BATCH], ["conv1"], lambda _: time.perf_counter())
    assert least <= begun - encoded < most
    await lane.close()


async def test_several_inputs_are_fed_by_name() -> None:
    model = build([helper.make_node("Sub", ["a", "b"], ["y"])], {"a": ["N", 2], "b": ["N", 2]}, ["y"])
    lane = FeatureMaps(model, open_session)
    found = await lane.compute({"b": np.ones((1, 2), np.float32), "a": np.zeros((1, 2), np.float32)}, ["y"])
    np.testing.assert_array_equal(found.maps["y"], [[-1, -1]])
    await lane.close()
