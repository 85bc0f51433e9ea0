"""The examples of /docs: requests for the embedded model, with the answers that it really gives (a test compares)."""

from typing import Any

ANKLE_BOOT = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAABUElEQVR42t3Su0rDYBgG4Pf78ydpDk0roQcVPAylaJFOoljciu7i4uCi"
    "ixfgfQkOTl6Bo5Pgoqhoiya2aWqb/AcHQdA70G98H953+oB/fQYBNhoA+xETw/y+JzUwxd5vhMJ25xgAqocJwH8OivWVXuMscu7D4PFX"
    "kwlvnwpFYtTKY/6NBEYwFE56L06hJ1WaWYH3hQQNpQ2Jg/rLqPzWz7kJ5jW+UINxgsRR+yEsO8OiGueksQsOMGhSCpjbc259O8y0CzmV"
    "qeqAG1IBGpWl5mw2LAemrRbN91yxDyNpcYnaouc5y24+YiVHuOOp9VxyY38mrYcc3TlRMaRI/DrZMfONdDSoArFybMF3jm+eE5YZlFiq"
    "SI4y67VViyF1J6M+v9pc60AkUTSwKGy6gW5f33VtDfE0LBIAf6O5VQk80iq6ubyYAOcLr0kipqd/65k+AWKCff9NOm1OAAAAAElFTkSu"
    "QmCC"
)
"""docs/samples/ankle-boot.png as base64."""

LAYER = "input.scaled"

PREDICTIONS: dict[str, Any] = {
    "model": "fashion-mnist",
    "version": "1",
    "predictions": [
        {
            "classes": [
                {"label": "Ankle boot", "index": 9, "probability": 0.93926},
                {"label": "T-shirt/top", "index": 0, "probability": 0.00928},
                {"label": "Trouser", "index": 1, "probability": 0.00863},
            ]
        }
    ],
}
"""The answer to it with `top_k` = 3."""

LATENCY: dict[str, Any] = {
    "model": "fashion-mnist",
    "version": "1",
    "stages": {
        "decode": {"count": 1000.0, "p50": 0.00021, "p90": 0.00046, "p99": 0.00095},
        "queue": {"count": 1000.0, "p50": 0.00013, "p90": 0.00023, "p99": 0.00049},
        "infer": {"count": 1000.0, "p50": 0.00061, "p90": 0.00096, "p99": 0.0023},
        "encode": {"count": 1000.0, "p50": 0.00013, "p90": 0.00023, "p99": 0.00025},
    },
    "profile": {
        "provider": "CPUExecutionProvider",
        "threads": 2,
        "batches": [
            {
                "batch": 1,
                "runs": 50,
                "run_us": 320.0,
                "layers_us": 250.0,
                "layers": [
                    {
                        "name": "stem.relu",
                        "fused": ["stem.norm"],
                        "op": "Conv",
                        "us": 50.0,
                        "share": 0.2,
                    },
                    {"name": None, "fused": [], "op": "ReorderOutput", "us": 5.0, "share": 0.02},
                ],
            }
        ],
    },
}
"""What it may look like, cut short."""

CLASS_ACTIVATION: dict[str, Any] = {
    "model": "fashion-mnist",
    "version": "1",
    "label": "Ankle boot",
    "index": 9,
    "probability": 0.93926,
    "method": "cam",
    "logit": 4.48285,
    "bias": -0.16891,
    "shape": [3, 3],
    "first": [4.0, 4.0],
    "step": [8.0, 8.0],
    "values": [[-0.0141, -0.0441, 0.22921], [0.09059, 0.84499, 0.57486], [0.18021, 1.73528, 1.05482]],
}
"""The answer to it, whose class is looked for by default."""

FEATURE_MAPS: dict[str, Any] = {
    "model": "fashion-mnist",
    "version": "1",
    "images": [
        {
            "layers": [
                {
                    "name": "input.scaled",
                    "op": "Div",
                    "shape": [1, 28, 28],
                    "channels": [
                        {
                            "channel": 0,
                            "mean": -0.33612765492016106,
                            "std": 0.763198452498379,
                            "min": -0.8101983070373535,
                            "max": 2.022662878036499,
                            "zeros": 0.0,
                        }
                    ],
                }
            ]
        }
    ],
}
"""The answer to it for `LAYER`."""

WEIGHT_LAYER = "head"
