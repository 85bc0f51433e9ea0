"""Arena: the working memory that all sessions for looking inside share."""

from functools import cache

import onnxruntime as ort


def share_arena(options: ort.SessionOptions) -> None:
    """Let a session of these options take its working memory from one arena, which all such sessions share.

    By itself each keeps what its largest run took until it is closed: one session per layer of a network whose maps are
    large, and the process has had many times what any of them needs. Shared, it is what the largest run took. Weights
    stay outside, as memory in an arena is never given back.
    """
    _register()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")


@cache
def _register() -> None:
    """Once a process, as the arena belongs to onnxruntime's environment, of which there is one."""
    kind, where = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, ort.OrtMemType.DEFAULT
    ort.create_and_register_allocator(ort.OrtMemoryInfo("Cpu", kind, 0, where), None)
