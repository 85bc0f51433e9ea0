"""The group of processes that train one network: one alone, or as many as `torchrun` started."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import distributed, nn
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from service.errors import ConvscopeError, InvalidRequest

T = TypeVar("T")

CPU = torch.device("cpu")
PATIENCE = timedelta(hours=2)  # with a leader that goes on alone, as to judge; a dead process shows at once
LOST = 2  # the status of a process whose group broke


class ProcessLost(ConvscopeError):
    """Another process of the group ended before its time."""


class Stopped(Exception):
    """Somebody asked for an end, by Ctrl-C or SIGTERM, and all processes have come to it together."""


@dataclass
class Group:
    """This process's place among all. What only one may do, such as to write and to speak, the leader does."""

    rank: int = 0
    size: int = 1
    local: int = 0  # its number among those on the same machine
    device: torch.device = CPU
    told_to_stop: bool = False

    @property
    def leads(self) -> bool:
        """Whether this is the process that judges, writes and speaks."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Which of the `count` examples of a batch are this process's; together the shares are all, none twice."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def parallel(self, network: nn.Module) -> nn.Module:
        """Wrap `network`, so that each backward pass leaves the mean of all processes' gradients."""
        if self.size == 1:
            return network
        devices = [self.device.index] if self.device.type == "cuda" else None
        wrapped: nn.Module = DistributedDataParallel(network, device_ids=devices)
        return wrapped

    def summed(self, values: Sequence[float]) -> list[float]:
        """Sum `values` over all processes, each by its place."""
        return self._reduced(values, distributed.ReduceOp.SUM)

    def led(self, work: Callable[[], T]) -> T:
        """Let the leader do `work`, and give every process what comes of it."""
        if self.size == 1:
            return work()
        answers = [work() if self.leads else None]
        distributed.broadcast_object_list(answers, src=0, device=self.device)
        return cast("T", answers[0])

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """On each machine one process goes ahead, the others follow: what it has to download they find."""
        if self.size > 1 and self.local:
            distributed.barrier()
        yield
        if self.size > 1 and not self.local:
            distributed.barrier()

    def heed(self) -> None:
        """Stop here, every process after the same step, if any was told to. Raises Stopped."""
        if any(self._reduced([self.told_to_stop], distributed.ReduceOp.MAX)):
            raise Stopped

    def _reduced(self, values: Sequence[float], operation: distributed.ReduceOp.RedOpType) -> list[float]:
        if self.size == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(numbers, operation)
        answer: list[float] = numbers.tolist()
        return answer


@contextmanager
def joined() -> Iterator[Group]:
    """Join the processes that torchrun started, if it did; all leave together.

    Only the leader's standard output is heard. An error ends all, and the process that met it first says what it was.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = own_device(local)
    if size == 1:
        yield Group(device=device)
        return
    store, _, _ = next(rendezvous("env://"))
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    group = Group(rank, size, local, device)
    try:
        with silent(not group.leads):
            yield group
            distributed.barrier()
    except BaseException as error:
        met = lost(error)
        if not first(store):
            raise SystemExit(LOST) from None
        raise met from (None if met is error else error)
    distributed.destroy_process_group()


def own_device(number: int) -> torch.device:
    """Choose the GPU of that number where there are GPUs, else the CPU. Raises InvalidRequest."""
    if not torch.cuda.is_available():
        return CPU
    there = torch.cuda.device_count()
    if number >= there:
        raise InvalidRequest(
            f"--nproc-per-node must be at most {there}, the GPUs of this machine: each process takes one"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


@contextmanager
def stopping(group: Group) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait for the end of a step, so that all processes stop after the same one.

    Whoever asks twice is not kept waiting: that ends the program where it stands, and `--resume` goes on.
    """

    def told(*_: object) -> None:
        if group.told_to_stop:
            raise KeyboardInterrupt
        group.told_to_stop = True

    before = {number: signal.signal(number, told) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def silent(wanted: bool) -> Iterator[None]:
    """Drop what is printed, if that is wanted."""
    if not wanted:
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


def lost(error: BaseException) -> BaseException:
    """Say plainly what a torn connection means; any other error stays as it is."""
    torn = isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
    return (
        ProcessLost("another process of this training ended; `--resume` goes on from its last epoch") if torn else error
    )


def first(store: Store) -> bool:
    """Tell whether no other process of the group has asked this before."""
    try:
        return bool(store.add("ended", 1) == 1)
    except distributed.DistError:  # torchrun, which keeps the store, is gone
        return True
