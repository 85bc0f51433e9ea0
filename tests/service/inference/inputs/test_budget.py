import threading

import numpy as np
import pytest

from service.inference.inputs.budget import PixelBudget


class Crowd:
    """Threads that hold pixels until they are let go, one after another in line."""

    def __init__(self, budget: PixelBudget) -> None:
        self._budget = budget
        self._entered: dict[str, threading.Event] = {}
        self._leave: dict[str, threading.Event] = {}
        self._threads: dict[str, threading.Thread] = {}
        self.order: list[str] = []

    def send(self, name: str, pixels: int) -> None:
        """Start a thread, and return when it holds or stands in line."""
        self._entered[name], self._leave[name] = threading.Event(), threading.Event()
        self._threads[name] = thread = threading.Thread(target=self._stay, args=(name, pixels), daemon=True)
        before = len(self._budget._line)
        thread.start()
        while not self._entered[name].is_set() and len(self._budget._line) == before:
            self._entered[name].wait(0.001)

    def _stay(self, name: str, pixels: int) -> None:
        with self._budget.hold(pixels):
            self.order.append(name)
            self._entered[name].set()
            assert self._leave[name].wait(60)

    def holds(self, name: str) -> bool:
        return self._entered[name].is_set()

    def await_entry(self, *names: str) -> None:
        for name in names:
            assert self._entered[name].wait(60)

    def let_go(self, *names: str) -> None:
        for name in names:
            self._leave[name].set()
            self._threads[name].join(60)


def test_budget_admits_what_fits_and_makes_the_rest_wait() -> None:
    crowd = Crowd(PixelBudget(10))
    crowd.send("a", 4)
    crowd.send("b", 6)
    crowd.send("c", 1)
    crowd.await_entry("a", "b")
    assert not crowd.holds("c")
    crowd.let_go("a")
    crowd.await_entry("c")
    crowd.let_go("b", "c")


def test_large_one_is_not_overtaken_by_small_ones_behind_it() -> None:
    crowd = Crowd(PixelBudget(10))
    crowd.send("first", 5)
    crowd.await_entry("first")
    crowd.send("large", 10)
    crowd.send("small", 1)
    assert not crowd.holds("small")
    crowd.let_go("first")
    crowd.await_entry("large")
    assert not crowd.holds("small")
    crowd.let_go("large")
    crowd.await_entry("small")
    crowd.let_go("small")
    assert crowd.order == ["first", "large", "small"]


def test_picture_larger_than_the_budget_is_admitted_alone() -> None:
    crowd = Crowd(PixelBudget(10))
    crowd.send("small", 1)
    crowd.await_entry("small")
    crowd.send("huge", 1000)
    assert not crowd.holds("huge")
    crowd.let_go("small")
    crowd.await_entry("huge")
    crowd.send("next", 1)
    assert not crowd.holds("next")
    crowd.let_go("huge")
    crowd.await_entry("next")
    crowd.let_go("next")


def test_budget_is_never_exceeded_by_many_threads() -> None:
    budget, most = PixelBudget(10), 0
    lock, inside = threading.Lock(), [0]

    def work(seed: int) -> None:
        nonlocal most
        for pixels in np.random.default_rng(seed).integers(1, 11, 100).tolist():
            with budget.hold(pixels):
                with lock:
                    inside[0] += pixels
                    most = max(most, inside[0])
                with lock:
                    inside[0] -= pixels

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 10
    with budget.hold(10):  # all of it has come back
        assert inside == [0]


def test_interrupted_waiter_leaves_the_line() -> None:
    budget = PixelBudget(10)
    with budget.hold(10):

        class Interrupted(threading.Condition):
            def wait_for(self, *_: object) -> bool:  # type: ignore[override]
                raise KeyboardInterrupt

        budget._changed = Interrupted()
        with pytest.raises(KeyboardInterrupt), budget.hold(1):
            pass
        budget._changed = threading.Condition()
    with budget.hold(10):
        pass
