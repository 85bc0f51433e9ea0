import io
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from service.api.examples import CLASS_ACTIVATION
from service.app import create_app
from service.inference.contract.card import ModelCard
from service.settings import Settings
from tests.service.conftest import Client, Serve
from tests.service.tiny import tiny_card, tiny_onnx, write_model

URL = "/v1/models/{}/class-activation"
PNG = {"Content-Type": "image/png"}
FASHION = Path(__file__).parents[3] / "models" / "fashion-mnist" / "1" / "model.onnx"
BOOT = (Path(__file__).parents[3] / "docs" / "samples" / "ankle-boot.png").read_bytes()


def spotted(
    top: int = 1, left: int = 5, size: tuple[int, int] = (8, 8), colour: tuple[int, ...] = (255, 0, 0)
) -> bytes:
    """A square of 2 of 8 in `colour` on black."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[top : top + 2, left : left + 2] = colour
    encoded = io.BytesIO()
    Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.NEAREST).save(encoded, "PNG")
    return encoded.getvalue()


async def ask(client: Client, body: bytes, model: str = "tiny", accept: str = "*/*", **query: str) -> httpx.Response:
    answer = await client.post(URL.format(model), content=body, headers={**PNG, "Accept": accept}, params=query)
    assert answer.status_code == 200, answer.text
    return answer


def curved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The tiny model with an activation behind its pooling: a head that is not linear."""
    [flatten] = [node for node in model.graph.node if node.op_type == "Flatten"]
    flatten.input[0] = "bent"
    place = list(model.graph.node).index(flatten)
    model.graph.node.insert(place, helper.make_node("Sqrt", ["pool"], ["bent"]))
    return model


def yes_or_no() -> tuple[onnx.ModelProto, ModelCard]:
    """Is there more red than blue? One score."""
    model = tiny_onnx()
    del model.graph.node[-1]
    [weights] = [tensor for tensor in model.graph.initializer if tensor.name == "weights"]
    weights.CopyFrom(numpy_helper.from_array(np.array([[20], [0], [-20]], np.float32), "weights"))
    model.graph.node.append(helper.make_node("Sigmoid", ["head"], ["probabilities"]))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    card = tiny_card(tiny_onnx()).model_copy(update={"task": "binary", "labels": ("no", "yes"), "golden": ()})
    return model, card


@pytest.mark.parametrize(("top", "left"), [(0, 0), (1, 5), (6, 2)])
async def test_the_class_is_seen_where_its_colour_is(client: Client, top: int, left: int) -> None:
    answer = (await ask(client, spotted(top, left))).json()
    values = np.array(answer["values"])
    assert (answer["model"], answer["version"], answer["label"], answer["index"]) == ("tiny", "1", "red", 0)
    assert answer["method"] == "cam"
    assert answer["shape"] == list(values.shape) == [8, 8]
    expected = np.zeros((8, 8))
    expected[top : top + 2, left : left + 2] = 20 / 64
    np.testing.assert_allclose(values, expected, atol=1e-6)


async def test_the_places_and_the_bias_add_up_to_the_logit_of_every_class(serve: Serve, models: Path) -> None:
    (models / "fashion-mnist" / "1").mkdir(parents=True)
    (models / "fashion-mnist" / "1" / "model.onnx").write_bytes(FASHION.read_bytes())
    async with serve() as client:
        for index in range(10):
            answer = (await ask(client, BOOT, "fashion-mnist", label=str(index))).json()
            assert answer["method"] == "cam"
            assert answer["index"] == index
            assert np.sum(answer["values"]) + answer["bias"] == pytest.approx(answer["logit"], abs=1e-5)
        best = (await ask(client, BOOT, "fashion-mnist")).json()
        assert (best["label"], round(best["probability"], 3)) == ("Ankle boot", 0.939)


