"""Programs in processes of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def started(*arguments: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `python ARGUMENTS`, what it says and its errors in one stream; nothing of it outlives the block."""
    command, changed = [sys.executable, *arguments], {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
    pipe, errors = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(command, stdout=pipe, stderr=errors, env=changed, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said_until(process: "subprocess.Popen[str]", wanted: str) -> str:
    """Wait until it says `wanted`; returns all that it said up to there."""
    assert process.stdout is not None
    said = ""
    while wanted not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return said
