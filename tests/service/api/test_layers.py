from pathlib import Path

import pytest
from onnx import helper
from pydantic import TypeAdapter

from service.api.schemas import LayerTable
from tests.service.conftest import Client, Serve
from tests.service.tiny import write_tiny


async def test_the_table_tells_what_each_layer_is(client: Client) -> None:
    table = (await client.get("/v1/models/tiny/layers")).json()
    TypeAdapter(LayerTable).validate_python(table, strict=True)
    assert (table["model"], table["version"]) == ("tiny", "1")
    rows = {row["name"]: row for row in table["layers"]}
    assert list(rows) == [
        "input.float", "input.scaled", "input", "stem.conv", "stem.relu", "pool", "flatten", "head", "probabilities",
    ]  # fmt: skip
    assert rows["stem.conv"] == {
        "name": "stem.conv",
        "op": "Conv",
        "kind": "conv",
        "inputs": ["input"],
        "folded": [],
        "shape": ["N", 3, 8, 8],
        "kernel": [3, 3],
        "stride": [1, 1],
        "padding": [1, 1, 1, 1],
        "dilation": [1, 1],
        "groups": 1,
        "parameters": 3 * 3 * 3 * 3,
        "macs": 3 * 3 * 3 * 3 * 8 * 8,
        "receptive_field": {"size": 3, "step": 1, "start": -1},
        "dense_equivalent": {"dense": (3 * 8 * 8) ** 2, "shared": 15 * 15 * 3 * 3, "local": 3 * 3 * 3 * 3},
    }
    assert rows["head"]["parameters"] == rows["head"]["macs"] == 9
    assert rows["stem.relu"]["kernel"] is None
    assert rows["input"]["receptive_field"] == {"size": 1, "step": 1, "start": 0}
    assert rows["pool"]["receptive_field"] is rows["pool"]["dense_equivalent"] is None
    assert table["totals"]["dense_equivalent"] == rows["stem.conv"]["dense_equivalent"]
    assert table["totals"]["layers"] == len(rows)
    assert table["totals"]["macs"] == rows["stem.conv"]["macs"] + rows["head"]["macs"]


async def test_a_version_has_its_own_table(client: Client) -> None:
    default = await client.get("/v1/models/tiny/layers")
    assert (await client.get("/v1/models/tiny/versions/1/layers")).json() == default.json()


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("kind=conv", ["stem.conv"]),
        ("kind=conv,dense", ["stem.conv", "head"]),
        ("kind=dense&kind=pool, conv", ["stem.conv", "pool", "head"]),
        ("kind=activation", ["stem.relu", "probabilities"]),
        ("kind=norm", []),
    ],
)
async def test_kinds_narrow_the_table_and_leave_the_totals(client: Client, query: str, names: list[str]) -> None:
    whole = (await client.get("/v1/models/tiny/layers")).json()
    narrow = (await client.get(f"/v1/models/tiny/layers?{query}")).json()
    assert [row["name"] for row in narrow["layers"]] == names
    assert narrow["layers"] == [row for row in whole["layers"] if row["name"] in names]
    assert narrow["totals"] == whole["totals"]


@pytest.mark.parametrize("kind", ["convolution", "", "conv,", "plumbing"])
async def test_an_unknown_kind_is_refused_with_those_that_there_are(client: Client, kind: str) -> None:
    answer = await client.get("/v1/models/tiny/layers", params={"kind": kind})
    assert answer.status_code == 400
    assert "the kinds are: conv, norm, activation, pool, dense, all" in answer.json()["detail"]


async def test_plumbing_is_shown_only_on_request(serve: Serve, models: Path) -> None:
    plumbing = [
        helper.make_node("Shape", ["stem.relu"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["lengths"], to=1),
        helper.make_node("ReduceMax", ["lengths"], ["longest"], keepdims=0),
        helper.make_node("Div", ["stem.relu", "longest"], ["scaled"]),
    ]
    write_tiny(models / "shaped" / "1" / "model.onnx", *plumbing)
    async with serve() as client:
        usual = (await client.get("/v1/models/shaped/layers")).json()
        everything = (await client.get("/v1/models/shaped/layers?kind=all")).json()
    usual, everything = ({row["name"]: row for row in table["layers"]} for table in (usual, everything))
    assert set(everything) - set(usual) == {"shape", "lengths", "longest"}
    assert {everything[name]["kind"] for name in ("shape", "lengths", "longest")} == {"plumbing"}
    assert usual["scaled"]["inputs"] == ["stem.relu"]
    assert everything["scaled"]["inputs"] == ["stem.relu", "longest"]
