"""The life of a token (``docs/reference/guarantees.md#authorization``)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from masivo import MasivoAuthError, MasivoNetworkError, MasivoServerKeyError
from masivo.emulator import Fault
from masivo.testing.conformance.client import event
from masivo.testing.conformance.scenario import scenario
from masivo.testing.conformance.server import SERVER_KEY

if TYPE_CHECKING:
    from masivo.testing.conformance.run import Run


@scenario("first-authorization")
def first_event_authorizes(run: Run) -> None:
    """Nothing is sent before the first event, which authorizes at once, in the background."""
    client = run.client()
    run.advance(3600)
    run.authorizations(0)
    client.send_numbers(1)
    run.authorizations(1)
    run.equal(run.server.authorizations[0].at, 3600.0, "authorized at")
    run.sent()
    run.pending(client.events)


@scenario("first-authorization")
def authorization_is_shared(run: Run) -> None:
    """Any number of concurrent needs share one authorization."""
    client = run.client(batch_size=1)
    run.hold(route="authorize")
    calls = [client.get_token(), client.get_token()]
    client.send_numbers(1, 2)
    calls.append(client.get_token())
    run.check(all(call.pending for call in calls), "a token before there is one")
    run.release()
    tokens = {call.result() for call in calls}
    run.equal(len(tokens), 1, "tokens")
    run.delivered(client.events)
    run.authorizations(1)
    run.check(
        all(each.record.headers["authorization"][7:] in tokens for each in run.server.batches),
        "a batch with another token",
    )


@scenario("response-401")
def stale_token_is_replaced_once(run: Run) -> None:
    """A 401 discards the token; the batch is retried once, with a fresh one."""
    client = run.client(batch_size=2)
    client.get_token().result()
    run.server.emulator.revoke_tokens()
    client.send_numbers(1, 2)
    run.sent([1, 2], [1, 2])
    run.authorizations(2)
    run.equal([each.token for each in run.server.batches], [1, 2], "tokens")
    run.equal([each.key for each in run.server.batches], [1, 1], "idempotency keys")
    run.delivered(client.events)
    run.equal(client.stats().retries, 0, "retries")


@scenario("second-401")
def second_401_is_an_error(run: Run) -> None:
    """A second 401 in a row is a MasivoAuthError for all pending events, and the key rests for 30
    s."""
    client = run.client(batch_size=2)
    run.hold()
    client.send_numbers(1, 2, 3)
    other = run.client()
    other.send_numbers(4)
    run.respond(Fault(status=401))
    run.release(Fault(status=401))
    run.failed([*client.events, *other.events], MasivoAuthError, status=401)
    run.sent([1, 2], [1, 2])
    run.equal([each.token for each in run.server.batches], [1, 2], "tokens")
    run.advance(29.5)
    run.failed(client.send_numbers(5), MasivoAuthError, status=401)
    client.get_token().raises(MasivoAuthError)
    client.failures_are(1, 2, 3, 5)
    run.authorizations(2)
    run.advance(0.5)
    run.delivered(client.send_numbers(6, 7))
    run.authorizations(3)


@scenario("second-401")
def server_that_takes_none_of_its_tokens_is_not_stormed(run: Run) -> None:
    """If the API grants tokens but accepts none, an event each second costs two authorizations and
    two batches in 30 s."""
    client = run.client(batch_size=1)
    run.always(Fault(status=401))
    for number in range(61):
        run.failed(client.send_numbers(number), MasivoAuthError, status=401)
        run.advance(1)
    run.sent([0], [0], [30], [30], [60], [60])
    run.authorizations(6)


@scenario("response-401")
def rule_of_401_needs_no_retries(run: Run) -> None:
    """``max_retries=0`` does not change the rule of the 401."""
    client = run.client(batch_size=1, max_retries=0)
    run.respond(Fault(status=401))
    run.delivered(client.send_numbers(1))
    run.sent([1], [1])


@scenario("response-401", "parallel")
def several_401s_make_one_authorization(run: Run) -> None:
    """After a 401 for a token that was replaced meanwhile, the batch is retried with the current
    one."""
    client = run.client(batch_size=1, max_in_flight=2)
    client.get_token().result()
    run.hold(2)
    client.send(event(1, "a"), event(2, "b"))
    run.release(Fault(status=401))
    run.release(Fault(status=401))
    run.delivered(client.events)
    run.authorizations(2)
    run.equal(sorted(each.token for each in run.server.batches), [1, 1, 2, 2], "tokens")


@scenario("server-key")
def server_key_is_refused(run: Run) -> None:
    """A SERVER key is a MasivoServerKeyError; only the authorization is sent with it."""
    client = run.client(SERVER_KEY)
    client.send_numbers(1, 2)
    run.failed(client.events, MasivoServerKeyError, status=401)
    client.get_token().raises(MasivoServerKeyError)
    run.authorizations(1)
    run.sent()
    client.failures_are(1, 2)


@scenario("refused-key")
def refused_key_is_tried_again_after_30_s(run: Run) -> None:
    """A refused key ends all buffered events at once. New ones fail at once for 30 s; the first
    event after that tries the key again."""
    client = run.client("a-key-that-nobody-knows")
    run.hold(route="authorize")
    client.send_numbers(1, 2)
    run.pending(client.events)
    run.release()
    run.failed(client.events, MasivoAuthError, status=401)
    run.advance(29.5)
    run.failed(client.send_numbers(3), MasivoAuthError, status=401)
    run.authorizations(1)
    run.advance(0.5)
    run.failed(client.send_numbers(4), MasivoAuthError, status=401)
    run.authorizations(2)
    run.sent()
    client.failures_are(1, 2, 3, 4)


@scenario("failed-authorization")
def authorization_is_retried(run: Run) -> None:
    """A failed authorization is retried like a batch."""
    client = run.client(batch_size=1)
    run.respond(Fault(status=503), Fault.lost_response(), Fault(status=429), route="authorize")
    client.send_numbers(1)
    run.authorizations(1)
    run.pending(client.events)
    run.advance(0.5 + 1 + 2)
    run.authorizations(4)
    run.delivered(client.events)


@scenario("failed-authorization")
def authorization_is_given_up(run: Run) -> None:
    """After the last retry, the pending events fail with the last error; the next event begins
    anew."""
    client = run.client(max_retries=2)
    run.respond(*[Fault(status=503)] * 3, *[Fault(close=True)] * 3, route="authorize")
    client.send_numbers(1, 2)
    token = client.get_token()
    run.advance(1.5)
    run.failed(client.events, MasivoAuthError, status=503)
    token.raises(MasivoAuthError)
    run.authorizations(3)
    last = client.send_numbers(3)
    run.advance(30)
    run.failed(last, MasivoNetworkError)
    run.authorizations(6)
    run.sent()


@scenario("failed-authorization")
def authorization_without_a_token_is_an_error(run: Run) -> None:
    """A redirect, or a 2xx without a token, is a MasivoAuthError, and is not followed. It says
    nothing of the key, so the next event tries again, after the wait of a failure."""
    client = run.client()
    run.respond(
        Fault(status=302, headers={"Location": "/api/storefront/v1/auth/authorize"}),
        Fault(status=200, body={"token": "x"}),
        Fault.html(),
        route="authorize",
    )
    for number, status in enumerate((302, 200, 200)):
        sent = client.send_numbers(number)
        run.advance(2)
        run.failed(sent, MasivoAuthError, status=status)
        run.check("base_url" in sent[0].error().message, "the message names no cure")
    run.authorizations(3)


@scenario("renewal")
def token_is_renewed_in_the_background(run: Run) -> None:
    """The token is renewed every ``refresh_interval``; the first time after a part of it."""
    client = run.client(refresh_interval=100.0)
    client.get_token().result()
    run.advance(1000)
    times = [each.at for each in run.server.authorizations]
    run.check(10 <= times[1] <= 100, "the first renewal is not spread")
    for earlier, later in pairwise(times[1:]):
        run.check(abs(later - earlier - 100) < 1e-3, "not renewed in time")
    run.equal(len(times), 11, "authorizations")
    client.send_numbers(1)
    client.flush().result()
    run.check(
        run.batch(0).record.headers["authorization"][7:] == client.get_token().result(),
        "the batch does not carry the newest token",
    )


@scenario("renewal")
def token_is_renewed_before_it_expires(run: Run) -> None:
    """With ``refresh_interval=None`` the token is renewed 5 to 10 minutes before its own expiry,
    and a token without a known expiry never is."""
    client = run.client(refresh_interval=None)
    client.get_token().result()
    run.advance(2999)
    run.authorizations(1)
    run.advance(302)
    run.authorizations(2)
    client.destroy()
    run.respond(Fault(status=200, body={"data": "an-opaque-token"}), route="authorize")
    client = run.client(refresh_interval=None)
    run.equal(client.get_token().result(), "an-opaque-token", "token")
    run.advance(86_400)
    run.authorizations(3)


@scenario("retry-after")
def retry_after_holds_the_authorization(run: Run) -> None:
    """A ``Retry-After`` to an authorization holds it, and its retries share one wait."""
    client = run.client(batch_size=1)
    run.respond(Fault.rate_limited(retry_after=20), route="authorize")
    client.send_numbers(1)
    run.advance(19.5)
    client.send_numbers(2)
    run.authorizations(1)
    run.advance(0.5)
    run.equal([each.at for each in run.server.authorizations], [0.0, 20.0], "authorized at")
    run.delivered(client.events)


@scenario("expired-token")
def expired_token_is_not_used(run: Run) -> None:
    """A token that is known to have expired is not sent: a fresh one is fetched first."""
    client = run.client(refresh_interval=None, max_retries=0)
    client.get_token().result()
    run.always(Fault(status=503), route="authorize")
    run.advance(3601)
    client.send_numbers(1)
    call = client.flush()
    run.advance(30)
    call.result()
    run.failed(client.events, MasivoAuthError, status=503)
    run.always(None, route="authorize")
    client.send_numbers(2)
    client.flush()
    run.advance(30)
    run.delivered(client.events[1:])
    run.sent([2])


@scenario("failed-renewal")
def failed_renewal_keeps_the_token(run: Run) -> None:
    """After a failed or refused renewal the current token stays in use, and the renewal is
    retried."""
    client = run.client(refresh_interval=100.0)
    client.get_token().result()
    refused = Fault(status=401), Fault(status=503), Fault.lost_response()
    run.respond(*refused, route="authorize")
    run.advance(100)
    client.send_numbers(1)
    client.flush().result()
    run.delivered(client.events)
    run.equal(run.batch(0).token, 1, "token")
    run.advance(500)
    client.send_numbers(2)
    client.flush().result()
    run.equal(run.batch(1).token, 2, "token")
    run.delivered(client.events)
    run.equal(len(client.failures), 0, "failures")


@scenario("hidden-secrets")
def no_log_line_holds_a_secret(run: Run) -> None:
    """At no level does a log line hold the API key or a token, whatever happens to a request."""
    run.log_everything()
    client = run.client(batch_size=1)
    run.respond(Fault(status=500), Fault.lost_response(), route="authorize")
    run.respond(Fault(status=401), Fault(status=503), Fault.lost_response())
    client.send_numbers(1)
    run.advance(60.0)
    run.delivered(client.events)
    run.respond(Fault(status=401), route="authorize")
    run.server.emulator.revoke_tokens()
    client.send_numbers(2)
    run.failed(client.events[1:], MasivoAuthError, status=401)
