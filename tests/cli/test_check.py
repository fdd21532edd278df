"""``masivo check``: is this key good?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from masivo import _guesses
from masivo.emulator import Emulator, Fault

from .conftest import account

if TYPE_CHECKING:
    from .conftest import Shell


def test_a_good_key(shell: Shell) -> None:
    """A CLIENT key is good; nothing but one authorization is sent."""
    ended = shell.masivo("check")
    assert (ended.code, ended.err) == (0, "")
    assert "CLIENT key" in ended.out
    assert "reports no rate limit" in ended.out
    (request,) = shell.emulator.requests
    assert request.route == "authorize"
    assert shell.emulator.client_key not in ended.out


def test_a_variable_that_is_not_read(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning names the variable that is meant, unless an option says the same."""
    monkeypatch.setattr(_guesses, "_told", set[str]())
    monkeypatch.setenv("MASIVO_DISABLE", "1")
    said = "MASIVO_DISABLE is set, but masivo does not read it; did you mean MASIVO_DISABLED?"
    assert shell.masivo("check").err == f"masivo: {said}\n"
    monkeypatch.delenv("MASIVO_BASE_URL")
    monkeypatch.setenv("MASIVO_URL", "https://other.example/v1")
    assert shell.masivo("check", "--base-url", shell.emulator.url).err == ""


def test_limits(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits that the server reports are shown."""
    with Emulator(daily_quota=1000) as emulator:
        for name, value in account(emulator).items():
            monkeypatch.setenv(name, value)
        ended = shell.masivo("check")
        assert "Limit: 999 requests left of 1,000; it resets in " in ended.out
        assert ended.code == 0
        limits = shell.masivo("check", "--json").json()["limits"]
    assert (limits["limit"], limits["remaining"]) == (1000, 998)
    assert 86_000 < limits["reset_seconds"] <= 86_400


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "said"),
    [
        ("1000", None, None, "Limit: 1,000 requests."),
        (None, "5000", None, "Limit: 5,000 requests left."),
        ("1000", "5", "59", "Limit: 5 requests left of 1,000; it resets in 59 s."),
        (None, None, "60", "Limit: not reported; it resets in 1 min 0 s."),
        ("many", "-1", "7384", "Limit: not reported; it resets in 2 h 3 min."),
    ],
)
def test_limits_that_are_reported_in_part(
    shell: Shell, limit: str | None, remaining: str | None, reset: str | None, said: str
) -> None:
    """What the server does not report, or not as a number, is left out."""
    headers = {
        "X-RateLimit-Limit": limit,
        "X-RateLimit-Remaining": remaining,
        "X-RateLimit-Reset": reset,
    }
    shell.emulator.fail(Fault(headers=headers), route="authorize")
    assert shell.masivo("check").out.splitlines()[1] == said


def test_exhausted_limit(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is left, the limit says why, and nothing is waited for."""
    with Emulator(daily_quota=1) as emulator:
        for name, value in account(emulator).items():
            monkeypatch.setenv(name, value)
        assert shell.masivo("check").code == 0
        began = time.monotonic()
        ended = shell.masivo("check")
    assert ended.code == 6
    assert "Limit: 0 requests left of 1" in ended.err
    assert time.monotonic() - began < 5


def test_a_server_key(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SERVER key is named as one, with what to do."""
    monkeypatch.setenv("MASIVO_API_KEY", shell.emulator.server_key)
    ended = shell.masivo("check")
    assert ended.code == 4
    assert "Create one in the Masivo dashboard" in ended.err
    assert shell.emulator.server_key not in ended.err


def test_an_invalid_key(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown key is refused."""
    monkeypatch.setenv("MASIVO_API_KEY", "unknown-key-1")
    ended = shell.masivo("check")
    assert ended.code == 3
    assert "must be a CLIENT key of this account" in ended.err
    assert "unknown-key-1" not in ended.err


def test_a_key_that_cannot_be_sent(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with a blank in it is an error of use."""
    monkeypatch.setenv("MASIVO_API_KEY", "two words")
    assert shell.masivo("check").code == 2


def test_a_wrong_address(shell: Shell) -> None:
    """An address where there is no API is not taken for a refused key."""
    ended = shell.masivo("check", "--base-url", shell.emulator.url.partition("/api")[0])
    assert ended.code == 6
    assert "does not look like a response of the Masivo API" in ended.err


@pytest.mark.parametrize("url", ["http://example.com", "ftp://x", "nonsense"])
def test_an_impossible_address(shell: Shell, url: str) -> None:
    """An address that cannot be right is an error of use."""
    ended = shell.masivo("check", "--base-url", url)
    assert ended.code == 2
    assert "base_url" in ended.err


def test_no_network(shell: Shell) -> None:
    """Without a server, the message says so and where to look."""
    shell.emulator.stop()
    ended = shell.masivo("check")
    assert ended.code == 5
    assert "HTTPS_PROXY" in ended.err
    assert shell.emulator.url in ended.err


def test_it_does_not_retry(shell: Shell) -> None:
    """One attempt is enough: a failing server is reported at once."""
    shell.emulator.fail(Fault(status=503), times=None)
    ended = shell.masivo("check", "--json")
    assert ended.code == 6
    assert ended.json()["error"]["status"] == 503
    assert len(shell.emulator.requests) == 1


def test_what_a_server_says_is_harmless(shell: Shell) -> None:
    """Nothing that a server writes moves the cursor of the terminal."""
    shell.emulator.fail(
        Fault(status=401, body=b'{"error": "no\\u001b[2J", "details": "d\\u001b[31m\\nx"}')
    )
    ended = shell.masivo("check")
    assert ended.code == 3
    assert "\x1b" not in ended.err