async def test_the_label_asked_for_decides_what_is_looked_for(client: Client) -> None:
    picture = spotted(colour=(200, 0, 100))
    red, blue, third = [(await ask(client, picture, label=label)).json() for label in ("red", "blue", "2")]
    assert blue == third
    assert [found["label"] for found in (red, blue)] == ["red", "blue"]
    assert red["probability"] > blue["probability"]
    np.testing.assert_allclose(np.array(red["values"]), 2 * np.array(blue["values"]), atol=1e-6)


@pytest.mark.parametrize("batch", ["N", 1])
async def test_occlusion_where_the_head_is_not_linear(serve: Serve, models: Path, batch: str | int) -> None:
    model = curved(tiny_onnx(batch=batch))
    write_model(models / "bent" / "1" / "model.onnx", model, tiny_card(model))
    async with serve(max_queue_size=3, max_pictures=3) as client:
        answer = (await ask(client, spotted(1, 5), "bent")).json()
    values = np.array(answer["values"])
    assert (answer["method"], answer["logit"], answer["bias"]) == ("occlusion", None, None)
    assert values.shape == (8, 8)
    assert values.max() > 0.1
    down, across = divmod(int(values.argmax()), 8)
    assert down in (1, 2)
    assert across in (5, 6)
    assert np.abs(values[4:, :4]).max() < 0.05


async def test_behind_a_maximum_a_channel_counts_where_it_is_highest(serve: Serve, models: Path) -> None:
    model = tiny_onnx()
    [pool] = [node for node in model.graph.node if node.op_type == "GlobalAveragePool"]
    pool.op_type = "GlobalMaxPool"
    write_model(models / "highest" / "1" / "model.onnx", model, tiny_card(model))
    async with serve() as client:
        answer = (await ask(client, spotted(1, 5), "highest")).json()
    values = np.array(answer["values"])
    assert (answer["method"], answer["label"]) == ("cam", "red")
    assert values.sum() + answer["bias"] == pytest.approx(answer["logit"], abs=1e-6)
    places = np.argwhere(values == values.max())
    assert places.tolist() == [[1, 5], [1, 6], [2, 5], [2, 6]]


async def test_occlusion_where_the_last_layer_has_a_single_place(serve: Serve, models: Path) -> None:
    model = tiny_onnx()
    [pool] = [node for node in model.graph.node if node.op_type == "GlobalAveragePool"]
    at = list(model.graph.node).index(pool)
    small = helper.make_node("AveragePool", [pool.input[0]], ["small"], "small", kernel_shape=[8, 8])
    model.graph.node.insert(at, small)
    model.graph.node.insert(at + 1, helper.make_node("Relu", ["small"], ["bent"], "bent"))
    pool.input[0] = "bent"
    write_model(models / "one" / "1" / "model.onnx", model, tiny_card(model))
    async with serve() as client:
        assert (await ask(client, spotted(), "one")).json()["method"] == "occlusion"


async def test_a_yes_or_no_model_has_one_score_for_both_its_labels(serve: Serve, models: Path) -> None:
    write_model(models / "red" / "1" / "model.onnx", *yes_or_no())
    async with serve() as client:
        best, yes, no = [(await ask(client, spotted(), "red", **query)).json()
                         for query in ({}, {"label": "yes"}, {"label": "no"})]  # fmt: skip
    assert best == yes
    assert yes["probability"] + no["probability"] == pytest.approx(1)
    assert yes["logit"] == -no["logit"] > 0
    for found in (yes, no):
        assert np.sum(found["values"]) + found["bias"] == pytest.approx(found["logit"], abs=1e-6)


async def test_png_is_the_picture_at_its_own_size_coloured_where_the_class_is(client: Client) -> None:
    answer = await ask(client, spotted(1, 5, size=(80, 120)), accept="image/png")
    assert answer.headers["content-type"] == "image/png"
    drawn = np.asarray(Image.open(io.BytesIO(answer.content))).astype(int)
    assert drawn.shape == (80, 120, 3)
    assert drawn[20, 90, 1] > 150  # yellow on red
    assert (drawn[60:, :40] == 0).all()


