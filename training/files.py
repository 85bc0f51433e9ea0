"""Files that are there whole or not at all: whoever fails or is killed while writing leaves the one before."""

import json
from collections.abc import Mapping
from pathlib import Path


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file under another name, then give it its own."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write a file of JSON."""
    write_whole(path, (json.dumps(values, indent=2) + "\n").encode())
