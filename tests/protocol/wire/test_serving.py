"""The server's side of both requests: addresses, and the replies of the emulator and the relay."""

from __future__ import annotations

import pytest

from masivo._protocol.wire import requests, serving
from masivo._protocol.wire.api import PUBLIC_BASE_URL
from masivo.protocol import Api


def test_servers_expect_what_clients_send() -> None:
    """The path of the public endpoint, and for each request its method; one event alone is posted,
    as a batch is."""
    assert PUBLIC_BASE_URL.removesuffix(serving.BASE_PATH) == "https://app.masivo.ai"
    methods = dict(serving.METHODS)
    assert methods.pop("authorize") == requests.authorization(Api(), "k").method
    assert methods.pop("events") == requests.batch(Api(), "t", "k", []).method
    assert methods == {"event": "POST"}


@pytest.mark.parametrize(
    ("reply", "status", "named"),
    [
        (serving.NO_KEY, 401, "x-api-key"),
        (serving.BAD_KEY, 401, "key"),
        (serving.NO_TOKEN, 401, "token"),
        (serving.bad_token("it has expired"), 401, "it has expired"),
        (serving.malformed("it is no JSON"), 400, "it is no JSON"),
        (serving.wrong_method("POST"), 405, "POST"),
        (serving.NO_EVENTS, 422, "empty"),
        (serving.bad_events(["[0].type is missing"], 3), 422, "[0].type is missing"),
    ],
)
def test_a_failure_has_the_vendors_form(reply: serving.Reply, status: int, named: str) -> None:
    """A status, and two texts, ``error`` and ``details``, of which the second names the fault."""
    assert reply.status == status
    assert [*reply.document] == ["error", "details"]
    assert all(isinstance(text, str) and text for text in reply.document.values())
    assert named in str(reply.document["details"])
    assert reply.problem == reply.document["details"]


def test_a_wrong_method_names_the_right_one() -> None:
    """In a header, as HTTP requires."""
    assert dict(serving.wrong_method("POST").headers) == {"Allow": "POST"}


@pytest.mark.parametrize(("bad", "rest"), [(1, ""), (10, ""), (11, "; and 1 more")])
def test_a_batch_names_ten_bad_events(bad: int, rest: str) -> None:
    """And counts the others; the error names the first, and says that nothing was accepted."""
    problems = [f"[{number}] is bad" for number in range(bad)]
    reply = serving.bad_events(problems, 20)
    assert reply.document["details"] == "; ".join(problems[:10]) + rest
    error = str(reply.document["error"])
    assert error.startswith(f"[0] is bad ({bad} of 20 events ")
    assert "nothing was accepted" in error


def test_success_has_the_form_that_clients_read() -> None:
    """The token, or the number of accepted events, in ``data``."""
    assert serving.granted("t") == (200, {"data": "t"}, (), None)
    assert serving.accepted(3) == (200, {"data": {"status": "PENDING", "accepted": 3}}, (), None)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic abc", None),
        ("", None),
    ],
)
def test_a_bearer_token_is_found(header: str, token: str | None) -> None:
    """After the scheme, in any case; None where there is none."""
    assert serving.bearer(header) == token
