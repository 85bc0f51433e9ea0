"""Train networks, measure them, and write them as model files that name their layers and prove themselves."""

import os

# Read once, when onnxruntime or torch is first imported; every module of this room is imported after this file.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["ORT_TELEMETRY_DISABLED"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait starve others on shared cores

from training.operators import declare_missing

declare_missing()
