from collections.abc import Callable

import pytest

from tests.service.conftest import Client


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("POST", "feature-maps?layer=pool&channels=0", "unknown parameter 'channels'; the nearest are: channel"),
        ("POST", "feature-maps?layer=pool&pool=max&pool=mean", "'pool' is given 2 times"),
        ("POST", "feature-maps?against=tiny&against=tiny/1", "'against' is given 2 times"),
        ("POST", "predict?topk=1", "the nearest are: top_k"),
        ("POST", "class-activation?label=red&label=blue", "'label' is given 2 times"),
        ("GET", "weights?layer=head&layer=stem.conv", "'layer' is given 2 times"),
        ("GET", "layers?kinds=conv", "the nearest are: kind"),
        ("GET", "latency?batch=1", "unknown parameter 'batch'"),
    ],
)
async def test_what_would_be_passed_over_in_silence_is_refused(
    client: Client, picture: Callable[..., bytes], method: str, path: str, said: str
) -> None:
    content = picture() if method == "POST" else None
    for prefix in ("/v1/models/tiny", "/v1/models/tiny/versions/1"):
        headers = {"Content-Type": "image/png"}
        answer = await client.request(method, f"{prefix}/{path}", content=content, headers=headers)
        assert (answer.status_code, said in answer.json()["detail"]) == (400, True), answer.text


async def test_what_may_be_given_several_times_is_taken(client: Client, picture: Callable[..., bytes]) -> None:
    path = "/v1/models/tiny/feature-maps?layer=pool&layer=stem.relu&channel=0&channel=1&pool=max"
    answer = await client.post(path, content=picture(), headers={"Content-Type": "image/png"})
    assert answer.status_code == 200
    assert (await client.get("/v1/models/tiny/layers?kind=conv&kind=dense")).status_code == 200
    assert (await client.get("/v1/models?all=1")).status_code == 400
