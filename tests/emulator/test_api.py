"""The API's responses, without a socket: keys, tokens, quota, routes, bodies."""

import base64
import json
from dataclasses import dataclass, field

import pytest

from masivo._protocol.wire.serving import BASE_PATH
from masivo.emulator.api import StorefrontApi
from masivo.emulator.responses import Json, Response

from .clients import batch, event

BULK = "/behavior/events/bulk"
SINGLE = "/behavior/events"
AUTHORIZE = "/auth/authorize"


@dataclass
class Bench:
    """An API, and the time that it sees."""

    api: StorefrontApi = field(
        default_factory=lambda: StorefrontApi(client_key="client", server_key="server")
    )
    now: float = 1_000_000.0

    def ask(self, method: str, path: str, body: bytes = b"", /, **headers: str) -> Response:
        """Send a request to a path below the base path; header names have `_` for `-`."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.api.respond(self.api.read(method, BASE_PATH + path, names, body), self.now)

    def token(self, key: str = "client") -> str:
        """Return a fresh token."""
        token = document(self.ask("GET", AUTHORIZE, x_api_key=key))["data"]
        assert isinstance(token, str)
        return token

    def send(self, token: str, body: bytes, path: str = BULK) -> Response:
        """Send a body of events."""
        return self.ask("POST", path, body, authorization=f"Bearer {token}")


def document(response: Response) -> dict[str, Json]:
    """Return the JSON object in a response."""
    value: Json = json.loads(response.body)
    assert isinstance(value, dict)
    return value


def error(response: Response) -> str:
    """Return error and details in one text; both must be strings."""
    value = document(response)
    assert isinstance(value["error"], str)
    assert isinstance(value["details"], str)
    return f"{value['error']} | {value['details']}"


def header(response: Response, name: str) -> str | None:
    """Return the value of a header."""
    return dict(response.headers).get(name)


# Keys


def test_a_client_key_gets_a_token() -> None:
    """The CLIENT key gets a token under `data`."""
    response = Bench().ask("GET", AUTHORIZE, x_api_key="client", x_masivo_sdk="client")
    assert response.status == 200
    assert document(response)["data"]


def test_a_server_key_is_refused_to_a_client_sdk() -> None:
    """With `x-masivo-sdk: client` a SERVER key is refused, with a message that says so."""
    response = Bench().ask("GET", AUTHORIZE, x_api_key="server", x_masivo_sdk="client")
    assert response.status == 401
    assert "server" in error(response)


def test_a_server_key_gets_a_token_elsewhere() -> None:
    """Without that header a SERVER key is as good as any."""
    assert Bench().ask("GET", AUTHORIZE, x_api_key="server").status == 200


@pytest.mark.parametrize("headers", [{}, {"x_api_key": "nobody"}, {"x_api_key": ""}])
def test_an_unknown_key_is_refused(headers: dict[str, str]) -> None:
    """An unknown or missing key is 401, and the text does not speak of servers."""
    response = Bench().ask("GET", AUTHORIZE, **headers)
    assert response.status == 401
    assert "server" not in error(response).lower()


# Tokens


def test_a_token_is_a_jwt_with_times_in_seconds() -> None:
    """A token has three base64url parts and whole-second `iat` and `exp` by the API's time."""
    bench = Bench(now=1_000_000.25)
    parts = bench.token().split(".")
    assert len(parts) == 3
    assert json.loads(base64.urlsafe_b64decode(parts[0] + "==")) == {"alg": "HS256", "typ": "JWT"}
    claims: dict[str, object] = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    assert claims["iat"] == 1_000_000
    assert claims["exp"] == 1_003_601


def test_opaque_tokens() -> None:
    """An opaque token has no parts, and works."""
    bench = Bench(StorefrontApi(client_key="client", server_key="server", opaque_tokens=True))
    token = bench.token()
    assert "." not in token
    assert bench.send(token, batch()).status == 200


def test_a_token_expires() -> None:
    """A token is valid until `exp`, and gets a 401 from then on."""
    bench = Bench(StorefrontApi(client_key="client", server_key="server", token_ttl=2.5))
    token = bench.token()
    bench.now += 2.499
    assert bench.send(token, batch()).status == 200
    bench.now += 0.001
    response = bench.send(token, batch())
    assert response.status == 401
    assert "expired" in error(response)


