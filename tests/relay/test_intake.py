"""The intake: the wire of the API, and nothing less than kept behind a 200."""

from __future__ import annotations

import gzip
import json
import logging
import threading
import time
import zlib
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest

from masivo import Api
from masivo.protocol import Secret, configure
from masivo.relay.bodies import MAX_BODY, Bodies, CrowdedError
from masivo.relay.checking import MAX_EVENTS, BadEventsError, Check
from masivo.relay.server import Limits

from .memory import SECRET, MemoryStore
from .relays import KEY, Answer, Running, batch, event, in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from masivo.emulator import Emulator
    from masivo.relay.store import Batch, Kept

BULK = "/behavior/events/bulk"


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Running, MemoryStore]]:
    """A relay that the tests share; each looks at what it sent itself."""
    with in_memory() as made:
        yield made


@pytest.fixture
def relay(shared: tuple[Running, MemoryStore]) -> Running:
    """A relay."""
    return shared[0]


@pytest.fixture
def store(shared: tuple[Running, MemoryStore]) -> MemoryStore:
    """Its store, empty."""
    shared[1].batches.clear()
    return shared[1]


# ── As the API does ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path", "body", "signed"),
    [
        ("GET", "/auth/authorize", None, False),
        ("POST", "/auth/authorize", b"", False),
        ("POST", BULK, batch(event(1), event(2)), True),
        ("POST", BULK, batch(event(1)), False),
        ("POST", BULK, batch(), True),
        ("POST", BULK, b'{"events": {}}', True),
        ("POST", BULK, b"[]", True),
        ("GET", BULK, None, True),
        ("DELETE", BULK, None, True),
    ],
)
def test_it_responds_as_the_api_does(
    relay: Running, emulator: Emulator, method: str, path: str, body: bytes | None, signed: bool
) -> None:
    """To what both serve, the relay's response is the emulator's, status and body."""
    answers: list[Answer] = []
    for target, key in ((relay.url, KEY), (emulator.url, emulator.client_key)):
        there = Running(target)
        headers = {"authorization": f"Bearer {there.token(key)}"} if signed else {}
        answers.append(there.ask(method, path, body, headers))
    ours, theirs = answers
    assert (ours.status, ours.document) == (theirs.status, theirs.document)
    assert ours.headers.get("allow") == theirs.headers.get("allow")


def test_a_key_that_the_relay_was_not_told_gets_no_token(relay: Running) -> None:
    """A 401 that says where the keys are, and does not show the key: the one that was given may be
    the API's, and good there."""
    for key in ("another-key", KEY + "x", KEY[:-1], "\xe9"):
        answer = relay.ask("GET", "/auth/authorize", headers={"x-api-key": key})
        assert answer.status == 401
        assert answer.document["error"] == "This relay does not know the key"
        assert "MASIVO_RELAY_KEYS" in answer.details


@pytest.mark.parametrize("path", ["/behavior/events", "/customers/1", "/", "/auth/authorize/x"])
def test_other_routes_are_the_api_s_own(relay: Running, path: str) -> None:
    """A 404 that says to call the API itself, whatever the method."""
    for method in ("GET", "POST", "PUT"):
        answer = relay.ask(method, path)
        assert answer.status == 404
        assert "API itself" in answer.details


def test_beside_the_api_there_is_nothing(relay: Running) -> None:
    """A 404 that says how ``base_url`` ends; no page."""
    answer = relay.ask("GET", "/auth/authorize", root=True)
    assert answer.status == 404
    assert answer.details.endswith("/api/storefront/v1")


def test_its_date_is_the_upstream_s_time(relay: Running, store: MemoryStore) -> None:
    """Whose clients take their stamps from it."""
    store.ahead = 3_600.0
    try:
        answers = [
            relay.ask("GET", "/auth/authorize", headers={"x-api-key": KEY}),
            relay.ask("GET", "/nowhere"),
            relay.ask("POST", BULK, b"{}"),
        ]
    finally:
        store.ahead = 0.0
    for answer in answers:
        date = parsedate_to_datetime(answer.headers["date"]).timestamp()
        assert date == pytest.approx(time.time() + 3_600, abs=30)


# ── 200 means kept ───────────────────────────────────────────────────────────────────────────


