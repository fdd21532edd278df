"""The check of a body: an event is judged by itself."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from masivo import Api, MasivoValidationError
from masivo._protocol.events.encoding import encoder
from masivo._protocol.events.form import STAMP_SIZE
from masivo.protocol import Secret, configure
from masivo.relay.checking import (
    MAX_DEPTH,
    MAX_EVENTS,
    BadEventsError,
    Check,
    MalformedError,
    TooManyError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.relay.store import Event

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
LIMIT = 6_000


def _check(api: Api) -> Check:
    return Check(configure(Secret("key"), environ={}, max_event_bytes=LIMIT, api=api))


OTHER_API = Api(events_key=None, stamp_issued_at=False, max_age=None)
CHECKS = [_check(api) for api in (Api(), OTHER_API)]

SETTINGS = configure(Secret("key"), environ={})
LARGE, ENCODE = Check(SETTINGS), encoder(SETTINGS)

TEXTS = st.sampled_from(["c", "", "é", "\ud800", "PURCHASE", "VIEW", "a\nb", "\x00"])
ODD: st.SearchStrategy[Any] = st.sampled_from([None, 0, 1.5, True, [], ["c"], {}, {"a": {}}])
TIMES = st.sampled_from(
    [
        "2026-09-21T14:13:20.000Z",
        "2026-09-21T14:13:22.000Z",
        "2026-09-21T14:13:22.001Z",
        "2026-09-18T14:13:20.000Z",
        "2026-09-18T14:13:19.999Z",
        "2026-09-21T10:13:20.000-04",
        "2026-09-21T14:13:20Z",
        "2026-09-21",
        "XXXXXXXXXXXXXXXXXXXXXXXZ",
        "yesterday",
    ]
)
LONG: st.SearchStrategy[Any] = st.sampled_from(
    [
        "x",
        "x" * (2 * MAX_DEPTH),
        *("x" * (LIMIT - each) for each in range(40, 180, 10)),
        [[]] * 400,
        json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH),
    ]
)


def _mostly(usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> Any:
    return st.integers(0, 19).flatmap(lambda lot: other if lot == 0 else usual)


FIELDS = st.fixed_dictionaries(
    {
        "type": _mostly(st.just("VIEW"), TEXTS | ODD),
        "customer_id": _mostly(st.sampled_from(["a", "b", "é"]), TEXTS | ODD),
        "brand_id": _mostly(st.sampled_from([None, "b", ""]), TEXTS | ODD),
    },
    optional={"issued_at": _mostly(TIMES, TEXTS | ODD), "metadata": _mostly(ODD, LONG)},
)


@st.composite
def objects(draw: st.DrawFn) -> str:
    """An event as JSON, perhaps without a field, with one twice, or with spaces."""
    fields = [*draw(FIELDS).items()]
    lot = draw(st.integers(0, 19))
    if lot == 0:
        fields.pop(draw(st.integers(0, len(fields) - 1)))
    elif lot == 1:
        fields.append(draw(st.sampled_from(fields)))
    elif lot == 2:
        fields.append(("customer_id", draw(TEXTS | ODD)))
    space = draw(_mostly(st.just(""), st.sampled_from([" ", "\n", "\r\n", "\t"])))
    ascii_only = draw(st.booleans())
    pairs = [
        f"{space}{json.dumps(name)}:{json.dumps(value, ensure_ascii=ascii_only)}"
        for name, value in fields
    ]
    return f"{space}{{{','.join(pairs)}{space}}}"


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A body, in one of the forms that an API may have, whole or broken."""
    events = draw(st.lists(_mostly(objects(), ODD.map(json.dumps)), max_size=4))
    body = f"[{','.join(events)}]"
    if draw(st.booleans()):
        body = f'{{"events":{body}}}'
    encoded = body.encode("utf-8", "surrogatepass")
    lot = draw(st.integers(0, 19))
    at = draw(st.integers(0, len(encoded)))
    if lot == 0:
        return encoded[:at]
    if lot == 1:
        return encoded[:at] + draw(st.binary(max_size=2)) + encoded[at:]
    return encoded


