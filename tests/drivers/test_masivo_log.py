"""``MASIVO_LOG``: what a program prints of the client's doings, without changing its code."""

from __future__ import annotations

import io
import logging
import re
import sys
from typing import TYPE_CHECKING

import pytest

from masivo._log import _Terminal
from masivo.emulator import Fault

from .programs import run

if TYPE_CHECKING:
    from pathlib import Path

    from masivo.emulator import Emulator

PRIVATE = "private-4711"

BEGIN = f"""
import functools, logging

event = {{"type": "VIEW", "customer_id": "{PRIVATE}", "brand_id": None}}
"""

WORLDS = {
    "threads": """
with masivo.Client() as client:
    client.send_analytics_event(event)
    client.flush()
""",
    "asyncio": """
import asyncio
async def main():
    async with masivo.AsyncClient() as client:
        client.send_analytics_event(event)
        await client.flush()
asyncio.run(main())
""",
    "trio": """
import trio
async def main():
    async with masivo.TrioClient() as client:
        client.send_analytics_event(event)
        await client.flush()
trio.run(main)
""",
}
"""Sends one event, and flushes."""


NEXT = "print('--', file=sys.stderr)\n"
"""Separates what two programs print that run in one process."""


def errors_of(folder: Path, program: str, emulator: Emulator, log: str | None) -> str:
    """What a program prints to the standard error."""
    environ = {} if log is None else {"MASIVO_LOG": log}
    ended = run(folder, emulator, BEGIN + program, environ=environ)
    assert ended.code == 0, ended.err
    return ended.err


def told(stderr: str) -> list[str]:
    """The lines without time, process, and what differs between two runs."""
    lines: list[str] = []
    for line in stderr.splitlines():
        match = re.fullmatch(r"[\d-]+ [\d:,]+ \d+ ((?:DEBUG|INFO|WARNING) masivo: .*)", line)
        assert match is not None, line
        lines.append(re.sub(r"batch \w+|\d+\.\d+ s|in \d+ s|127\.0\.0\.1:\d+", "…", match[1]))
    return lines


def test_the_three_worlds_tell_the_same(tmp_path: Path, emulator: Emulator) -> None:
    """A run is told in the same lines by threads, asyncio and trio, and by no other logger: the
    HTTP library's lines are not printed, the root has neither a handler nor another level."""
    others = """
root = logging.getLogger()
assert (root.handlers, root.level) == ([], logging.WARNING)
assert logging.getLogger("httpx").getEffectiveLevel() == logging.WARNING
assert logging.getLogger("masivo").propagate
"""
    emulator.fail(Fault(status=503), route="events", number=[1, 3, 5])
    printed = errors_of(tmp_path, NEXT.join(WORLDS.values()) + others, emulator, "debug")
    # When a worker looks, before or after the flush, is a matter of the operating system.
    first, *rest = (
        sorted(line for line in told(lines) if "nothing to do" not in line)
        for lines in printed.split("--\n")
    )
    for expected in ("authorization: GET", "token: lives", "response 503", "retry 1", "due by"):
        assert any(expected in line for line in first), expected
    assert rest == [first] * 2


@pytest.mark.parametrize(
    ("log", "levels"),
    [
        pytest.param(None, set[str](), marks=pytest.mark.full),
        pytest.param("", set[str](), marks=pytest.mark.full),
        pytest.param("warning", set[str](), marks=pytest.mark.full),
        ("info", {"INFO"}),
        pytest.param(" Debug ", {"DEBUG", "INFO"}, marks=pytest.mark.full),
    ],
)
def test_the_level_is_what_it_says(
    tmp_path: Path, emulator: Emulator, log: str | None, levels: set[str]
) -> None:
    """Nothing without it; with it, lines from its level on, however it is written."""
    emulator.fail(Fault(status=503), route="events")
    lines = told(errors_of(tmp_path, WORLDS["threads"], emulator, log))
    assert {line.split()[0] for line in lines} == levels


def test_a_wrong_level_is_told(tmp_path: Path, emulator: Emulator) -> None:
    """A wrong value says what it may be, in one line, and the program runs as without it."""
    (line,) = told(errors_of(tmp_path, WORLDS["threads"], emulator, "verbose"))
    assert line == "WARNING masivo: MASIVO_LOG must be one of debug, info, warning; it is ignored"
    assert emulator.event_count == 1


def test_what_the_application_prints_is_not_printed_twice(
    tmp_path: Path, emulator: Emulator
) -> None:
    """Where the application's own handler prints a line, ours does not; a handler that would not
    (for a file, say, or of a higher level) is no reason to be silent."""
    own = "logging.basicConfig(level=logging.ERROR, format='own: %(message)s')\n"
    lines = errors_of(tmp_path, own + WORLDS["threads"], emulator, "debug").splitlines()
    assert lines
    assert all(line.startswith("own: ") for line in lines)
    own = "logging.basicConfig(filename='/dev/null')\nlogging.getLogger().addHandler(h := logging"
    own += ".StreamHandler(sys.stdout)); h.setLevel(logging.ERROR)\n"
    assert told(errors_of(tmp_path, own + WORLDS["threads"], emulator, "debug"))


