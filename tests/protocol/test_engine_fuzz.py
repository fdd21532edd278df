"""Whatever a server says, in virtual time: thousands of answers, no socket."""

from __future__ import annotations

import json
import random
import traceback
from typing import TYPE_CHECKING, TypeAlias

import pytest
from chaos.responses import BODIES, EXAMPLES, HEADERS, KEY, TOKEN, statuses
from hypothesis import given, settings
from hypothesis import strategies as st

from masivo.protocol import (
    Engine,
    Failed,
    Failure,
    Request,
    Response,
    Secret,
    SendEventResult,
    configure,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from masivo import MasivoError
    from masivo.protocol import Buffer, Delivery, Json

Said: TypeAlias = Response | Failure

RESPONSES = st.builds(Response, statuses(), st.dictionaries(*HEADERS, max_size=6), BODIES)
FAILURES = st.builds(
    Failure,
    st.text(max_size=40) | st.just(f"illegal status line: {KEY} {TOKEN}"),
    st.booleans(),
    st.none() | statuses(),
)
SAID = RESPONSES | FAILURES

MOST_POLLS = 400
"""More than any script needs."""


class Server:
    """Says what the script has it say, then behaves; it never accepts an event unsaid."""

    def __init__(self, script: list[Said]) -> None:
        self.script = script
        self.consented: set[int] = set()
        self.seen = {KEY}
        """What must not be shown: the key, and each token that a request carried."""

    def answer(self, request: Request) -> Said:
        """What becomes of a request."""
        said = self.script.pop(0) if self.script else None
        authorizing = request.method == "GET"
        if said is None:
            body = json.dumps({"data": TOKEN} if authorizing else {"data": []}).encode()
            said = Response(200, {}, body)
        if not authorizing:
            self.seen.add(dict(request.headers)["authorization"].removeprefix("Bearer "))
        if not authorizing and isinstance(said, Response) and 200 <= said.status < 300:
            document = json.loads(request.body)
            self.consented |= {each["n"] for each in document["events"]}
        return said


def texts(value: Json) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from texts(each)


def send_all(buffer: Buffer, first: int) -> list[Delivery]:
    """Send a few events."""
    return [
        buffer.send({"type": "VIEW", "customer_id": f"c{n % 3}", "brand_id": None, "n": n})
        for n in range(first, first + 9)
    ]


@pytest.mark.scaled
@settings(max_examples=EXAMPLES, deadline=None)
@given(script=st.lists(SAID, max_size=25), flights=st.sampled_from([1, 3]), seed=st.integers())
def test_whatever_is_said_each_event_has_one_outcome(
    script: list[Said], flights: int, seed: int
) -> None:
    """No answer makes ``poll`` raise, spin or hang: each event gets exactly one outcome, success
    only with a 2xx, and no error shows the key or the token."""
    now = [1000.0]
    config = configure(
        Secret(KEY),
        environ={},
        base_url="https://api.example.test/v1",
        batch_size=4,
        max_in_flight=flights,
    )
    engine = Engine(
        config.account,
        clock=lambda: now[0],
        wall_clock=lambda: 1_767_225_600.0 + now[0],
        random=random.Random(seed),
        wake=lambda: None,
    )
    server = Server(script)
    warnings: list[str] = []
    buffers = [engine.attach(config), engine.attach(config)]
    deliveries = [delivery for i, each in enumerate(buffers) for delivery in send_all(each, i * 9)]
    settled: list[int] = []
    seen: dict[int, set[str]] = {}  # what each must not show: no token of later
    tickets = [each.flush() for each in buffers]
    for _ in range(MOST_POLLS):
        output = engine.poll()
        warnings += output.warnings
        settled += [id(delivery) for each in output.settled for delivery in each.deliveries]
        for each in settled[len(seen) :]:
            seen[each] = server.seen.copy()
        for request in output.requests:
            said = server.answer(request)
            engine.hand_back(request.id, said)
        if all(ticket.outcome is not None for ticket in tickets):
            break
        if not output.requests:
            assert output.wake_at is not None, "it waits for nothing"
            assert output.wake_at > now[0]
            now[0] = output.wake_at
    else:
        raise AssertionError("it does not come to an end")
    assert sorted(settled) == sorted(id(each) for each in deliveries)
    for n, delivery in enumerate(deliveries):
        outcome = delivery.claim()
        assert isinstance(outcome, SendEventResult | Failed)
        if isinstance(outcome, SendEventResult):
            assert n in server.consented
        else:
            check_error(outcome.error, repr(delivery), seen[id(delivery)])
    for line in warnings:
        assert not any(secret in line for secret in server.seen)
        assert line.isprintable()


def check_error(error: MasivoError, shown: str, secrets: set[str]) -> None:
    """An error shows no secret, and its message is fit for a log."""
    for text in (shown, *texts(error.details), *traceback.format_exception(error)):
        assert not any(secret in text for secret in secrets), text
    assert error.message
    assert error.message.isprintable()