def test_events_pass_byte_for_byte(relay: Running, store: MemoryStore) -> None:
    """But for a missing ``issued_at``, for whose place the first brace goes, and line ends."""
    stamp = datetime.now(UTC).isoformat()
    stamped = f'{{ "issued_at" :"{stamp}", "type":"X","customer_id":"a", "brand_id":null }}'
    bare = '{"type":"\\u0058", "customer_id":"b", "n":1.0e2, "n":10000000000000000000000000000}'
    bare = bare[:-1] + ',"brand_id":"é"}'
    body = f'{{"events" : [ {stamped} ,\n{bare}]}}'.encode()
    assert relay.send(body).status == 200
    first, second = store.events
    assert first == (stamped.encode(), "a")
    assert second == (bare[1:].encode(), "b")


def test_an_event_over_several_lines_becomes_one(relay: Running, store: MemoryStore) -> None:
    """A store may keep one in a line; texts hold no line ends of their own."""
    body = json.dumps({"events": [event(1, note="a\nb")]}, indent=2).replace("\n", "\r\n")
    assert relay.send(body.encode()).status == 200
    ((kept, _),) = store.events
    assert b"\n" not in kept
    assert json.loads(b"{" + kept) == event(1, note="a\nb")


def test_a_batch_names_its_key_account_and_digest(relay: Running, store: MemoryStore) -> None:
    """The body without its content-encoding is what counts."""
    body = batch(event(1))
    plain = relay.send(body, headers={"idempotency-key": "k-1"})
    packed = relay.send(
        gzip.compress(body), headers={"idempotency-key": "k-1", "content-encoding": "gzip"}
    )
    other = relay.send(batch(event(2)), headers={"idempotency-key": "k-1"})
    assert (plain.status, packed.status, other.status) == (200, 200, 409)
    assert plain.document == packed.document
    assert "Idempotency-Key" in other.details
    assert len(store.batches) == 1
    assert store.batches[0].key == "k-1"
    relay.send(body)
    assert store.batches[1].key is None
    assert store.batches[0].account == store.batches[1].account


def test_nothing_is_said_before_the_store_has_kept_it() -> None:
    """A response waits for the store, however long."""
    with in_memory() as (relay, store):
        token = relay.token()
        relay.call(store.gate.clear)
        answers: list[Answer] = []
        sending = threading.Thread(
            target=lambda: answers.append(relay.send(batch(event(1)), token=token))
        )
        sending.start()
        sending.join(0.2)
        assert answers == []
        relay.call(store.gate.set)
        sending.join(20)
        assert [answer.status for answer in answers] == [200]