def _result(check: Callable[[bytes, float], list[Event]], body: bytes) -> object:
    try:
        return check(body, NOW)
    except BadEventsError as error:
        return error.problems, error.total
    except (MalformedError, TooManyError) as error:
        return type(error), str(error)


@given(body=bodies())
@example(body=b'{"events":[]}')
@example(body=b'{"events":[],"events":[{"type":"VIEW","customer_id":"c","brand_id":null}]}')
@example(body=b'{"x":"\xff","y":1e999,"events":[]}')
def test_any_body_is_checked(body: bytes) -> None:
    """A body that is malformed raises what says so, and nothing else."""
    for check in CHECKS:
        _result(check.events, body)


@given(texts=st.lists(_mostly(objects(), ODD.map(json.dumps)), max_size=4))
@example(texts=['{"type":"VIEW","customer_id":"c","brand_id":null,"x":1e+309}', "{}"])
@example(texts=["{}", "[" * 2 * MAX_DEPTH + "]" * 2 * MAX_DEPTH])
def test_an_event_is_judged_in_the_same_way_among_others(texts: list[str]) -> None:
    """Each stored byte and each word of a problem is the same, whatever is beside the event."""
    for check, begin, end in zip(CHECKS, (b'{"events":[', b"["), (b"]}", b"]"), strict=True):
        events: list[bytes] = []
        kept: list[Event] = []
        problems: list[str] = []
        for event in (text.encode("utf-8", "surrogatepass") for text in texts):
            try:
                kept += check.events(begin + event + end, NOW)
            except BadEventsError as error:
                problems.append(error.problems[0].replace("[0]", f"[{len(events)}]", 1))
            except MalformedError:  # a lone surrogate that is escaped
                continue
            events.append(event)
        together = _result(check.events, begin + b",".join(events) + end)
        assert together == ((problems, len(events)) if problems else kept)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_an_end_of_a_line_is_a_space_between_tokens_and_no_json_in_a_text(end: str) -> None:
    """An event is one line, and no text in it is altered for that."""
    event = f'{{{end}"type":"VIEW","customer_id":"c",{end}"brand_id":null}}'
    kept = LARGE.events(f'{{"events":{end}[{event}{end}]}}'.encode(), NOW)
    space = " " * len(end)
    assert kept == [
        (f'{space}"type":"VIEW","customer_id":"c",{space}"brand_id":null}}'.encode(), "c")
    ]
    with pytest.raises(MalformedError, match="invalid character"):
        LARGE.events(f'{{"events":[{event.replace("VIEW", f"A{end}B")}]}}'.encode(), NOW)


@given(
    digits=st.sampled_from([1, 199, 200, 308, 309, 310, 4300, 4301]),
    exponent=st.sampled_from(["", ".5", "E-5", "E+4", "E+99", "E+100", "E+308", "E+309", "E-4300"]),
    first=st.sampled_from("19"),
)
def test_a_number_is_refused_where_a_client_refuses_it(
    digits: int, exponent: str, first: str
) -> None:
    """One rule: the relay takes all that ``send_analytics_event`` encodes, and no more."""
    text = f"{first * digits}{exponent}"
    plain = {"type": "VIEW", "customer_id": "c", "brand_id": None}
    body = f'{{"events":[{json.dumps(plain)[:-1]},"x":{text}}}]}}'.encode()
    refused = None
    try:
        ENCODE({**plain, "x": Decimal(text)})
    except MasivoValidationError as error:
        refused = [f"events[0]: {error.message.removeprefix('x: ')}"], 1
    found = _result(LARGE.events, body)
    assert found == refused or (refused is None and isinstance(found, list))


PLAIN = b'{"type":"VIEW","customer_id":"c","brand_id":null}'
DOUBLED = b'{"customer_id":1,"type":"VIEW","customer_id":"c","brand_id":null}'
"""A good event, beside which others are decoded by themselves: its first customer is no text."""


def _with(field: bytes) -> bytes:
    """A usual event that has one more field."""
    return PLAIN[:-1] + b"," + field + b"}"


