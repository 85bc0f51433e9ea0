import subprocess
import sys

CHECK = """
import training, torch
from torchvision.transforms import v2
assert hasattr(torch.ops.torchvision, "nms")
training.declare_missing()
"""


def test_torchvision_imports_after_the_package_and_declaring_twice_is_harmless() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", CHECK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
