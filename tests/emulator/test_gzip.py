"""The emulator reads bodies that are compressed, within its bounds."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace

import pytest

from masivo import Api, Client
from masivo.emulator import Emulator
from masivo.emulator.api import MAX_BODY, StorefrontApi

BATCH = "/api/storefront/v1/behavior/events/bulk"
BODY = json.dumps({"events": [{"type": "A"}]}).encode()


def malformed(body: bytes, encoding: str = "gzip") -> str | None:
    """The fault that the API finds in a body."""
    api = StorefrontApi(client_key="c", server_key="s")
    return api.read("POST", BATCH, {"content-encoding": encoding}, body).malformed


def test_a_batch_arrives_compressed() -> None:
    """``content_encoding="gzip"`` compresses the body; the emulator accepts its events."""
    with Emulator() as emulator:
        api = replace(Api(), content_encoding="gzip")
        event = {"type": "ADD_TO_CART", "customer_id": "c", "brand_id": None, "note": "x" * 5_000}
        with Client(emulator.client_key, base_url=emulator.url, api=api) as client:
            client.send_analytics_event(event)
            assert client.flush().delivered == 1
        (request,) = emulator.batches
        assert request.headers["content-encoding"] == "gzip"
        assert len(request.body) < 1_000
        assert emulator.events[0]["note"] == "x" * 5_000


def test_a_compressed_body_is_read() -> None:
    """A gzip body is read as the plain one is; ``identity`` is no encoding."""
    assert malformed(zlib.compress(BODY, wbits=31)) is None
    assert malformed(BODY, "identity") is None


@pytest.mark.parametrize(
    ("body", "encoding", "fault"),
    [
        (BODY, "gzip", "not gzip"),
        (zlib.compress(BODY, wbits=31)[:-4], "gzip", "cut short"),
        (zlib.compress(BODY, wbits=31) + b"more", "gzip", "something follows"),
        (BODY, "br", "not known"),
    ],
)
def test_a_body_that_is_not_as_it_says_is_malformed(body: bytes, encoding: str, fault: str) -> None:
    """The API names the fault."""
    assert fault in (malformed(body, encoding) or "")


def test_a_compressed_body_has_a_bound() -> None:
    """The API inflates no more than its bound."""
    body = zlib.compress(bytes(MAX_BODY + 1), 1, wbits=31)
    assert "longer than" in (malformed(body) or "")