def _padded(size: int, field: bytes = b"") -> bytes:
    """A usual event of so many bytes."""
    padded = _with(field + b'"x":""')
    return padded[:-2] + b"x" * (size - len(padded)) + padded[-2:]


def _at(text: str) -> bytes:
    return _with(b'"issued_at":"%s"' % text.encode())


def _nested(levels: int, innermost: bytes = b"") -> bytes:
    return b"[" * levels + innermost + b"]" * levels


DEEP = _nested(MAX_DEPTH)

GOOD = {
    "plain": PLAIN,
    "a text that is not ASCII": _with('"x":"é"'.encode()),
    "many levels": _with(b'"x":' + _nested(MAX_DEPTH - 1, b'"%s"' % (b"x" * 1_000))),
    "many short arrays": _with(b'"x":[%s]' % b",".join([b"[]"] * 600)),
    "the longest": _padded(LIMIT - STAMP_SIZE + 1),
    "the longest with a time": _padded(LIMIT, b'"issued_at":"yesterday",'),
    "the oldest": _at("2026-09-18T14:13:20.000Z"),
    "of this moment": _at("2026-09-21T14:13:20.000Z"),
    "as far ahead as a clock may be": _at("2026-09-21T14:13:22.000Z"),
    "with a zone": _at("2026-09-21T14:13:20-0000"),
    "an odd time, which is the API's to judge": _at("yesterday"),
    "a small number": _with(b'"x":1E-400'),
    "a large number": _with(b'"x":1e+308'),
    "an exponent of many digits": _with(b'"x":1e00000000001'),
    "many digits": _with(b'"x":' + b"9" * 4300),
    "digits in a text": _with(b'"x":"%se999"' % (b"9" * 4301)),
}

BAD = {
    "no object": (b"[]", "an event must be an object"),
    "no type": (PLAIN.replace(b"type", b"kind"), "type is missing"),
    "an empty type": (PLAIN.replace(b"VIEW", b""), "type must be a non-empty str"),
    "a reserved type": (PLAIN.replace(b"VIEW", b"PURCHASE"), "type 'PURCHASE' is reserved"),
    "an empty customer": (PLAIN.replace(b'"c"', b'""'), "customer_id must be a non-empty str"),
    "no brand": (PLAIN.replace(b"brand_id", b"brand"), "brand_id is missing"),
    "a number for a brand": (PLAIN.replace(b"null", b"1"), "brand_id must be a str"),
    "too long": (
        _padded(LIMIT - STAMP_SIZE + 2),
        f"the event is {LIMIT + 1} bytes long, more than the {LIMIT}",
    ),
    "too long with a time": (
        _padded(LIMIT + 1, b'"issued_at":"yesterday",'),
        f"the event is {LIMIT + 1} bytes long, more than the {LIMIT}",
    ),
    "too old": (_at("2026-09-18T14:13:19.999Z"), "issued_at is more than 72 hours old"),
    "ahead": (_at("2026-09-21T14:13:22.001Z"), "issued_at is 2.001 s in the future"),
    "ahead in its zone": (_at("2026-09-21T14:13:20-0400"), "issued_at is 14400.000 s in the futu"),
    "too many levels": (_with(b'"x":' + DEEP + b',"y":1'), "the event is nested too deeply"),
    "too many levels beside a few": (
        _with(b'"x":[{"y":%s},{"y":[1]},[1]]' % DEEP),
        "the event is nested too deeply",
    ),
    "no UTF-8": (_with(b'"x":"\xff"'), "a text in it is no UTF-8"),
    "a name that is no UTF-8": (_with(b'"\xff":1'), "a text in it is no UTF-8"),
    "too large a number": (_with(b'"x":-1.5E+309'), "most readers of JSON cannot"),
    "too many digits": (_with(b'"x":' + b"9" * 4301), "most readers of JSON cannot"),
    "too large a number in another form": (
        _with(b'"x":0.1e0000000310'),
        "most readers of JSON cannot",
    ),
}


def _judged(event: bytes, beside: bytes) -> Event | str:
    """What is kept of an event, or what is wrong with it."""
    try:
        return _check(Api()).events(b'{"events":[%s%s]}' % (event, beside), NOW)[0]
    except BadEventsError as error:
        return error.problems[0].removeprefix("events[0]: ")