FACTS = ("method", "label", "index", "probability")


async def test_npz_is_the_same_map_and_says_what_json_says(client: Client) -> None:
    found = (await ask(client, spotted())).json()
    answer = await ask(client, spotted(), accept="application/x-npz")
    arrays = np.load(io.BytesIO(answer.content), allow_pickle=False)
    for name, told in (("activation", "values"), ("first", "first"), ("step", "step")):
        np.testing.assert_array_equal(arrays[name], found[told])
    assert {name: arrays[name].item() for name in (*FACTS, "logit", "bias")} == {
        name: found[name] for name in (*FACTS, "logit", "bias")
    }


@pytest.mark.parametrize(("bent", "method"), [(False, "cam"), (True, "occlusion")])
async def test_a_picture_says_how_it_was_made(serve: Serve, models: Path, bent: bool, method: str) -> None:
    model = curved(tiny_onnx()) if bent else tiny_onnx()
    card = tiny_card(model).model_copy(update={"labels": ("rot \N{LARGE RED CIRCLE}", "grün", "blau")})
    write_model(models / "seen" / "1" / "model.onnx", model, card)
    async with serve() as client:
        for label in (None, "1"):
            query = {} if label is None else {"label": label}
            found = (await ask(client, spotted(), "seen", **query)).json()
            answer = await ask(client, spotted(), "seen", "image/png", **query)
            text = dict(Image.open(io.BytesIO(answer.content)).text)  # type: ignore[attr-defined]
            wanted = FACTS if bent else (*FACTS, "logit", "bias")
            assert text == {name: str(found[name]) for name in wanted}
            assert found["method"] == method
            told = f"method={method}, index={found['index']}, probability={found['probability']:.3f}"
            assert answer.headers["class-activation"] == told


@pytest.mark.parametrize("bent", [False, True])
async def test_the_numbers_say_where_in_the_input_they_lie(serve: Serve, models: Path, bent: bool) -> None:
    """A stride of 2 without padding before it: the centres are at 1.5, 3.5 and 5.5; hidden are single pixels."""
    model = curved(tiny_onnx()) if bent else tiny_onnx()
    [conv] = [node for node in model.graph.node if node.op_type == "Conv"]
    del conv.attribute[:]
    conv.attribute.append(helper.make_attribute("strides", [2, 1]))
    write_model(models / "strided" / "1" / "model.onnx", model, tiny_card(model))
    async with serve() as client:
        answer = (await ask(client, spotted(2, 4), "strided")).json()
    if bent:
        assert (answer["shape"], answer["first"], answer["step"]) == ([8, 8], [0.5, 0.5], [1.0, 1.0])
        return
    assert (answer["shape"], answer["first"], answer["step"]) == ([3, 6], [1.5, 1.5], [2.0, 1.0])
    places = np.argwhere(np.array(answer["values"]) > 0) * answer["step"] + answer["first"]
    assert places.tolist() == [[3.5, 4.5], [3.5, 5.5]]


async def test_a_head_on_the_input_itself_has_its_map(serve: Serve, models: Path) -> None:
    """Softmax regression: no layer in between."""
    model = tiny_onnx()
    dense = model.graph.node[-2:]
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["rows"]),
        helper.make_node("Cast", ["rows"], ["flatten"], to=onnx.TensorProto.FLOAT),
        *dense,
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    [weights] = [tensor for tensor in model.graph.initializer if tensor.name == "weights"]
    random = np.random.default_rng(0).normal(size=(192, 3)).astype(np.float32) / 1000
    weights.CopyFrom(numpy_helper.from_array(random, "weights"))
    write_model(models / "direct" / "1" / "model.onnx", model, tiny_card(model))
    async with serve() as client:
        answer = (await ask(client, spotted(1, 5), "direct")).json()
    assert (answer["method"], answer["shape"]) == ("cam", [8, 8])
    assert np.argwhere(answer["values"]).tolist() == [[1, 5], [1, 6], [2, 5], [2, 6]]