def test_a_full_store_is_a_429_that_says_when_to_come_again(
    relay: Running, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    """``Retry-After`` is 10 s, and nothing of the batch is kept. The log says it once, and why, and
    when there is room again."""
    store.most = 1
    try:
        answer = relay.send(batch(event(1), event(2)))
        relay.send(batch(event(1), event(2)))
    finally:
        store.most = 1_000_000
    assert (answer.status, answer.headers["retry-after"]) == (429, "10")
    assert store.events == []
    relay.send(batch(event(1)))
    relay.send(batch(event(2)))
    assert caplog.messages == [
        "the store is full, batches get a 429: it is full",
        "the store has room again",
    ]


def test_a_store_that_does_not_respond_is_a_503(relay: Running, store: MemoryStore) -> None:
    """The batch may have been kept: the response says to use the same key."""
    store.reachable = False
    try:
        answer = relay.send(batch(event(1)))
    finally:
        store.reachable = True
    assert answer.status == 503
    assert "same Idempotency-Key" in answer.details


class Broken(MemoryStore):
    """A store with a fault."""

    async def keep(self, batch: Batch) -> Kept:
        """See RelayStore."""
        raise KeyError(batch.events[0][1])


def test_a_fault_of_the_relay_is_a_500_and_a_line_without_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The line names the place in the code; the exception's text may be of an event."""
    with caplog.at_level(logging.WARNING), in_memory(Broken()) as (relay, _):
        answer = relay.send(batch(event(1, "customer-4711")))
    assert answer.status == 500
    assert "KeyError at" in caplog.text
    assert "4711" not in caplog.text + answer.body.decode()


# ── Bad events ───────────────────────────────────────────────────────────────────────────────


def issued(seconds: float) -> str:
    """A time this far from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"customer_id": "c", "brand_id": None}, "type is missing"),
        ({"type": "", "customer_id": "c", "brand_id": None}, "type must be a non-empty str"),
        ({"type": "X", "customerId": "c", "brand_id": None}, "instead of 'customerId'"),
        ({"type": "X", "customer_id": 1, "brand_id": None}, "customer_id must be"),
        ({"type": "X", "customer_id": "c"}, "brand_id is missing"),
        ({"type": "X", "customer_id": "c", "platform": "web"}, "brand_id is missing"),
        ({"type": "X", "customer_id": "c", "brand_id": 1}, "brand_id must be a str"),
        (event(type="PURCHASE"), "reserved"),
        (event(issued_at="2020-01-01"), "more than 72 hours old"),
        (event(note="x" * 262_144), "the event is 2622"),
        ([], "must be an object"),
        (None, "must be an object"),
    ],
)
def test_a_bad_event_is_a_422_that_names_it(
    relay: Running, store: MemoryStore, bad: object, words: str
) -> None:
    """By its place, with the words of ``send_analytics_event``; nothing of the batch is kept."""
    answer = relay.send(batch(event(0), bad, event(2)))
    assert answer.status == 422
    assert answer.details.startswith("events[1]: ")
    assert words in answer.details
    assert "1 of 3 events invalid" in answer.document["error"]
    assert store.events == []


@pytest.mark.parametrize(
    "text",
    [
        *(b'"\xff"', b'"\\udc00"', b"[" * 600 + b"]" * 600),
        *(b"9" * 5000, b"1e999", b"[0, -1.50E+0400]"),
    ],
    ids=["UTF-8", "surrogate", "depth", "digits", "exponent", "nested"],
)
def test_what_json_carries_and_an_event_may_not(
    relay: Running, store: MemoryStore, text: bytes
) -> None:
    """Named, too: bad UTF-8, lone surrogates, nesting beyond use, unreadable numbers."""
    good = json.dumps(event(1)).encode()
    bad = good[:-1] + b',"x":' + text + b"}"
    answer = relay.send(b'{"events":[' + good + b"," + bad + b"]}")
    assert answer.status in (400, 422)
    assert answer.status == 400 or answer.details.startswith("events[1]: ")
    assert store.events == []


@pytest.mark.parametrize(
    "good",
    [
        event(issued_at="soon"),
        event(issued_at=None),
        event(type="my type"),
        event(brand_id=""),
        event(customer_id="é\U0001f600"),
        event(note="\U0001f600"),
        event(deep={"a": [[[[{"b": [1, 2, 3]}]]]]}),
        event(numbers=[10**4000, 1e308, 5e-324, "0e999", "9" * 5000]),
    ],
)
def test_all_else_is_the_api_s_to_say(
    relay: Running, store: MemoryStore, good: dict[str, object]
) -> None:
    """A time that is none, types of one's own, any content. What the upstream's time may be off,
    an event may be ahead."""
    assert relay.send(batch(good)).status == 200
    assert len(store.events) == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-72 * 3600 - 60, "more than 72 hours old"), (-72 * 3600 + 60, ""), (60, "in the future")],
)
@pytest.mark.parametrize("offset", [0, 2])
def test_an_event_is_of_the_last_72_hours(
    relay: Running, store: MemoryStore, seconds: float, words: str, offset: int
) -> None:
    """By its ``issued_at``, in any zone and form."""
    moment = datetime.now(timezone(timedelta(hours=offset))) + timedelta(seconds=seconds)
    usual = moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for text in (moment.isoformat(), usual):
        answer = relay.send(batch(event(1, issued_at=text)))
        assert answer.status == (422 if words else 200)
        assert words in answer.body.decode()


def test_what_the_upstream_s_time_may_be_off_an_event_may_be_ahead() -> None:
    """Two seconds: ``Date`` is cut to the second, and took time to arrive."""
    check = Check(configure(Secret(KEY), environ={}))
    now = 1_800_000_000.0
    for ahead, problems in ((1.9, 0), (2.1, 1)):
        at = datetime.fromtimestamp(now + ahead, UTC).isoformat()
        try:
            check.events(batch(event(1, issued_at=at)), now)
            found = 0
        except BadEventsError as error:
            found = len(error.problems)
        assert found == problems


def test_the_upstream_s_time_decides_what_is_old(relay: Running, store: MemoryStore) -> None:
    """And what is of the future: not this machine's clock."""
    body = batch(event(issued_at=issued(600)))
    assert relay.send(body).status == 422
    store.ahead = 660.0
    try:
        token = relay.token()
        assert relay.send(body, token=token).status == 200
    finally:
        store.ahead = 0.0


def test_the_choices_of_api_hold_for_the_check() -> None:
    """``events_key``, ``reserved_types``, ``max_age`` and ``stamp_issued_at``."""
    now = time.time()
    old = event(type="PURCHASE", issued_at="2020-01-01T00:00:00.000Z")

    def check(api: Api) -> Check:
        return Check(configure(Secret(KEY), environ={}, api=api))

    free = check(Api(events_key=None, reserved_types=frozenset(), max_age=None))
    assert len(free.events(json.dumps([old]).encode(), now)) == 1
    named = check(Api(events_key="a b", stamp_issued_at=False))
    body = json.dumps({"a b": [event(1)]}).encode()
    assert [encoded[:1] for encoded, _ in named.events(body, now)] == [b"{"]
    with pytest.raises(BadEventsError) as caught:
        check(Api()).events(batch(old), now)
    assert len(caught.value.problems) == 1


def test_ten_bad_events_are_named_and_the_rest_counted(relay: Running) -> None:
    """A response stays small."""
    answer = relay.send(batch(*[event(type=None)] * 50))
    assert answer.details.count("events[") == 10
    assert answer.details.endswith("and 40 more")


# ── Bodies ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no",
        b"\xff",
        b'{"events":[',
        b'{"events":[{"a":NaN}]}',
        b'{"events":[{"a":' + b"[" * 9_000,
    ],
)
def test_a_body_that_is_no_json_is_a_400(relay: Running, store: MemoryStore, body: bytes) -> None:
    """Whatever it is; the relay goes on."""
    answer = relay.send(body)
    assert answer.status == 400
    assert "not JSON" in answer.details
    assert relay.send(batch(event(1))).status == 200


