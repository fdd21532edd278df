"""What the API answers: a status, headers and a body, before anything is put on a wire."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

TYPE_JSON = "application/json; charset=utf-8"
TYPE_HTML = "text/html; charset=utf-8"

# A JSON value as `json.loads` makes it.
Json = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

HTML_PAGE = (
    "<!doctype html>\n"
    '<html lang="en"><head><title>Masivo</title></head>'
    "<body><h1>Masivo</h1><p>There is no API at this address.</p></body></html>\n"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete answer of the API."""

    # HTTP status code.
    status: int
    # The whole body, not yet framed.
    body: bytes
    # Names and values in the order in which they are sent; the framing is not among them.
    headers: tuple[tuple[str, str], ...]
    # The events that the API took with this request, in order.
    accepted: tuple[dict[str, Json], ...] = ()
    # What is wrong, where this is an error; the body says it too.
    problem: str | None = None


def encode(document: object) -> bytes:
    """Encode a document as compact UTF-8 JSON.

    Raises TypeError or ValueError for what JSON cannot carry.
    """
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def json_answer(
    status: int,
    document: Mapping[str, object] | Sequence[object],
    headers: tuple[tuple[str, str], ...] = (),
    accepted: tuple[dict[str, Json], ...] = (),
) -> Answer:
    """Return an answer whose body is a JSON document."""
    return Answer(status, encode(document), (("Content-Type", TYPE_JSON), *headers), accepted)


def error_answer(
    status: int, error: str, details: str, headers: tuple[tuple[str, str], ...] = ()
) -> Answer:
    """Return an error as the vendor's schema has it: two strings, `error` and `details`."""
    answer = json_answer(status, {"error": error, "details": details}, headers)
    return replace(answer, problem=details)


def html_answer() -> Answer:
    """Return the page that a wrong host or path can answer: HTML, with status 200."""
    return Answer(200, HTML_PAGE.encode(), (("Content-Type", TYPE_HTML),))


def reason_phrase(status: int) -> str:
    """Return the standard reason phrase of a status, or an empty text for an unknown one."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