def test_the_document_says_that_it_takes_one_picture() -> None:
    document = create_app(Settings(models=Path("no models"))).openapi()
    door = document["paths"][URL.format("{model}")]["post"]
    content = door["requestBody"]["content"]
    for schema in (content["multipart/form-data"]["schema"], *content["application/json"]["schema"]["oneOf"]):
        [items] = schema["properties"].values()
        assert items["maxItems"] == 1
    assert "many" not in door["requestBody"]["description"]
    for path in (URL.format("{model}"), "/v1/models/{model}/feature-maps", "/v1/models/{model}/weights"):
        [door] = document["paths"][path].values()
        for form in ("image/png", "application/x-npz"):
            schema = door["responses"]["200"]["content"][form]["schema"]
            assert schema == {"type": "string", "format": "binary"}


async def test_it_counts_its_time_in_every_stage(client: Client) -> None:
    timing = (await ask(client, spotted())).headers["server-timing"]
    assert [part.split(";")[0].strip() for part in timing.split(",")] == ["decode", "queue", "infer", "encode", "total"]


@pytest.mark.parametrize(
    ("query", "status", "word"), [("?label=gren", 404, "green"), ("?label=3", 404, "blue"), ("?label=", 404, "red")]
)
async def test_an_unknown_label_is_told_with_the_nearest(client: Client, query: str, status: int, word: str) -> None:
    answer = await client.post(URL.format("tiny") + query, content=spotted(), headers=PNG)
    assert answer.status_code == status
    assert word in answer.json()["nearest"]


async def test_two_pictures_are_one_too_many(client: Client) -> None:
    files = [("images", ("a.png", spotted(), "image/png"))] * 2
    answer = await client.post(URL.format("tiny"), files=files)
    assert answer.status_code == 400
    assert "one picture" in answer.json()["detail"]


async def test_bad_pictures_and_answers_that_are_too_large_are_refused(serve: Serve) -> None:
    async with serve(max_answer_bytes=400, max_pixels=100) as client:
        for body, accept, status in (
            (spotted(), "*/*", 413),
            (spotted(), "application/x-npz", 413),
            (spotted(size=(20, 20)), "image/png", 413),
            (spotted()[:60], "image/png", 422),
            (b"nothing", "image/png", 422),
            (spotted(), "text/html", 406),
        ):
            answer = await client.post(URL.format("tiny"), content=body, headers={**PNG, "Accept": accept})
            assert answer.status_code == status, answer.text
        assert (await client.predict(spotted())).status_code == 200


async def test_a_model_without_a_card_says_what_is_missing(serve: Serve, models: Path) -> None:
    write_model(models / "bare" / "1" / "model.onnx", tiny_onnx(), None)
    async with serve() as client:
        for query in ("", "?label=red"):
            answer = await client.post(URL.format("bare") + query, content=spotted(), headers=PNG)
            assert answer.status_code == 422
            assert "no card" in answer.json()["detail"]


async def test_the_example_of_the_docs_is_what_the_model_answers(serve: Serve, models: Path) -> None:
    (models / "fashion-mnist" / "1").mkdir(parents=True)
    (models / "fashion-mnist" / "1" / "model.onnx").write_bytes(FASHION.read_bytes())
    async with serve() as client:
        found = (await ask(client, BOOT, "fashion-mnist")).json()
    assert found.keys() == CLASS_ACTIVATION.keys()
    for key in ("values", "logit", "bias", "probability"):
        np.testing.assert_allclose(found.pop(key), CLASS_ACTIVATION[key], atol=1e-4)
    assert found.items() <= CLASS_ACTIVATION.items()
