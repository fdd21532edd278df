"""Clients of one key, and of several
(``docs/reference/guarantees.md#clients-and-settings``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from masivo import Api, FlushResult, MasivoClosedError, MasivoError
from masivo.testing.conformance.scenario import scenario

if TYPE_CHECKING:
    from masivo.testing.conformance.run import Run


@scenario("clients-of-one-key")
def clients_share_a_token(run: Run) -> None:
    """Clients of one key share a token and one authorization; each has its own buffer, brand and
    limits."""
    one = run.client(brand_id="one", batch_size=2)
    two = run.client(brand_id="two", batch_size=100)
    run.hold(route="authorize")
    bare = {"type": "VIEW", "customer_id": "c", "platform": "web"}
    one.send(bare | {"n": 1}, bare | {"n": 2})
    two.send(bare | {"n": 3})
    run.release()
    run.sent([1, 2])
    run.pending(two.events)
    run.equal(two.flush().result(), FlushResult(1, 0), "flush")
    run.equal(one.flush().result(), FlushResult(2, 0), "flush")
    run.authorizations(1)
    run.equal([each.token for each in run.server.batches], [1, 1], "tokens")
    brands = [each["brand_id"] for batch in run.server.batches for each in batch.events]
    run.equal(brands, ["one", "one", "two"], "brands")


@scenario("clients-of-one-key")
def client_that_leaves_changes_nothing_for_others(run: Run) -> None:
    """A client that closes or is destroyed changes nothing for the other clients of its key."""
    one, two, three = run.client(), run.client(), run.client()
    for number, client in enumerate((one, two, three)):
        client.send_numbers(number)
    one.close().result()
    two.destroy()
    run.delivered(one.events)
    run.failed(two.events, MasivoClosedError)
    run.pending(three.events)
    run.equal(three.flush().result(), FlushResult(1, 0), "flush")
    run.sent([0], [2])
    run.authorizations(1)


@scenario("last-client")
def after_the_last_client_the_next_starts_fresh(run: Run) -> None:
    """The token, timer and counters of a key end with its last client."""
    for number in range(3):
        client = run.client(refresh_interval=50.0)
        run.equal(client.stats().authorizations, 0, "authorizations")
        client.send_numbers(number)
        client.close().result()
        run.authorizations(number + 1)
        run.advance(1000)
        run.authorizations(number + 1)
    run.equal([each.token for each in run.server.batches], [1, 2, 3], "tokens")


@scenario("clients-of-one-key")
def shortest_interval_counts(run: Run) -> None:
    """The shortest ``refresh_interval`` among the attached clients of a key counts."""
    slow = run.client(refresh_interval=1000.0)
    slow.get_token().result()
    fast = run.client(refresh_interval=100.0)
    run.advance(100)
    run.authorizations(2)
    run.advance(100)
    run.authorizations(3)
    fast.close().result()
    run.advance(800)
    run.authorizations(3)
    slow.close().result()


@scenario("choices-of-api")
def choices_of_api_shape_the_wire(run: Run) -> None:
    """``Api`` decides on the paths, the shape of a batch, the SDK's header and the stamps."""
    api = Api(events_path="/elsewhere", events_key=None, sdk_header=None, stamp_issued_at=False)
    client = run.client(api=api, batch_size=2)
    client.send_numbers(1, 2)
    authorization, batch = run.server.requests
    run.check("x-masivo-sdk" not in authorization.record.headers, "the header is sent")
    run.check(batch.record.path.endswith("/elsewhere"), "the path is another")
    run.equal(
        batch.record.body,
        b'[{"type":"VIEW","customer_id":"c","brand_id":null,"n":1},'
        b'{"type":"VIEW","customer_id":"c","brand_id":null,"n":2}]',
        "body",
    )
    run.failed(client.events, MasivoError, status=404)


@scenario("clients-of-one-key")
def other_accounts_are_apart(run: Run) -> None:
    """Clients that differ in ``api`` share nothing."""
    one = run.client(batch_size=1)
    two = run.client(batch_size=1, api=Api(reserved_types=frozenset()))
    run.delivered([*one.send_numbers(1), *two.send_numbers(2)])
    run.authorizations(2)
    run.equal([each.token for each in run.server.batches], [1, 2], "tokens")
    one.destroy()
    run.delivered(two.send_numbers(3))
    run.authorizations(2)
