"""README is true: its settings are all of them, and its curl lines do what they say."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.settings import PREFIX, Settings
from tests.alike import assert_alike
from tests.service.server import running

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_listed_with_its_default_and_meaning(name: str) -> None:
    field = Settings.model_fields[name]
    default = "number of cores" if field.default_factory else f"`{field.default}`"
    assert f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |" in README


def test_no_setting_is_listed_that_does_not_exist() -> None:
    listed = re.findall(rf"^\| `{PREFIX}(\w+)`", README, re.MULTILINE)
    assert [name.lower() for name in listed] == list(Settings.model_fields)


def test_the_curl_lines_work_as_written(tmp_path: Path) -> None:
    commands = "\n".join(re.findall(r"^```sh curl\n(.*?)^```", README, re.MULTILINE | re.DOTALL))
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    with running(ROOT / "models", tmp_path / "log") as server:
        script = 'curl() { command curl --fail-with-body --silent --show-error "$@"; echo; }\n' + commands
        script = script.replace("http://127.0.0.1:8000", server.url)
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    [promised] = re.findall(r"^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert_alike(json.loads(ended.stdout.splitlines()[0]), json.loads(promised))
    drawn, shown = (np.asarray(Image.open(folder / "feature-maps.png"), float) for folder in (tmp_path, ROOT / "docs"))
    assert drawn.shape == shown.shape
    assert np.abs(drawn - shown).mean() < 0.5  # another processor may round a pixel to the next colour
    assert (tmp_path / "layers.npz").stat().st_size > 1000
    assert "convscope_stage_duration_seconds_bucket" in ended.stdout


def test_the_pages_that_it_links_to_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
