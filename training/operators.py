"""torchvision's compiled operators, declared where its binary cannot be loaded.

The torchvision wheel of the Python package index is built for CUDA. Beside a CPU build of torch its binary does not
load, and its import then stops with "operator torchvision::nms does not exist": it describes shapes of operators that
nobody declared. This project uses none of them (they are for detecting objects): a declaration without a kernel is
enough.
"""

import importlib.util
from pathlib import Path

import torch

SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[torch.library.Library] = []  # a declaration lives as long as its Library


def declare_missing() -> None:
    """Declare those of `SCHEMAS` that torchvision's binary does not bring. Call it before torchvision is imported."""
    _load_binary()
    missing = [name for name in SCHEMAS if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in missing:
            library.define(name + SCHEMAS[name])  # type: ignore[no-untyped-call]
        _declared.append(library)


def _load_binary() -> None:
    """Load torchvision's own binary first, as its import would: declaring an operator twice is an error."""
    package = importlib.util.find_spec("torchvision")
    for folder in (package.submodule_search_locations or ()) if package else ():
        for binary in Path(folder).glob("_C*.so"):
            try:
                torch.ops.load_library(binary)  # type: ignore[no-untyped-call]
            except OSError:
                return
