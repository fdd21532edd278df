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
from masivo.protocol import Secret, configure
from masivo.relay.checking import MAX_DEPTH, BadEventsError, Check, MalformedError, TooManyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from masivo.relay.store import Event

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
LIMIT = 1_500

CHECKS = [
    Check(configure(Secret("key"), environ={}, max_event_bytes=LIMIT, api=api))
    for api in (Api(), Api(events_key=None, stamp_issued_at=False, max_age=None))
]

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


@pytest.mark.parametrize(
    ("text", "is_good"),
    [
        (b'"\xc3\xa9"', True),
        (b'"\xff"', False),
        (b'{"\xff":1}', False),
        (b"1E-400", True),
        (b"1e+308", True),
        (b"-1.5E+309", False),
        (b"0.1e0000000310", False),
        (b"1e00000000001", True),
        (b"9" * 4300, True),
        (b"9" * 4301, False),
        (b'"' + b"9" * 4301 + b'e999"', True),
        (b"[" * (MAX_DEPTH - 1) + b'"' + b"x" * 1_000 + b'"' + b"]" * (MAX_DEPTH - 1), True),
        (b"[" * MAX_DEPTH + b'"' + b"x" * 1_000 + b'"' + b"]" * MAX_DEPTH, False),
    ],
)
@pytest.mark.parametrize("beside", [b"", b",{}"], ids=["decoded together", "decoded alone"])
def test_fields_that_are_not_checked_are_read_in_full(
    text: bytes, is_good: bool, beside: bytes
) -> None:
    """An event that is decoded with others is judged as one that is decoded by itself, as the event
    beside it makes it be."""
    event = b'{"type":"VIEW","customer_id":"c","brand_id":null,"x":%s}' % text
    problems: list[str] = []
    try:
        LARGE.events(b'{"events":[%s%s]}' % (event, beside), NOW)
    except BadEventsError as error:
        problems = error.problems
    assert is_good == all("events[1]" in problem for problem in problems)
