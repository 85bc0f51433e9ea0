"""The microservice. It never imports torch and never imports `training`."""

import os

# onnxruntime reports usage from 1.29 on unless told not to before its first import; this is the one place.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("ORT_TELEMETRY_DISABLED", "1")
