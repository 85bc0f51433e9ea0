import json
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from prometheus_client import CollectorRegistry

from service.errors import MissingCard, ModelRejected, RunFailed
from service.inference.contract.card import ModelCard, OutputCard
from service.inference.looking.feature_maps import FeatureMaps
from service.inference.looking.layer_values import LayerValues
from service.inference.serving.batcher import MicroBatcher
from service.inference.serving.loading import Loader
from service.inference.serving.model import Model, Row, open_session, row_key
from service.inference.serving.providers import Providers
from service.metrics import Metrics
from tests.service.tiny import tiny_card, tiny_onnx, write_model, write_tiny

open_here = partial(open_session, providers=Providers.of("cpu"), threads=1)


@pytest.fixture
def loader() -> Loader:
    def batcher(name: str, version: str, model: Model) -> MicroBatcher[Row, Row]:
        observer = Metrics(CollectorRegistry()).batches(name, version)
        return MicroBatcher(model.run, key=row_key, observer=observer, max_batch_size=4, max_queue_size=8)

    return Loader(open_here, batcher, lambda proto: FeatureMaps(proto, open_here))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tiny" / "1" / "model.onnx"


def opened(model: onnx.ModelProto) -> ort.InferenceSession:
    return open_here(model.SerializeToString())


def test_a_model_that_keeps_its_promises_is_served_in_batches(loader: Loader, file: Path) -> None:
    write_tiny(file)
    served = loader.load("tiny", "1", file)
    assert served.model.batches
    assert served.card is not None
    assert served.image_card().labels == ("red", "green", "blue")
    assert served.model.provider == "CPUExecutionProvider"


def test_a_file_that_is_no_model_is_refused(loader: Loader, file: Path) -> None:
    file.parent.mkdir(parents=True)
    for content in (b"", b"no model", tiny_onnx().SerializeToString()[:-100]):
        file.write_bytes(content)
        with pytest.raises(ModelRejected, match=r"model\.onnx cannot be opened"):
            loader.load("tiny", "1", file)


def test_answers_that_differ_from_the_golden_ones_are_refused(loader: Loader, file: Path) -> None:
    model = tiny_onnx()
    card = tiny_card(model)
    golden = card.golden[1].model_copy(update={"output": tuple(value + 2e-4 for value in card.golden[1].output)})
    write_model(file, model, card.model_copy(update={"golden": (card.golden[0], golden)}))
    with pytest.raises(ModelRejected, match=r"golden input 1 gives an answer 0\.0002 off"):
        loader.load("tiny", "1", file)
    write_model(file, model, card.model_copy(update={"golden": (card.golden[0], golden), "tolerance": 1e-3}))
    assert loader.load("tiny", "1", file).model.batches


def test_golden_answers_that_are_no_numbers_are_refused(loader: Loader, file: Path) -> None:
    model = tiny_onnx()
    model.graph.initializer[2].CopyFrom(onnx.numpy_helper.from_array(np.full((3, 3), np.nan, np.float32), "weights"))
    write_model(file, model, tiny_card(tiny_onnx()))
    with pytest.raises(ModelRejected, match="golden input 0"):
        loader.load("tiny", "1", file)


def test_a_model_of_fixed_batch_is_served_one_by_one(loader: Loader, file: Path) -> None:
    write_tiny(file, batch=1)
    served = loader.load("tiny", "1", file)
    assert not served.model.batches
    feeds: list[Row] = [{"pixels": np.full((1, 8, 8, 3), value, np.uint8)} for value in (0, 200)]
    assert [outputs["probabilities"].shape for outputs in served.model.run(feeds)] == [(1, 3), (1, 3)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": ["red"]}, "labels"),
        ({"format": "convscope/99"}, "format"),
        ({"surprise": 1}, "surprise"),
        ({"output": {"name": "logits"}}, "'logits', which the graph does not have"),
    ],
)
def test_a_card_that_is_wrong_is_refused(loader: Loader, file: Path, change: dict[str, object], reason: str) -> None:
    write_model(file, tiny_onnx(), None)
    card = tiny_card(tiny_onnx()).model_dump(mode="json")
    (file.parent.parent / "card.json").write_text(json.dumps({**card, **change}))
    with pytest.raises(ModelRejected, match=reason):
        loader.load("tiny", "1", file)


