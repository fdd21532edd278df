"""A request of the inspector as commands for a shell."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Literal
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from masivo import Api, Client

if TYPE_CHECKING:
    from masivo.emulator import Emulator


def command(emulator: Emulator, number: int) -> str:
    """The commands for a request, as the page gets them."""
    base = f"{emulator.inspector_url}inspector"
    with urlopen(f"{base}/feed?run=&after=0") as response:
        feed = json.load(response)
    serial = next(each["serial"] for each in feed["requests"] if each["number"] == number)
    with urlopen(f"{base}/curl?run={feed['run']}&request={serial}") as response:
        text: str = json.load(response)["command"]
    return text


def run(emulator: Emulator, text: str) -> str:
    """Run commands in a shell; what they print."""
    environ = {"MASIVO_BASE_URL": emulator.url, "MASIVO_API_KEY": emulator.client_key}
    done = subprocess.run(
        ["sh", "-ec", text],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_the_commands_send_it_again(emulator: Emulator, encoding: Literal["gzip"] | None) -> None:
    """With key and token of the shell's own: neither is in the text. Any text arrives as it was."""
    api = Api(content_encoding=encoding)
    with Client(emulator.client_key, base_url=emulator.url, api=api) as client:
        client.send_analytics_event(
            {"type": "END", "customer_id": 'it\'s $HOME\n"END"', "brand_id": None}
        )
    first = emulator.batches[0]
    text = command(emulator, first.number)
    assert emulator.client_key not in text
    assert first.headers["authorization"].removeprefix("Bearer ") not in text
    said = run(emulator, text)
    assert json.loads(said)
    assert emulator.batches[1].status == 200
    assert emulator.batches[1].events == first.events
    assert run(emulator, command(emulator, 1))
    assert emulator.requests[-1].route == "authorize"
    assert emulator.requests[-1].status == 200


def test_a_request_without_a_token(emulator: Emulator) -> None:
    """Its commands send none either."""
    with pytest.raises(HTTPError) as refused:
        urlopen(f"{emulator.url}/storefront/analytics/events", data=b"[]")
    refused.value.close()
    assert "TOKEN" not in command(emulator, 1)
