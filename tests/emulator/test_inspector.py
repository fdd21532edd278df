"""The inspector over real connections: what it serves, to whom, and what it leaves alone."""

import http.client
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import masivo
from masivo.emulator import Emulator, Fault, Json
from masivo.emulator.inspector import feed as feed_module

from .clients import TIMEOUT, Client, Reply, batch, connected, event, plain_socket, read_all


class Page:
    """The page as a client: one keep-alive connection, requests of its own origin."""

    def __init__(self, emulator: Emulator) -> None:
        parts = urlsplit(emulator.inspector_url)
        self.host = parts.netloc
        self.connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=TIMEOUT
        )
        self.run = ""
        self.cursor = 0

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request and read the whole response; an error must say what is wrong."""
        self.connection.request(method, path, body, dict(headers or {}))
        response = self.connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        reply = Reply(response.status, names, response.read())
        if reply.status >= 400:
            assert isinstance(reply.document["error"], str)
            assert isinstance(reply.document["details"], str)
        return reply

    def post(self, path: str, document: object, headers: Mapping[str, str] | None = None) -> Reply:
        """Post a JSON document, as the page's own script does; `headers` replace its own."""
        own = {"Origin": f"http://{self.host}", "Content-Type": "application/json"}
        return self.request("POST", path, json.dumps(document).encode(), own | dict(headers or {}))

    def poll(self) -> dict[str, Json]:
        """Ask for what is new."""
        reply = self.request("GET", f"/inspector/feed?run={self.run}&after={self.cursor}")
        assert reply.status == 200, reply.body
        news = reply.document
        assert isinstance(news["run"], str)
        assert isinstance(news["cursor"], int)
        self.run, self.cursor = news["run"], news["cursor"]
        return news

    def rows(self) -> list[dict[str, Json]]:
        """Ask for what is new, and return the requests in it."""
        rows = self.poll()["requests"]
        assert isinstance(rows, list)
        return [row for row in rows if isinstance(row, dict)]


@pytest.fixture
def page(emulator: Emulator) -> Iterator[Page]:
    """A page of the running emulator."""
    page = Page(emulator)
    yield page
    page.connection.close()


# What it serves


@pytest.mark.parametrize(
    ("path", "content_type", "part"),
    [
        ("/", "text/html", b"<h1>Masivo emulator"),
        ("/?x=1", "text/html", b"<h1>Masivo emulator"),
        ("/inspector/page.css", "text/css", b"prefers-color-scheme"),
        ("/inspector/page.js", "text/javascript", b"/inspector/"),
        ("/inspector/icon.svg", "image/svg+xml", b"<svg"),
    ],
)
def test_the_files_of_the_page(page: Page, path: str, content_type: str, part: bytes) -> None:
    """The page and what it loads come from the emulator; its policy allows nothing else."""
    reply = page.request("GET", path)
    assert reply.status == 200
    assert reply.headers["content-type"].startswith(content_type)
    assert part in reply.body
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in reply.headers


def test_its_address(emulator: Emulator) -> None:
    """The address is the root of the emulator's own; a stopped one that never ran has none."""
    assert emulator.inspector_url == emulator.url.removesuffix("api/storefront/v1")
    with pytest.raises(RuntimeError):
        _ = Emulator().inspector_url


def test_it_is_no_request_of_the_api() -> None:
    """Requests of the page are not recorded, numbered, counted or reported, and get no fault."""
    told: list[object] = []
    with Emulator(daily_quota=1) as emulator, connected(emulator) as client:
        emulator.on_response = told.append
        emulator.on_request = lambda _: pytest.fail("it was asked about the page")
        emulator.fail(Fault(status=503), times=None)
        page = Page(emulator)
        key = {"x-api-key": emulator.client_key}
        for path in ("/", "/inspector/page.js", "/inspector/feed", "/inspector/nothing"):
            assert page.request("GET", path, headers=key).status in (200, 404)
        page.post("/inspector/switches", {"response": "500", "scope": "all"})
        assert emulator.requests == []
        assert told == []
        emulator.heal()
        assert client.authorize().status == 200, "the quota of one is not used"
        assert [each.number for each in emulator.requests] == [1]
        page.connection.close()


