"""Programs that some tests want and pip does not install."""

import os
import shutil

import pytest


def program(name: str, package: str) -> str:
    """The path of `name`, from Debian's `package`: a test without it is skipped, but in CI, where it must be, fails."""
    if path := shutil.which(name):
        return path
    absent = f"there is no {name} here: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(absent)
    pytest.skip(absent)
