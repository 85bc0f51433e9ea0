"""Execution providers: what onnxruntime runs on. What was demanded is what is used, or there is a reason why not."""

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from service.errors import ProviderUnavailable

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
SHORT = {"cpu": CPU, "cuda": CUDA}
AUTO = "auto"


@dataclass(frozen=True)
class Providers:
    """`wanted` is the setting as it was given, `names` what onnxruntime is asked for, in order of preference."""

    wanted: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, wanted: str) -> Self:
        """Read `auto`, `cpu`, `cuda`, or a list of those and of onnxruntime's own names, separated by commas.

        Raises ProviderUnavailable, with the reason, where one that is named cannot be had on this machine.
        """
        providers = cls(wanted, _names(wanted))
        if CUDA in providers.names:
            ort.preload_dlls()  # finds CUDA's libraries where pip put them; one that is missing it only remarks upon
        providers.open(_nothing().SerializeToString())
        return providers

    def open(self, model: str | bytes, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
        """Open an ONNX file (its path, or its bytes). Raises ProviderUnavailable, else onnxruntime's own exceptions.

        Where a device cannot be opened, the CPU is tried, as onnxruntime would by itself; but that prints what it does
        to standard output, for a damaged file as well, and opens that a second time.
        """
        try:
            session = ort.InferenceSession(model, options, providers=list(self.names), enable_fallback=0)
        except (RuntimeError, ValueError):
            if self.names == (CPU,):
                raise
            session = ort.InferenceSession(model, options, providers=[CPU], enable_fallback=0)
        self.check(session)
        return session

    def check(self, session: ort.InferenceSession) -> None:
        """Make sure that a session uses every provider that was named. Raises ProviderUnavailable.

        onnxruntime falls back to the CPU with no more than a line on standard error, and lists CUDA as available even
        where it cannot start: only an open session tells.
        """
        missing = [name for name in self.names if name not in session.get_providers()]
        if missing and self.wanted != AUTO:
            raise ProviderUnavailable(f"{missing[0]} was demanded but cannot be used: {_reason(missing[0])}")


def _names(wanted: str) -> tuple[str, ...]:
    available = ort.get_available_providers()
    if wanted == AUTO:
        return tuple(name for name in (CUDA, CPU) if name in available)
    names = tuple(dict.fromkeys(SHORT.get(name.strip().lower(), name.strip()) for name in wanted.split(",")))
    for name in names:
        if name not in ort.get_all_providers():
            raise ProviderUnavailable(f"no execution provider is called {name!r}; known are auto, cpu, cuda")
        if name not in available:
            raise ProviderUnavailable(f"{name} was demanded but cannot be used: {_reason(name)}")
    return names


def _reason(name: str) -> str:
    """Why a provider cannot be used: the wrong wheel, no driver, or a library that is not there."""
    if name not in ort.get_available_providers():
        hint = "; install the extra gpu, which brings onnxruntime-gpu, in place of cpu" if name == CUDA else ""
        return f"this build of onnxruntime has no such provider{hint}"
    if name == CUDA and (driver := _load_error("libcuda.so.1")):
        return f"no NVIDIA driver was found ({driver})"
    library = (
        Path(ort.__file__).parent / "capi" / f"libonnxruntime_providers_{name[: -len('ExecutionProvider')].lower()}.so"
    )
    return (
        _load_error(str(library)) or "its libraries load, but the device cannot be opened; onnxruntime's log says why"
    )


def _load_error(library: str) -> str | None:
    try:
        ctypes.CDLL(library)
    except OSError as error:
        return str(error)
    return None


def _nothing() -> onnx.ModelProto:
    """The smallest model, to try a provider with before any real one is there."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "nothing",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