def test_an_application_can_ask_by_itself(tmp_path: Path, emulator: Emulator) -> None:
    """Without the variable, ``setLevel`` and a handler of the application's do the same, also when
    the client runs already."""
    program = """
client = masivo.Client()
client.send_analytics_event(event)
client.flush()
logging.basicConfig(format="own: %(message)s")
logging.getLogger("masivo").setLevel(logging.DEBUG)
client.send_analytics_event(event)
client.close()
"""
    lines = errors_of(tmp_path, program, emulator, None).splitlines()
    assert any("due by" in line for line in lines)
    assert not any("token" in line for line in lines if "renewed" not in line)


def nasty(world: str) -> str:
    """A program whose transport repeats what it is sent, and whose addresses hold the key."""
    kind, transport = "AsyncClient", "AsyncHTTPTransport"
    if world == "threads":
        kind, transport = "Client", "HTTPTransport"
    return f"""
import httpx

class Echo(httpx.{transport}):
    count = 0

    def respond(self, request):
        Echo.count += 1
        said = repr(request.headers.raw) + request.content.decode() + str(request.url)
        if Echo.count % 3 == 0:
            raise httpx.ReadError(said, request=request)
        if Echo.count % 3 == 1 and request.method == "GET":
            return httpx.Response(200, json={{"data": "token-{PRIVATE}"}})
        return httpx.Response([401, 503, 422][Echo.count % 2], json={{"error": said}})

    def handle_request(self, request):
        return self.respond(request)

    async def handle_async_request(self, request):
        return self.respond(request)

make = dict(
    http_client=lambda: httpx.{kind}(transport=Echo()),
    api=masivo.Api(
        authorize_path="/auth/" + os.environ["MASIVO_API_KEY"],
        events_path="/events/" + os.environ["MASIVO_API_KEY"],
    ),
    max_retries=2,
)
for kind in ("Client", "AsyncClient", "TrioClient"):
    setattr(masivo, kind, functools.partial(getattr(masivo, kind), **make))
{WORLDS[world]}
"""


def test_no_secret_and_no_content_is_printed(tmp_path: Path, emulator: Emulator) -> None:
    """Neither the key, nor a token, nor anything of an event is printed, not even where the
    server, a transport's exception or an address of the caller's repeats them."""
    said = errors_of(tmp_path, NEXT.join(map(nasty, WORLDS)), emulator, "debug").split("--\n")
    assert len(said) == 3
    for printed in said:
        assert "no usable response" in printed
        assert "ReadError" in printed
        assert "/auth/[redacted]" in printed
        assert "response 401" in printed or "response 503" in printed
        for secret in (emulator.client_key, f"token-{PRIVATE}", PRIVATE):
            assert secret not in printed


def test_the_standard_error_of_the_moment_is_written_to(tmp_path: Path, emulator: Emulator) -> None:
    """What stands for the standard error may be replaced, closed, or taken away at any time: a line
    goes to the one that there is, and to none without a word."""
    program = """
import io, time
first, second = io.StringIO(), io.StringIO()
real, sys.stderr = sys.stderr, first
masivo.Client  # what MASIVO_LOG asks for is set up now
client = masivo.Client(batch_size=1)
client.send_analytics_event(event).result()
client.flush()
sys.stderr = second
first.close()
client.send_analytics_event(event).result()
client.flush()
until = time.monotonic() + 20  # a thread may write its lines after a call that they are about
while second.getvalue().count("DEBUG") <= 2 and time.monotonic() < until:
    time.sleep(0.01)
for gone in (first, None):
    sys.stderr = gone
    client.send_analytics_event(event).result()
    client.flush()
sys.stderr = real
assert second.getvalue().count("DEBUG") > 2
client.destroy()
"""
    printed = errors_of(tmp_path, program, emulator, "debug")
    assert "Logging error" not in printed
    assert "Traceback" not in printed
    assert "DEBUG" in printed


def test_a_handler_that_no_line_reaches_is_no_reason_to_be_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the application has switched ``propagate`` off, its root's handler prints nothing of
    ours."""
    printed = io.StringIO()
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", printed)
    with monkeypatch.context() as patched:
        patched.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(printed)])
        record = logging.makeLogRecord({"msg": "a line", "levelno": logging.WARNING})
        terminal.handle(record)
        assert printed.getvalue() == ""
        patched.setattr(logging.getLogger("masivo"), "propagate", False)
        terminal.handle(record)
        assert "a line" in printed.getvalue()


def test_a_line_that_cannot_be_printed_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever logs, an application to a logger below ours too, is not disturbed."""
    closed = io.StringIO()
    closed.close()
    record = logging.makeLogRecord({"msg": "a line", "levelno": logging.WARNING})
    for gone in (closed, None):
        monkeypatch.setattr(sys, "stderr", gone)
        _Terminal().emit(record)
