"""Random numbers that depend on what they are for, not on what was drawn before: so a run goes on where it was cut."""

from collections.abc import Sequence

import numpy as np
import torch


def seeded(generator: torch.Generator, *key: int) -> torch.Generator:
    """Seed `generator` by all numbers of `key` together; returns it."""
    return generator.manual_seed(mixed(key))


def seed_all(*key: int) -> None:
    """Seed torch's global generators, of the CPU and of GPUs, by all numbers of `key` together."""
    torch.manual_seed(mixed(key))


def mixed(key: Sequence[int]) -> int:
    """One seed out of several numbers, far from that of similar ones."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])
