from typing import Any

import onnxruntime as ort
import pytest

from service.errors import ProviderUnavailable
from service.inference.serving.providers import CPU, CUDA, Providers
from tests.service.tiny import tiny_onnx


def test_auto_takes_what_there_is() -> None:
    assert Providers.of("auto").names[-1] == CPU


@pytest.mark.parametrize("wanted", ["cpu", "CPU", " cpu ", CPU, "cpu,CPUExecutionProvider"])
def test_the_cpu_is_known_by_both_its_names(wanted: str) -> None:
    assert set(Providers.of(wanted).names) == {CPU}


@pytest.mark.parametrize("wanted", ["gpu", "", "cpu,", "cpu;cuda"])
def test_a_name_that_is_none_is_refused(wanted: str) -> None:
    with pytest.raises(ProviderUnavailable, match="known are auto, cpu, cuda"):
        Providers.of(wanted)


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="this build of onnxruntime has CUDA")
@pytest.mark.parametrize("wanted", ["cuda", "cuda,cpu"])
def test_cuda_without_the_wheel_for_it_says_which_to_install(wanted: str) -> None:
    with pytest.raises(ProviderUnavailable, match="has no such provider; install the extra gpu"):
        Providers.of(wanted)


def test_a_session_that_fell_back_is_refused_but_auto_takes_it() -> None:
    session = ort.InferenceSession(tiny_onnx().SerializeToString(), providers=[CPU])
    with pytest.raises(ProviderUnavailable, match="demanded but cannot be used"):
        Providers("cuda", (CUDA, CPU)).check(session)
    Providers("auto", (CUDA, CPU)).check(session)


def test_a_damaged_file_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    damaged = tiny_onnx().SerializeToString().replace(b"GlobalAveragePool", b"GlobalAveragePoo\xa2")
    with pytest.raises(ValueError, match="utf-8"):
        Providers.of("cpu").open(damaged)
    assert capfd.readouterr().out == ""


def test_a_device_that_cannot_be_opened_gives_way_to_the_cpu_unless_it_was_demanded(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real = ort.InferenceSession

    def broken(model: bytes, options: Any, *, providers: list[str], **settings: Any) -> ort.InferenceSession:
        if CUDA in providers:
            raise RuntimeError("CUDA failure 100: no CUDA-capable device is detected")
        return real(model, options, providers=providers, **settings)

    monkeypatch.setattr(ort, "InferenceSession", broken)
    model = tiny_onnx().SerializeToString()
    assert Providers("auto", (CUDA, CPU)).open(model).get_providers() == [CPU]
    with pytest.raises(ProviderUnavailable, match="demanded but cannot be used"):
        Providers("cuda", (CUDA,)).open(model)
    assert capfd.readouterr().out == ""
