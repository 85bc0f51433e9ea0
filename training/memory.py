"""Memory: what a step frees is kept for the next one.

glibc gives every large block back to the kernel at once, which clears each page anew for the next step. The tensors of
a step are of the same sizes as those of the step before it, so keeping them costs nothing. What it gains is said by
`python -m benchmarks.memory`.
"""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of mallopt(3)


def keep_memory() -> None:
    """Let this process keep what it frees. Nothing happens where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_MAX, 0)  # no block comes from the kernel alone
        mallopt(M_TRIM_THRESHOLD, -1)  # none goes back