def test_a_card_that_is_no_text_is_refused(loader: Loader, file: Path) -> None:
    write_model(file, tiny_onnx(), None)
    (file.parent.parent / "card.json").write_bytes('{"caf\u00e9": 1}'.encode("latin-1"))
    with pytest.raises(ModelRejected, match="its card is wrong"):
        loader.load("tiny", "1", file)


def test_a_model_that_is_served_one_by_one_says_so_by_name(
    loader: Loader, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiny(file, batch=1)
    loader.load("tiny", "1", file)
    assert "model tiny version 1 is served one input at a time: its inputs and outputs share no free" in caplog.text


def test_a_card_beside_the_versions_serves_a_file_that_has_none(loader: Loader, file: Path) -> None:
    write_model(file, tiny_onnx(), None)
    with pytest.raises(MissingCard):
        loader.load("tiny", "1", file).image_card()
    (file.parent.parent / "card.json").write_text(tiny_card(tiny_onnx()).model_dump_json())
    assert loader.load("tiny", "1", file).image_card().output.name == "probabilities"


def test_the_card_in_a_version_s_folder_counts_most_and_the_one_beside_the_versions_least(
    loader: Loader, file: Path
) -> None:
    def labelled(word: str) -> ModelCard:
        return tiny_card(tiny_onnx()).model_copy(update={"labels": (word, "green", "blue")})

    write_model(file, tiny_onnx(), None)
    (file.parent.parent / "card.json").write_text(labelled("beside").model_dump_json())
    assert loader.load("tiny", "1", file).image_card().labels[0] == "beside"
    write_model(file, tiny_onnx(), labelled("within"))
    assert loader.load("tiny", "1", file).image_card().labels[0] == "within"
    (file.parent / "card.json").write_text(labelled("own").model_dump_json())
    assert loader.load("tiny", "1", file).image_card().labels[0] == "own"


@pytest.mark.parametrize("batch", ["N", 1])
async def test_predicting_and_inferring_agree(loader: Loader, file: Path, batch: str | int) -> None:
    write_tiny(file, batch=batch)
    served = loader.load("tiny", "1", file)
    served.start()
    noise = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    rows = (await served.predict([{"pixels": pixels} for pixels in noise])).results
    feeds = [noise] if batch == "N" else [noise[index : index + 1] for index in range(3)]
    whole = [(await served.infer({"pixels": feed})).maps["probabilities"] for feed in feeds]
    await served.stop()
    single = np.stack([row["probabilities"].astype(np.float32) for row in rows])
    np.testing.assert_allclose(np.concatenate(whole), single, rtol=0, atol=1e-6)


async def test_an_answer_is_the_rows_alone_and_no_row_of_scores_is_none(loader: Loader, file: Path) -> None:
    """Its scores come only for pictures that are not black, and beside them it gives how many there are."""
    model = tiny_onnx()
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.float32), "black"))
    model.graph.node.extend(
        [
            onnx.helper.make_node("ReduceMax", ["input.float"], ["brightest"], keepdims=0),
            onnx.helper.make_node("Greater", ["brightest", "black"], ["lit"]),
            onnx.helper.make_node("Compress", ["probabilities", "lit"], ["scores"], axis=0),
            onnx.helper.make_node("Size", ["scores"], ["size"]),
        ]
    )
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["M", 3]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("size", onnx.TensorProto.INT64, []))
    card = tiny_card(tiny_onnx())
    write_model(file, model, card.model_copy(update={"output": OutputCard(name="scores")}))
    served = loader.load("tiny", "1", file)
    served.start()
    [row] = (await served.predict([{"pixels": np.full((8, 8, 3), 9, np.uint8)}])).results
    assert list(row) == ["scores"]
    with pytest.raises(RunFailed, match="no row of 'scores'"):
        await served.predict([{"pixels": np.zeros((8, 8, 3), np.uint8)}])
    await served.stop()


def whole(values: LayerValues) -> LayerValues:
    return values


async def test_looking_inside_one_by_one_equals_looking_inside_a_batch(loader: Loader, file: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    rows: list[Row] = [{"pixels": pixels} for pixels in noise]
    write_tiny(file)
    together = await loader.load("tiny", "1", file).look_inside(rows, ["stem.relu", "head"], whole)
    write_tiny(file, batch=1)
    one_by_one = await loader.load("tiny", "1", file).look_inside(rows, ["stem.relu", "head"], whole)
    for name, values in together.maps.items():
        np.testing.assert_allclose(one_by_one.maps[name], values, rtol=0, atol=1e-5)