def test_tokens_can_be_revoked() -> None:
    """Revoking hits every token issued so far and none issued later."""
    bench = Bench()
    old = [bench.token(), bench.token()]
    bench.api.revoke_tokens()
    new = bench.token()
    assert [bench.send(token, batch()).status for token in (*old, new)] == [401, 401, 200]


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer "}, {"authorization": "Basic x"}]
)
def test_a_missing_token_gets_a_401(headers: dict[str, str]) -> None:
    """Without a bearer token nothing is accepted."""
    response = Bench().ask("POST", BULK, batch(), **headers)
    assert response.status == 401
    assert "missing" in error(response)
    assert response.accepted == ()


# Events


def test_a_batch_is_accepted_in_order() -> None:
    """A good batch is accepted as a whole, in its order, with a JSON response."""
    bench = Bench()
    response = bench.send(bench.token(), batch(event(n=1), event(n=2), event(n=3)))
    assert response.status == 200
    assert [each["n"] for each in response.accepted] == [1, 2, 3]
    assert document(response)["data"] == {"status": "PENDING", "accepted": 3}


def test_a_batch_with_a_bad_event_is_rejected_as_a_whole() -> None:
    """One bad event, and nothing is accepted; index and field are in the message."""
    bench = Bench()
    bad = batch(event(), event(customer_id=""), event(), event(product={"sku": 1}))
    response = bench.send(bench.token(), bad)
    assert response.status == 422
    assert response.accepted == ()
    text = error(response)
    assert text.startswith("events[1].customer_id must be")
    assert "2 of 4" in text
    assert "events[3].product.sku" in text


def test_only_the_first_bad_events_are_named() -> None:
    """A batch of bad events does not make an endless message."""
    bench = Bench()
    text = error(bench.send(bench.token(), batch(*[event(type="")] * 50)))
    assert "events[9]" in text
    assert "events[10]" not in text
    assert "and 40 more" in text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"events": {}}',
        b'{"event": []}',
        b'{"events": [NaN]}',
        b"[" * 100_000,
    ],
)
def test_a_malformed_body_is_rejected(body: bytes) -> None:
    """A body that is no JSON, or has no array of events, is 400."""
    bench = Bench()
    response = bench.send(bench.token(), body)
    assert response.status == 400
    assert error(response)


def test_an_empty_batch_is_rejected() -> None:
    """A batch holds at least one event."""
    bench = Bench()
    assert bench.send(bench.token(), b'{"events": []}').status == 422


def test_reserved_types_depend_on_the_key() -> None:
    """A reserved type is rejected with a CLIENT key's token and accepted with a SERVER key's."""
    bench = Bench()
    body = batch(event(type="PURCHASE"))
    response = bench.send(bench.token("client"), body)
    assert response.status == 422
    assert "events[0].type PURCHASE is reserved" in error(response)
    assert bench.send(bench.token("server"), body).status == 200


def test_an_event_can_be_declared_bad() -> None:
    """`reject` rejects events that the schema accepts."""

    def reject(event: dict[str, Json]) -> str | None:
        return "out of stock" if event.get("sku") == "BAD" else None

    bench = Bench()
    bench.api.reject = reject
    token = bench.token()
    assert bench.send(token, batch(event(sku="GOOD"))).status == 200
    response = bench.send(token, batch(event(sku="GOOD"), event(sku="BAD")))
    assert response.status == 422
    assert "events[1] was rejected: out of stock" in error(response)


def test_a_single_event() -> None:
    """The single route takes one event and returns an id and PENDING."""
    bench = Bench()
    response = bench.send(bench.token(), json.dumps(event()).encode(), SINGLE)
    assert response.status == 200
    assert len(response.accepted) == 1
    data = document(response)["data"]
    assert isinstance(data, dict)
    assert data["status"] == "PENDING"
    assert data["id"]


def test_a_bad_single_event() -> None:
    """A bad event on the single route is rejected with its field named."""
    bench = Bench()
    response = bench.send(bench.token(), b"{}", SINGLE)
    assert response.status == 422
    assert error(response).startswith("event.customer_id")