def test_a_lone_surrogate_is_named(relay: Running) -> None:
    """A reader of JSON may say only that an escape is wrong, and where. Half a pair is common where
    a text was cut."""
    cut = relay.send(b'{"events":[{"type":"\\ud83d"}]}')
    assert "not JSON, or holds a lone surrogate: " in cut.details
    assert "surrogate" not in relay.send(b'{"events":[{"type":"\\u00e9"').details


def test_a_batch_has_10_000_events_at_most(relay: Running, store: MemoryStore) -> None:
    """One more is a 413."""
    one = json.dumps(event(1)).encode()
    fits = relay.send(b'{"events":[' + b",".join([one] * MAX_EVENTS) + b"]}")
    over = relay.send(b'{"events":[' + b",".join([one] * (MAX_EVENTS + 1)) + b"]}")
    assert (fits.status, over.status) == (200, 413)
    assert len(store.events) == MAX_EVENTS


def test_a_body_has_8_mib_at_most(relay: Running, store: MemoryStore) -> None:
    """Announced or not, a longer one is a 413; so is one that becomes longer when it is
    unpacked."""
    one = json.dumps(event(1, note="x" * 200_000)).encode()
    body = b'{"events":[' + b",".join([one] * 41)
    whole = body + b" " * (MAX_BODY - len(body) - 2) + b"]}"
    assert relay.send(whole).status == 200
    assert relay.send(whole + b" ").status == 413
    assert relay.send(iter([whole, b" "])).status == 413
    packed = {"content-encoding": "gzip"}
    assert relay.send(gzip.compress(whole, 1), headers=packed).status == 200
    assert relay.send(gzip.compress(whole + b" ", 1), headers=packed).status == 413
    assert len(store.batches) == 2


def test_a_body_that_is_announced_too_long_is_not_waited_for(relay: Running) -> None:
    """The 413 comes before the body does."""
    token = relay.token()
    with relay.connect() as connection:
        connection.sendall(
            f"POST {relay.path}{BULK} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n"
            f"content-length: {MAX_BODY + 1}\r\n\r\n".encode()
        )
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_body_is_a_body(relay: Running, store: MemoryStore) -> None:
    """However small its chunks are."""
    body = batch(event(1), event(2))
    answer = relay.send(body[at : at + 1] for at in range(len(body)))
    assert answer.status == 200
    assert len(store.events) == 2


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"no gzip"),
        ("gzip", gzip.compress(batch(event(1)))[:-4]),
        ("gzip", gzip.compress(batch(event(1))) + b"more"),
        ("br", b"anything"),
        ("deflate", zlib.compress(batch(event(1)))),
    ],
    ids=["no gzip", "cut off", "something follows", "br", "deflate"],  # gzip holds the time
)
def test_a_body_that_cannot_be_unpacked_is_a_400(
    relay: Running, store: MemoryStore, encoding: str, body: bytes
) -> None:
    """Nothing of it is kept."""
    answer = relay.send(body, headers={"content-encoding": encoding})
    assert answer.status == 400
    assert "The body cannot be read" in answer.details
    assert store.events == []


def test_a_bomb_takes_no_more_memory_than_a_body(relay: Running, store: MemoryStore) -> None:
    """A gigabyte of zeros in a megabyte: unpacking ends at the bound."""
    pack = zlib.compressobj(9, wbits=31)
    first, second = (pack.compress(bytes(1 << 24)) + pack.flush(zlib.Z_FULL_FLUSH) for _ in "ab")
    bomb = first + 63 * second
    before = peak()
    assert relay.send(bomb, headers={"content-encoding": "gzip"}).status == 413
    assert peak() - before < 64 * 1024 * 1024