def test_the_rest_of_the_root_is_the_apis(emulator: Emulator, page: Page) -> None:
    """Anything but GET at the root, and every other path, gets a response and is kept as before."""
    assert page.request("POST", "/", b"{}").body.startswith(b"<!doctype html>")
    assert page.request("GET", "/inspector").status == 200
    assert page.request("GET", "/favicon.ico").status == 200
    assert [each.path for each in emulator.requests] == ["/", "/inspector", "/favicon.ico"]


# The feed


def test_the_feed_lists_requests(emulator: Emulator, client: Client, page: Page) -> None:
    """Requests come with their timing, outcome, events and the number of their token, once."""
    token = client.token()
    client.send(token, batch(event(n=1), event(n=2, brand_id="b")))
    news = page.poll()
    assert news["totals"] == {
        "events": 2,
        "requests": 2,
        "batches": 1,
        "authorizations": 1,
        "failures": 0,
    }
    (authorize, sent) = _dicts(news["requests"])
    assert (authorize["route"], authorize["key"]) == ("authorize", "CLIENT key")
    assert (sent["route"], sent["number"], sent["status"]) == ("events", 2, 200)
    assert (sent["count"], sent["accepted"], sent["token"]) == (2, 2, 1)
    assert (sent["failed"], sent["ending"]) == (False, None)
    assert isinstance(sent["seconds"], float)
    assert sent["trigger"] == "unclear"
    assert sent["events"] == [
        ["ADD_TO_CART", "c-1", None, _compact(event(n=1))],
        ["ADD_TO_CART", "c-1", "b", _compact(event(n=2, brand_id="b"))],
    ]
    (issued,) = _dicts(news["tokens"])
    assert (issued["number"], issued["kind"], issued["revoked"]) == (1, "CLIENT key", False)
    assert isinstance(issued["expires_at"], int)
    assert isinstance(news["now"], float)
    assert 3590 < issued["expires_at"] - news["now"] < 3602
    assert page.rows() == []
    client.send(token)
    assert [each["number"] for each in page.rows()] == [3]


def test_the_page_reads_what_the_feed_sends(client: Client, page: Page) -> None:
    """Each field of a request, and no other."""
    client.send(client.token())
    script = Path(feed_module.__file__).with_name("page.js").read_text("utf-8")
    read = {"events", *re.findall(r"\brequest\.(\w+)\b(?!\()", script)}
    assert [row.keys() for row in page.rows()] == [read, read]


def test_the_feed_says_why_a_request_failed(emulator: Emulator, client: Client, page: Page) -> None:
    """The API's error, or the fault that was applied."""
    token = client.token()
    client.send(token, batch(event(), event(type="")))
    emulator.fail(Fault(status=503))
    client.send(token)
    emulator.fail(Fault(reset="after_processing"))
    with pytest.raises(ConnectionError):
        client.send(token)
    client.connection.close()
    emulator.fail(Fault(raw=b"no"))
    with pytest.raises(http.client.HTTPException):
        client.send(token)
    client.connection.close()
    emulator.fail(Fault(close=True))
    with pytest.raises(ConnectionError):
        client.send(token)
    client.connection.close()
    client.authorize("nobody")
    news = page.poll()
    _, refused, unavailable, reset, raw, closed, unknown = _dicts(news["requests"])
    assert "events[1].type" in str(refused["problem"])
    assert (refused["status"], refused["accepted"]) == (422, 0)
    assert unavailable["problem"] is None
    assert "status=503" in str(unavailable["fault"])
    assert (reset["ending"], reset["accepted"], reset["failed"]) == ("reset", 1, True)
    assert (raw["ending"], closed["ending"]) == ("raw bytes", "closed")
    assert (unknown["key"], unknown["failed"]) == ("unknown key", True)
    totals = news["totals"]
    assert isinstance(totals, dict)
    assert totals["failures"] == 6


def test_a_request_is_pending_until_its_response_begins(emulator: Emulator, page: Page) -> None:
    """A page sees a request that waits, and then what became of it."""
    emulator.fail(Fault(delay=3600))
    with connected(emulator) as client:
        sender = threading.Thread(target=_until_it_ends, args=(client,))
        sender.start()
        emulator.wait_for(lambda e: e.requests)
        (row,) = page.rows()
        assert (row["ending"], row["failed"]) == ("pending", False)
        emulator.stop()
        sender.join()


