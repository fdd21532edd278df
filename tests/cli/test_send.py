"""``masivo send``: one event, and what became of it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from masivo.emulator import Fault

if TYPE_CHECKING:
    from masivo.emulator import RecordedRequest

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
    options = ["n=3", "f=1.5", "yes=true", "none=null", "tags=[1, 2]", 'zip="10115"', "t=a=b"]
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
        "zip": "10115",
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
        (["--no-brand", "-d", "a=1", "-d", "a=2"], "-d gives a and a: one of them would hide"),
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


@pytest.mark.parametrize(
    "options",
    [
        ["T", "--customer", "c", "--no-brand", "-d", b'q="caf\xe9"'],
        ["T", "--customer", "c", "--no-brand", "-d", b"q=caf\xe9"],
        ["T", "--customer", "c", "--no-brand", "-d", b"caf\xe9=1"],
        ["T", "--customer", b"caf\xe9", "--no-brand"],
        ["T", "--customer", "c", "--brand", b"caf\xe9"],
        [b"caf\xe9", "--customer", "c", "--no-brand"],
    ],
)
def test_what_is_not_utf_8(shell: Shell, options: list[str | bytes]) -> None:
    """Bytes in another encoding, wherever they are, are an error of use; they are not sent as
    something else."""
    ended = shell.masivo("send", *map(os.fsdecode, options))
    assert ended.code == 2
    assert "caf\\udce9" in ended.err
    assert "is not valid UTF-8" in ended.err
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


def test_digits_that_should_be_text(shell: Shell) -> None:
    """A rejection that names a field with a number says how to send text; others do not."""
    options = ["-d", "product.sku=12", "-d", "product.amount=2"]
    ended = shell.masivo("send", "T", "--customer", "c", "--no-brand", *options)
    assert ended.code == 7
    assert "product.sku must be a string" in ended.err
    (advice,) = (line for line in ended.err.splitlines() if "quote it" in line)
    assert advice == """To send 12 as text, quote it: -d 'product.sku="12"'"""
    ended = shell.masivo("send", "T", "--customer", "c", "--no-brand", "-d", 'product.sku="12"')
    assert (ended.code, ended.err) == (0, "")


def test_digits_in_an_event_that_fails_for_another_reason(shell: Shell) -> None:
    """Nothing is said of a number's text where the message only has the letters of its field, or is
    about the key."""
    options = ["-d", "product.sku=12", "-d", "n=5"]
    ended = shell.masivo("send", "T", "--customer", "c", "--no-brand", *options)
    assert ended.code == 7
    assert ended.err.count("quote it") == 1
    shell.emulator.fail(401, route="authorize")
    ended = shell.masivo("send", "T", "--customer", "c", "--no-brand", "-d", "key=5")
    assert ended.code == 3
    assert "API key" in ended.err
    assert "quote it" not in ended.err


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


SEND = ["send", "T", "--customer", "c", "--no-brand", "--json"]


@pytest.mark.parametrize(
    ("arguments", "key", "code", "kind"),
    [
        (["send", "PURCHASE", *SEND[2:]], "k", 7, "MasivoValidationError"),
        (SEND, "", 2, "UsageError"),
        ([*SEND, "--base-url", "ftp://x"], "k", 2, "MasivoConfigError"),
        (["send", "T", "--json"], "k", 2, "UsageError"),
        (["send", "--json", "T", "--nonsense"], "k", 2, "UsageError"),
        ([*SEND, "--token", "s3cret"], "k", 2, "UsageError"),
        ([*SEND, "--key-file", "missing"], "k", 2, "UsageError"),
        (["check", "--json"], "", 2, "UsageError"),
        (["check", "--json", "--timeout", "x"], "k", 2, "UsageError"),
        (["import", "missing", "--json"], "k", 2, "UsageError"),
        (["import", "missing", "--json", "--dry-run"], "k", 2, "UsageError"),
        (["import", "--json"], "k", 2, "UsageError"),
        (["import", "f.jsonl", "--json"], "", 2, "UsageError"),
        (["import", "f.jsonl", "--json", "--resume", "--restart"], "k", 2, "UsageError"),
        (["import", "f.jsonl", "--json"], "two words", 2, "MasivoConfigError"),
        (["import", "f.jsonl", "--json"], "k", 3, "MasivoAuthError"),
    ],
)
def test_json_of_every_outcome(
    shell: Shell,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    key: str,
    code: int,
    kind: str,
) -> None:
    """With --json there is one object on stdout, whatever went wrong, with the error in it; and on
    stderr what is there without."""
    monkeypatch.setenv("MASIVO_API_KEY", key)
    shell.write("f.jsonl", {"type": "T", "customer_id": "c", "brand_id": None})
    ended = shell.masivo(*arguments)
    assert ended.code == code
    flag = {"send": "success", "check": "ok", "import": "complete"}[arguments[0]]
    assert ended.json()[flag] is False
    error = ended.json()["error"]
    assert sorted(error) == ["details", "kind", "message", "status"]
    assert error["kind"] == kind
    assert error["message"]
    assert error["message"].splitlines()[0] in ended.err
    assert "s3cret" not in ended.out + ended.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_json_of_an_interruption(shell: Shell, number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM is such an outcome, at once: nothing waits for the response, and its loss
    needs no further warning."""
    sent = threading.Event()
    shell.emulator.fail(Fault(delay=5), route="events")
    shell.emulator.on_request = lambda _: sent.set()
    with shell.start(*SEND) as process:
        assert sent.wait(60)
        began = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert time.monotonic() - began < 4
    assert process.returncode == 130
    error = json.loads(out)["error"]
    assert error["kind"] == "Interrupted"
    assert error["message"] == "interrupted: the event may have been accepted"
    assert err.decode() == "\nInterrupted: the event may have been accepted.\n"


def test_interrupted_with_a_spool(shell: Shell) -> None:
    """With a spool, an interruption and a failure both say that the event is kept, on stdout, too:
    whoever sends it again doubles it."""
    spool = str(shell.folder / "spool")
    sent = threading.Event()

    def slow(request: RecordedRequest) -> Fault | None:
        if request.route == "authorize":
            return None
        sent.set()
        return Fault(delay=5)

    shell.emulator.on_request = slow
    with shell.start(*SEND, environ=shell.environ(MASIVO_SPOOL=spool)) as process:
        assert sent.wait(60)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    said = json.loads(out)["error"]["message"]
    assert said == "interrupted: the event is kept in the spool, and will be sent later"
    shell.emulator.on_request = lambda _: Fault(status=401)
    ended = shell.run(*SEND, MASIVO_SPOOL=spool)
    assert ended.code == 3
    assert "the event is kept on disk" in ended.json()["error"]["message"]


def test_too_old(shell: Shell) -> None:
    """An event that is too old is a rejected one, whether the API says so or the spool's client."""
    arguments = (*SEND, "-d", "issued_at=2020-01-01T00:00:00Z")
    assert shell.run(*arguments).code == 7
    assert shell.run(*arguments, MASIVO_SPOOL=str(shell.folder / "spool")).code == 7


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
