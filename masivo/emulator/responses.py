"""Responses of the API: status, headers and body, before anything is sent."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from masivo._protocol.wire.serving import Reply, failure

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
class Response:
    """One complete response of the API."""

    # HTTP status code.
    status: int
    # The whole body, not yet framed.
    body: bytes
    # Names and values in the order in which they are sent, without the framing.
    headers: tuple[tuple[str, str], ...]
    # The events that the API accepted with this request, in order.
    accepted: tuple[dict[str, Json], ...] = ()
    # What is wrong, if this is an error; the body says the same.
    problem: str | None = None


def encode(document: object) -> bytes:
    """Encode a document as compact UTF-8 JSON.

    Raises TypeError or ValueError for what JSON cannot carry.
    """
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def json_response(
    status: int,
    document: Mapping[str, object] | Sequence[object],
    headers: tuple[tuple[str, str], ...] = (),
    accepted: tuple[dict[str, Json], ...] = (),
) -> Response:
    """Return a response whose body is a JSON document."""
    return Response(status, encode(document), (("Content-Type", TYPE_JSON), *headers), accepted)


def error_response(
    status: int, error: str, details: str, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    """Return an error in the form of the vendor's schema: two strings, `error` and `details`."""
    return response_of(failure(status, error, details, headers))


def response_of(reply: Reply, accepted: tuple[dict[str, Json], ...] = ()) -> Response:
    """Return a reply as a response, with the events that were accepted with it."""
    response = json_response(reply.status, reply.document, reply.headers, accepted)
    return replace(response, problem=reply.problem)


def html_response() -> Response:
    """Return the HTML page, with status 200, that a wrong host or path may send."""
    return Response(200, HTML_PAGE.encode(), (("Content-Type", TYPE_HTML),))


def reason_phrase(status: int) -> str:
    """Return the standard reason phrase of a status, or an empty string for an unknown one."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
