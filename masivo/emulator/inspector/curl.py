"""A request as commands for a shell, without its key and its token: those are the shell's own."""

import shlex
from typing import Final

from masivo._protocol.wire.bodies import read_body
from masivo._protocol.wire.serving import BASE_PATH
from masivo.emulator.records import RecordedRequest

# The largest body that is read.
MAX_BODY: Final = 16_777_216

_AUTHORIZE: Final = """\
TOKEN=$(curl -s "$MASIVO_BASE_URL/auth/authorize" -H "X-API-Key: $MASIVO_API_KEY" |
  sed 's/.*"data": *"\\([^"]*\\)".*/\\1/')
"""


def command(record: RecordedRequest) -> str:
    """Return commands that send the request again.

    Raises:
        ValueError: its body is no text.
    """
    headers = record.headers
    lines: list[str] = []
    if record.method not in ("GET", "POST"):
        lines.append(f"-X {shlex.quote(record.method)}")
    if "x-api-key" in headers:
        lines.append('-H "X-API-Key: $MASIVO_API_KEY"')
    if "authorization" in headers:
        lines.append('-H "Authorization: Bearer $TOKEN"')
    for name, value in headers.items():
        if name in ("content-type", "idempotency-key"):
            lines.append(f"-H {shlex.quote(f'{name}: {value}')}")
    path = record.path
    place = f'"$MASIVO_BASE_URL"{shlex.quote(path.removeprefix(BASE_PATH))}'
    if not path.startswith(f"{BASE_PATH}/"):
        place = f'"${{MASIVO_BASE_URL%{BASE_PATH}}}"{shlex.quote(path)}'
    text = read_body(headers, record.body, MAX_BODY).decode()
    if record.body or record.method == "POST":
        lines.append(f"--data-binary @- <<'{_end(text)}'\n{text}\n{_end(text)}")
    curl = " \\\n  ".join([f"curl {place}", *lines])
    return f"{_AUTHORIZE if 'authorization' in headers else ''}{curl}\n"


def _end(text: str) -> str:
    """Return a line that is not in a text."""
    end = "END"
    while end in text.splitlines():
        end += "_"
    return end