def test_a_body_that_breaks_off(emulator: Emulator, page: Page) -> None:
    """A request whose client left is over, without a response."""
    with plain_socket(emulator) as sock:
        sock.sendall(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc")
    emulator.wait_for(lambda e: e.requests)
    (row,) = page.rows()
    assert (row["ending"], row["failed"]) == ("aborted", True)


def test_no_secret_is_in_the_feed(emulator: Emulator, client: Client, page: Page) -> None:
    """Neither keys nor tokens, nor a query, which may hold either."""
    token = client.token()
    client.authorize(emulator.server_key, sdk=None)
    client.send(token)
    client.request("GET", f"/x?token={token}", headers={"authorization": f"Bearer {token}"})
    shown = page.request("GET", "/inspector/feed").body.decode()
    for secret in (token, emulator.client_key, emulator.server_key):
        assert secret not in shown
    assert '"SERVER key"' in shown


def test_tokens_and_their_end(emulator: Emulator, client: Client, page: Page) -> None:
    """Tokens are listed, the newest first; the page can revoke them."""
    client.token()
    token = client.token()
    assert page.post("/inspector/revoke", {}).status == 200
    assert client.send(token).status == 401
    tokens = _dicts(page.poll()["tokens"])
    assert [(each["number"], each["revoked"]) for each in tokens] == [(2, True), (1, True)]


def test_a_whole_event(emulator: Emulator, client: Client, page: Page) -> None:
    """The feed holds the beginning of an event, and the whole of it can be had."""
    large = event(filler="x" * 5_000, exact=2**60 + 1, name="Zoë")
    client.send(client.token(), batch(event(), large))
    row = page.rows()[1]
    preview = _lists(row["events"])[1][3]
    assert isinstance(preview, str)
    assert len(preview) == feed_module.PREVIEW
    reply = page.request("GET", f"/inspector/event?run={page.run}&request={row['serial']}&index=1")
    shown = str(reply.document["event"])
    assert json.loads(shown) == large
    assert '  "name": "Zoë"' in shown.splitlines()
    for query in (
        f"run={page.run}&request={row['serial']}&index=2",
        f"run={page.run}&request={row['serial']}&index=-1",
        f"run={page.run}&request=99&index=0",
        f"run=other&request={row['serial']}&index=0",
    ):
        assert page.request("GET", f"/inspector/event?{query}").status == 404
    assert page.request("GET", "/inspector/event?request=one").status == 400


def test_events_that_are_hard_to_show(emulator: Emulator, client: Client, page: Page) -> None:
    """Lone surrogates, odd values and deep nesting break neither the feed nor an event."""
    deep = '{"x":' + "[" * 900 + "]" * 900 + "}"
    body = (
        '{"events":[5,null,{"type":["a"],"customer_id":7,"brand_id":"\\ud800 <b>"},' + deep + "]}"
    )
    client.send(client.token(), body.encode())
    row = page.rows()[1]
    listed = _lists(row["events"])
    assert [each[:3] for each in listed[:3]] == [
        [None, None, None],
        [None, None, None],
        ["['a']", "7", "\ud800 <b>"],
    ]
    for index in range(4):
        path = f"/inspector/event?run={page.run}&request={row['serial']}&index={index}"
        assert page.request("GET", path).status in (200, 400)


def test_a_page_that_slept(
    emulator: Emulator, client: Client, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It catches up in pieces, and gets the number of old requests that it missed."""
    monkeypatch.setattr(feed_module, "EVENTS_AT_ONCE", 4)
    monkeypatch.setattr(feed_module, "MAX_EVENTS", 10)
    token = client.token()
    for n in range(8):
        client.send(token, batch(event(n=n), event(n=n)))
    numbers: list[Json] = []
    skipped, more = 0, True
    while more:
        news = page.poll()
        rows = _dicts(news["requests"])
        assert len(rows) <= 3
        numbers += [row["number"] for row in rows]
        assert isinstance(news["skipped"], int)
        skipped, more = skipped + news["skipped"], bool(news["more"])
    assert numbers == [5, 6, 7, 8, 9]
    assert skipped == 4


def test_one_batch_beyond_all_bounds(
    emulator: Emulator, client: Client, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a batch with more events than a page keeps, the first are listed, and its true count."""
    monkeypatch.setattr(feed_module, "MAX_EVENTS", 10)
    client.send(client.token(), batch(*[event()] * 30))
    row = page.rows()[-1]
    assert (row["count"], len(_lists(row["events"]))) == (30, 10)


def test_several_pages(emulator: Emulator, client: Client, page: Page) -> None:
    """Each page has its own cursor, and all see the same guesses."""
    token = client.token()
    client.send(token)
    first = page.rows()
    other = Page(emulator)
    assert other.rows() == first
    client.send(token)
    assert page.rows() == other.rows()
    other.connection.close()


def test_clear_begins_a_new_run(emulator: Emulator, client: Client, page: Page) -> None:
    """After `Emulator.clear`, a page learns that what it has is of the past."""
    client.token()
    page.poll()
    run = page.run
    emulator.clear()
    assert page.rows() == []
    assert page.cursor == 0
    client.token()
    (row,) = page.rows()
    assert row["number"] == 1
    assert page.run != run
    totals = page.poll()["totals"]
    assert isinstance(totals, dict)
    assert (totals["requests"], totals["failures"]) == (1, 0)


def test_a_restart() -> None:
    """The same emulator continues where it was; another one at its address is a new run."""
    with Emulator() as emulator, connected(emulator) as client:
        client.token()
        page = Page(emulator)
        page.poll()
        emulator.stop()
        page.connection.close()
        emulator.start()
        assert page.rows() == []
        page.connection.close()
        port = urlsplit(emulator.url).port
    run = page.run
    with Emulator(port=port or 0), connected(emulator) as client:
        client.authorize()
        assert len(page.rows()) == 1
        assert page.run != run
        page.connection.close()


def test_retries_and_parts_are_shown(emulator: Emulator, client: Client, page: Page) -> None:
    """The guesses see what came before, also when the page is opened late."""
    token = client.token()
    headers = {"authorization": f"Bearer {token}", "idempotency-key": "k"}
    whole = batch(event(n=1), event(n=2, type=""))
    for body, key in ((whole, "k"), (whole, "k"), (batch(event(n=1)), "l")):
        headers["idempotency-key"] = key
        client.request("POST", "/behavior/events/bulk", body, headers)
    assert [row["trigger"] for row in page.rows()[1:]] == ["unclear", "retry", "part"]


def test_a_page_does_not_hold_up_a_stop(emulator: Emulator, page: Page) -> None:
    """Pages leave no thread behind, and `stop` is as fast with them."""
    others = [Page(emulator) for _ in range(5)]
    for each in (page, *others):
        each.poll()
    started = time.monotonic()
    emulator.stop()
    assert time.monotonic() - started < 1
    assert not [each for each in threading.enumerate() if each.name.startswith("masivo-emulator")]
    for each in others:
        each.connection.close()


# The switches


def test_switches_reach_requests_until_they_are_off(
    emulator: Emulator, client: Client, page: Page
) -> None:
    """The switches apply to requests, and every page shows them."""
    token = client.token()
    on = {"latency": 0.001, "response": "429", "retry_after": 7, "scope": "events"}
    reply = page.post("/inspector/switches", on)
    assert (reply.status, reply.document) == (200, {"switches": on})
    assert page.poll()["switches"] == on
    refused = client.send(token)
    assert (refused.status, refused.headers["retry-after"]) == (429, "7")
    assert client.authorize().status == 200
    assert emulator.events == []
    page.post("/inspector/switches", {})
    assert client.send(token).status == 200


def test_queued_faults_go_first(emulator: Emulator, client: Client, page: Page) -> None:
    """A fault of `Emulator.fail` goes before what is switched on; `heal` ends both."""
    token = client.token()
    page.post("/inspector/switches", {"response": "500"})
    emulator.fail(Fault(status=503))
    assert [client.send(token).status for _ in range(2)] == [503, 500]
    emulator.heal()
    assert client.send(token).status == 200
    assert page.poll()["switches"] == {
        "latency": 0.0,
        "response": None,
        "retry_after": 5.0,
        "scope": "events",
    }


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"response":"418"}', b"[" * 4_000, b"\xff"])
def test_switches_that_make_no_sense(page: Page, emulator: Emulator, body: bytes) -> None:
    """Are a 400 that says what is wrong, and change nothing."""
    headers = {"Origin": f"http://{page.host}", "Content-Type": "application/json"}
    reply = page.request("POST", "/inspector/switches", body, headers)
    assert reply.status == 400
    assert reply.document["details"]
    with connected(emulator) as client:
        assert client.send(client.token()).status == 200


# Who may ask


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "[::"]
)
@pytest.mark.parametrize("path", ["/", "/inspector/feed", "/inspector/switches"])
def test_another_hosts_name_gets_a_403(page: Page, host: str, path: str) -> None:
    """A site that points its own name at this machine (DNS rebinding) gets nothing."""
    reply = page.request("GET", path, headers={"Host": host})
    assert reply.status == 403
    assert b"Forbidden" in reply.body
    assert b"<h1>" not in reply.body


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "127.9.9.9", "[::1]:8"]
)
def test_loopback_names_are_welcome(page: Page, host: str) -> None:
    """By whatever loopback name and port it is reached, through a tunnel too."""
    assert page.request("GET", "/inspector/feed", headers={"Host": host}).status == 200