def test_the_bulk_route_can_be_elsewhere() -> None:
    """Route and shape of the bulk request are not documented, so they can be set."""
    api = StorefrontApi(
        client_key="client", server_key="server", events_path="/bulk", events_key=None
    )
    bench = Bench(api)
    response = bench.send(bench.token(), json.dumps([event(), event()]).encode(), "/bulk")
    assert response.status == 200
    assert len(response.accepted) == 2


# Routes


def test_unknown_routes() -> None:
    """Below the base path a wrong route is 404 with JSON; elsewhere it is an HTML page."""
    bench = Bench()
    assert bench.ask("GET", "/nothing").status == 404
    assert error(bench.ask("GET", ""))
    response = bench.api.respond(bench.api.read("POST", "/api/storefront/v1x", {}, b""), bench.now)
    assert response.status == 200
    assert response.body.startswith(b"<!doctype html>")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("POST", AUTHORIZE, "GET"), ("GET", BULK, "POST"), ("DELETE", SINGLE, "POST")],
)
def test_wrong_methods(method: str, path: str, allowed: str) -> None:
    """A wrong method is 405 and says which one is right."""
    response = Bench().ask(method, path)
    assert response.status == 405
    assert header(response, "Allow") == allowed
    assert f"Use {allowed} here" in response.body.decode()


@pytest.mark.parametrize(
    "target",
    [
        f"{BASE_PATH}/auth/authorize",
        f"{BASE_PATH}/auth/authorize?a=http://b/",
        f"http://localhost:1{BASE_PATH}/auth/authorize?x",
    ],
)
def test_targets(target: str) -> None:
    """The query does not count, and the absolute form of a target is understood."""
    assert Bench().api.route(target) == "authorize"


def test_the_date_is_the_apis_time() -> None:
    """Every response carries `Date`, cut to the second."""
    bench = Bench(now=1_000_000.9)
    assert header(bench.ask("GET", "/nothing"), "Date") == "Mon, 12 Jan 1970 13:46:40 GMT"


# Quota


def limited(quota: int) -> Bench:
    """Return a bench whose API has a daily quota."""
    return Bench(StorefrontApi(client_key="client", server_key="server", daily_quota=quota))


def test_no_quota_no_headers() -> None:
    """Without a quota there are no X-RateLimit headers."""
    assert header(Bench().ask("GET", AUTHORIZE, x_api_key="client"), "X-RateLimit-Limit") is None


def test_the_quota_counts_every_request_of_a_key() -> None:
    """Authorizations and batches, rejected ones too, count down to 429 with Retry-After."""
    bench = limited(3)
    token = bench.token()
    bench.now += 100.5
    responses = [bench.send(token, body) for body in (b"{", batch(), batch())]
    assert [response.status for response in responses] == [400, 200, 429]
    assert [header(response, "X-RateLimit-Remaining") for response in responses] == ["1", "0", "0"]
    assert {header(response, "X-RateLimit-Limit") for response in responses} == {"3"}
    assert header(responses[1], "Retry-After") is None
    assert (
        header(responses[2], "Retry-After") == header(responses[2], "X-RateLimit-Reset") == "86300"
    )
    assert responses[2].accepted == ()
    assert bench.ask("GET", AUTHORIZE, x_api_key="client").status == 429


def test_the_quota_is_per_key() -> None:
    """One key's requests do not use another's quota; unknown keys use none."""
    bench = limited(1)
    assert bench.ask("GET", AUTHORIZE, x_api_key="client").status == 200
    assert bench.ask("GET", AUTHORIZE, x_api_key="server").status == 200
    for _ in range(3):
        response = bench.ask("GET", AUTHORIZE, x_api_key="nobody")
        assert response.status == 401
        assert header(response, "X-RateLimit-Remaining") == "1"


def test_the_quota_resets() -> None:
    """A day after the key's first request it has its whole quota again."""
    bench = limited(1)
    bench.token()
    bench.now += 86_399.5
    response = bench.ask("GET", AUTHORIZE, x_api_key="client")
    assert (response.status, header(response, "Retry-After")) == (429, "1")
    bench.now += 0.5
    assert bench.ask("GET", AUTHORIZE, x_api_key="client").status == 200
