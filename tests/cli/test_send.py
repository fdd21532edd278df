"""``masivo send``: one event, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from masivo.emulator import Fault

if TYPE_CHECKING:
    from .conftest import Shell


def send(shell: Shell, *arguments: str) -> dict[str, object]:
    """Send an event and return it as it arrived, without its stamp."""
    ended = shell.masivo("send", "T", "--customer", "c", "--no-brand", *arguments)
    assert (ended.code, ended.err) == (0, "")
    event = shell.emulator.events[-1]
    return {name: value for name, value in event.items() if name != "issued_at"}


def test_outcome(shell: Shell) -> None:
    """One event arrives, and its outcome is printed."""
    ended = shell.masivo("send", "ADD_TO_CART", "--customer", "c-1", "--brand", "b-1")
    assert (ended.code, ended.err) == (0, "")
    assert "Accepted" in ended.out
    assert "200" in ended.out
    (event,) = shell.emulator.events
    assert event["type"] == "ADD_TO_CART"
    assert (event["customer_id"], event["brand_id"]) == ("c-1", "b-1")


def test_values(shell: Shell) -> None:
    """Values are JSON where they can be, else text; dots nest; an = may be in the value."""
    options = ["n=3", "f=1.5", "yes=true", "none=null", "tags=[1, 2]", 'zip="04109"', "t=a=b"]
    options += ["product.sku=A1", "product.value=19.99", "word=NaN", "empty=", "o={}"]
    event = send(shell, *(part for option in options for part in ("-d", option)))
    assert event == {
        "type": "T",
        "customer_id": "c",
        "brand_id": None,
        "n": 3,
        "f": 1.5,
        "yes": True,
        "none": None,
        "tags": [1, 2],
        "zip": "04109",
        "t": "a=b",
        "product": {"sku": "A1", "value": 19.99},
        "word": "NaN",
        "empty": "",
        "o": {},
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--no-brand", "-d", "x"], "KEY=VALUE"),
        (["--no-brand", "-d", "a=1", "-d", "a=2"], "hide"),
        (["--no-brand", "-d", "a=1", "-d", "a.b=2"], "hide"),
        (["--no-brand", "-d", "a.b=1", "-d", "a=2"], "hide"),
        (["--no-brand", "-d", "a..b=1"], "not the name of a field"),
        (["--no-brand", "-d", "customer_id=1"], "--customer"),
        (["--no-brand", "-d", "brand_id=1"], "--brand"),
        ([], "--no-brand"),
        (["--brand", "b", "--no-brand"], "--no-brand"),
    ],
)
def test_wrong_options(shell: Shell, options: list[str], said: str) -> None:
    """A wrong option is an error of use that says how to write it; nothing is sent."""
    ended = shell.masivo("send", "T", "--customer", "c", *options)
    assert ended.code == 2
    assert said in ended.err
    assert not shell.emulator.requests


def test_a_bad_event(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid event is an error before the prompt for a key."""
    monkeypatch.delenv("MASIVO_API_KEY")
    ended = shell.masivo("send", "PURCHASE", "--customer", "c", "--no-brand")
    assert ended.code == 7
    assert "reserved" in ended.err


def test_a_rejected_event(shell: Shell) -> None:
    """An event that the API rejects has its own exit code, and the reason is printed."""
    shell.emulator.reject = lambda _: "bad sku"
    ended = shell.masivo("send", "T", "--customer", "c", "--no-brand")
    assert ended.code == 7
    assert "bad sku" in ended.err


def test_json(shell: Shell) -> None:
    """Scripts get one JSON object, of a success and of a failure alike."""
    arguments = ("send", "T", "--customer", "c", "--no-brand", "--json")
    ended = shell.masivo(*arguments)
    assert ended.json()["success"] is True
    assert ended.json()["status"] == 200
    shell.emulator.fail(Fault(status=404), route="events")
    ended = shell.masivo(*arguments)
    assert ended.code == 6
    assert ended.json()["success"] is False
    assert ended.json()["error"]["status"] == 404


def test_retries(shell: Shell) -> None:
    """A passing failure is retried, as with any client."""
    shell.emulator.fail(Fault(status=503), route="events", times=2)
    send(shell)


def test_refused_key(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused key and a SERVER key have the exit codes that ``check`` gives."""
    arguments = ("send", "T", "--customer", "c", "--no-brand")
    monkeypatch.setenv("MASIVO_API_KEY", "wrong")
    assert shell.masivo(*arguments).code == 3
    monkeypatch.setenv("MASIVO_API_KEY", shell.emulator.server_key)
    assert shell.masivo(*arguments).code == 4