@pytest.mark.parametrize("beside", [b"", b"," + DOUBLED], ids=["with others", "by itself"])
@pytest.mark.parametrize("event", GOOD.values(), ids=GOOD)
def test_a_good_event_is_kept_byte_for_byte(event: bytes, beside: bytes) -> None:
    """Decoded with others or by itself; without its brace where a time is to be stamped."""
    assert _judged(event, beside) == (event if b"issued_at" in event else event[1:], "c")


def test_an_api_without_stamps_gets_events_whole() -> None:
    """Where nothing is to be stamped, an event without a time keeps its brace, too."""
    for event in (PLAIN, DOUBLED):
        assert _check(OTHER_API).events(b"[%s]" % event, NOW) == [(event, "c")]


@pytest.mark.parametrize("beside", [b"", b"," + DOUBLED], ids=["with others", "by itself"])
@pytest.mark.parametrize(("event", "problem"), BAD.values(), ids=BAD)
def test_what_is_wrong_with_an_event_is_named(event: bytes, problem: str, beside: bytes) -> None:
    """In the same words, whether it is decoded with others or by itself."""
    judged = _judged(event, beside)
    assert isinstance(judged, str)
    assert judged.startswith(problem)


def test_a_usual_event_is_not_decoded_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds besides the fields that are checked costs little. Texts of any script, times
    of the days that count, and an event beside an unusual one are usual."""
    usual = [
        PLAIN,
        _with(b'"x":%s' % _nested(40, b"1.5")),
        _with('"x":"é"'.encode()),
        _padded(LIMIT - STAMP_SIZE),
        *map(_at, ("2026-09-18T14:13:20.000Z", "2026-09-21T14:13:22.000Z")),
    ]
    decoded: list[bytes] = []
    monkeypatch.setattr("masivo.relay.checking._decode", decoded.append)
    assert len(_check(Api()).events(b'{"events":[%s]}' % b",".join(usual), NOW)) == len(usual)
    assert len(_check(OTHER_API).events(b"[%s]" % b",".join(usual), NOW)) == len(usual)
    assert decoded == []
    unusual = _with('"x":"é","y":1e999'.encode())
    with pytest.raises(BadEventsError):
        CHECKS[0].events(b'{"events":[%s,%s,%s]}' % (PLAIN, unusual, PLAIN), NOW)
    assert decoded == [unusual]


def test_an_event_that_python_finds_too_deep_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some Pythons have less room for decoding than for splitting."""

    def refuse(_encoded: bytes) -> object:
        raise RecursionError

    monkeypatch.setattr("masivo.relay.checking._decode", refuse)
    assert _judged(PLAIN, b"," + DOUBLED) == "the event is nested too deeply"


@pytest.mark.parametrize(
    ("api", "body", "problem"),
    [
        (Api(), b'{"events":{}}', "The field 'events' must be an array of events"),
        (Api(), b"[]", "The field 'events' must be an array of events"),
        (Api(events_key=None), b"{}", "The body must be an array of events"),
        (Api(), b'{"events":[x]}', "The body is not JSON: JSON is malformed"),
        (Api(), b'{"\\ud800":[]}', "The body is not JSON, or holds a lone surrogate: "),
        (Api(), b'{"events":[%s]}' % _nested(1_000_000), "The body is not JSON: it is nested too"),
    ],
)
def test_what_is_wrong_with_a_body_is_named(api: Api, body: bytes, problem: str) -> None:
    """By what the API expects."""
    with pytest.raises(MalformedError) as caught:
        _check(api).events(body, NOW)
    assert str(caught.value).startswith(problem)


def test_a_batch_has_a_bounded_number_of_events() -> None:
    """One more is too many."""
    fill = [PLAIN] * MAX_EVENTS
    assert len(LARGE.events(b'{"events":[%s]}' % b",".join(fill), NOW)) == MAX_EVENTS
    with pytest.raises(TooManyError):
        LARGE.events(b'{"events":[%s]}' % b",".join([*fill, PLAIN]), NOW)
