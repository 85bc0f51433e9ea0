"""Train networks, measure them, and write them as model files that name their layers and prove themselves."""

import os

import service  # noqa: F401 - it turns onnxruntime's telemetry off, which must happen before anybody imports that

# Read once, when torch is first imported; threads that spin while they wait starve others on shared cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from training.operators import declare_missing

declare_missing()
