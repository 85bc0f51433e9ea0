from pydantic import TypeAdapter

from service.api.schemas import LayerTable
from tests.service.conftest import Client


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
    }
    assert rows["head"]["parameters"] == rows["head"]["macs"] == 9
    assert rows["stem.relu"]["kernel"] is None
    assert table["totals"]["layers"] == len(rows)
    assert table["totals"]["macs"] == rows["stem.conv"]["macs"] + rows["head"]["macs"]


async def test_a_version_has_its_own_table(client: Client) -> None:
    default = await client.get("/v1/models/tiny/layers")
    assert (await client.get("/v1/models/tiny/versions/1/layers")).json() == default.json()