def test_without_a_host(emulator: Emulator) -> None:
    """HTTP/1.0 may leave it out; the inspector does not respond then."""
    with plain_socket(emulator) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("path", ["/inspector/switches", "/inspector/revoke"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://localhost"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": ""}, 415),
    ],
)
def test_only_the_page_itself_changes_anything(
    emulator: Emulator, page: Page, path: str, headers: dict[str, str], status: int
) -> None:
    """Neither another origin nor a form that needs no preflight can switch a fault."""
    with connected(emulator) as client:
        token = client.token()
        assert page.post(path, {"response": "500"}, headers).status == status
        assert client.send(token).status == 200


def test_a_change_without_an_origin_gets_a_403(page: Page) -> None:
    """Every browser names the origin of a POST."""
    reply = page.request(
        "POST", "/inspector/revoke", b"{}", headers={"Content-Type": "application/json"}
    )
    assert reply.status == 403


def test_no_preflight_is_granted(page: Page) -> None:
    """A browser's request from another site gets a 403."""
    reply = page.request(
        "OPTIONS", "/inspector/switches", headers={"Origin": "http://evil.example"}
    )
    assert reply.status == 405
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/inspector/switches", "POST"),
        ("GET", "/inspector/revoke", "POST"),
        ("POST", "/inspector/feed", "GET"),
        ("PUT", "/inspector/page.js", "GET"),
    ],
)
def test_methods(page: Page, method: str, path: str, allowed: str) -> None:
    """Nothing is changed by a GET."""
    reply = page.request(method, path)
    assert (reply.status, reply.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize("path", ["/inspector/", "/inspector/../page.js", "/inspector/feed.py"])
def test_there_is_nothing_else(page: Page, path: str) -> None:
    """Only the files of the page are served, not what lies beside them."""
    assert page.request("GET", path).status == 404


def test_a_body_that_is_too_large(page: Page) -> None:
    """It gets a 413, whatever its content."""
    reply = page.post("/inspector/switches", {"response": "5" * 10_000})
    assert (reply.status, reply.headers["connection"]) == (413, "close")


def test_a_client_that_breaks_off(emulator: Emulator) -> None:
    """Half a request of the page leaves no trace."""
    with plain_socket(emulator) as sock:
        head = "POST /inspector/switches HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
        sock.sendall(head.encode())
    assert emulator.requests == []


def _until_it_ends(client: Client) -> None:
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        client.authorize()


def _compact(document: object) -> str:
    return json.dumps(document, separators=(",", ":"))


def _dicts(value: Json) -> list[dict[str, Json]]:
    assert isinstance(value, list)
    return [each for each in value if isinstance(each, dict)]


def _lists(value: Json) -> list[list[Json]]:
    assert isinstance(value, list)
    return [each for each in value if isinstance(each, list)]


def test_a_client_of_this_process_names_its_triggers(
    emulator: Emulator, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ``on_activity`` tells the inspector; a retry and a part of a batch are shown as such."""
    monkeypatch.setattr("masivo._protocol.sending.backoff.FIRST_WAIT", 0.02)
    page.poll()
    emulator.fail(503, route="events", number=2)
    with masivo.Client(
        emulator.client_key, base_url=emulator.url, batch_size=2, on_activity=emulator.hear
    ) as client:
        for number in range(3):
            client.send_analytics_event(
                {"type": "VIEW", "customer_id": f"c-{number}", "brand_id": None}
            )
    news: Any = page.poll()["requests"]
    rows: list[dict[str, Any]] = [row for row in news if row["route"] == "events"]
    assert [(row["trigger"], row["said"]) for row in rows] == [
        *(("batch_size", True), ("close", True), ("retry", False))
    ]
    assert rows[0]["why"] == "the client says so"