def peak() -> int:
    """The most memory that this process ever had, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_100_mb_are_read_past_and_answered(relay: Running, store: MemoryStore) -> None:
    """With a 413, at once: the connection serves on when the rest has come."""
    token = relay.token()
    connection = HTTPConnection("127.0.0.1", relay.port, timeout=20)
    before = peak()
    connection.request(
        "POST",
        relay.path + BULK,
        (bytes(1 << 20) for _ in range(100)),
        {"authorization": f"Bearer {token}"},
        encode_chunked=True,
    )
    response = connection.getresponse()
    response.read()
    assert response.status == 413
    connection.request("GET", "/health")
    assert connection.getresponse().status == 200
    connection.close()
    assert peak() - before < 64 * 1024 * 1024
    assert store.events == []


def test_all_bodies_together_are_bounded() -> None:
    """Past it, one more is a 503 with ``Retry-After``, and memory is given back."""
    bodies = Bodies(100)
    with bodies.reading() as first:
        bodies.take(60)
        first.taken = 60
        with pytest.raises(CrowdedError):
            bodies.take(41)
        bodies.take(40)
        bodies.give(40)
    bodies.take(100)


def test_many_large_bodies_at_once_are_not_all_in_memory() -> None:
    """Where those that wait for the store take all of it, one more is turned away, for a second."""
    large, small = batch(event(1, note="x" * 200_000)), batch(event(2))
    with in_memory(limits=Limits(memory=300_000)) as (relay, store):
        token = relay.token()
        relay.call(store.gate.clear)
        answers: list[Answer] = []
        sending = threading.Thread(target=lambda: answers.append(relay.send(large, token=token)))
        sending.start()
        deadline = time.monotonic() + 10
        while not store.waiting:
            assert time.monotonic() < deadline
        crowded = relay.send(large, token=token)
        assert (crowded.status, crowded.headers["retry-after"]) == (503, "1")
        relay.call(store.gate.set)
        sending.join(10)
        assert relay.send(large, token=token).status == 200
        assert relay.send(small, token=token).status == 200
        packed = gzip.compress(batch(event(1, note="x" * 250_000), event(2, note="x" * 250_000)))
        unpacked = relay.send(packed, token=token, headers={"content-encoding": "gzip"})
        assert unpacked.status == 503
        assert [answer.status for answer in answers] == [200]


def test_a_long_key_is_a_400(relay: Running, store: MemoryStore) -> None:
    """It would be kept for three days."""
    assert relay.send(batch(event(1)), headers={"idempotency-key": "k" * 255}).status == 200
    assert relay.send(batch(event(1)), headers={"idempotency-key": "k" * 256}).status == 400


# ── Tokens ───────────────────────────────────────────────────────────────────────────────────


def test_a_batch_needs_a_token_of_the_relay_s(relay: Running, store: MemoryStore) -> None:
    """None, the key itself, one of another secret or a changed one is a 401 that says why."""
    good = relay.token()
    head, claims, signature = good.split(".")
    for given in ("", "Bearer", f"Basic {good}", good):
        answer = relay.ask("POST", BULK, batch(event(1)), {"authorization": given})
        assert (answer.status, answer.details) == (401, "The bearer token is missing")
    for given in (KEY, "a.b.c", f"{head}.{claims}.{signature[:-2]}", f"{head}.{claims}."):
        answer = relay.send(batch(event(1)), token=given)
        assert (answer.status, answer.details) == (401, "The token is unknown")
    assert store.events == []


def test_a_token_ends_with_its_hour_and_with_its_key() -> None:
    """A stolen one is of use for an hour and a minute, or until its key leaves the list; each relay
    of the store takes it."""
    with in_memory(keys=[KEY, "second-key"]) as (first, store):
        token, second = first.token(), first.token("second-key")
        with in_memory(keys=[KEY]) as (other, _):
            assert other.send(batch(event(1)), token=token).status == 200
            answer = other.send(batch(event(1)), token=second)
            assert (answer.status, answer.details) == (401, "The API key is not valid any more")
        store.ahead = 3_655.0
        assert first.send(batch(event(1)), token=token).status == 200
        store.ahead = 3_665.0
        answer = first.send(batch(event(1)), token=token)
        assert (answer.status, answer.details) == (401, "The token has expired")
    assert SECRET.decode() not in token
    assert KEY not in token
