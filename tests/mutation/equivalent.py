"""Survivors that no test should kill, each with the reason. They count as survivors."""

from __future__ import annotations

from typing import Final

__all__ = ["EQUIVALENT"]

_BY_REASON: Final[dict[str, list[str]]] = {
    "only its truth counts": [
        (
            "masivo/testing/kit/environment.py Environment.lift: _guard.loopback_only = False => "
            "_guard.loopback_only = None"
        ),
        (
            "masivo/spool/log.py Log.__init__: self._to_sweep = False # a segment has become "
            "whole => self._to_sweep = None # a segment has become whole"
        ),
        (
            "masivo/testing/conformance/watch.py Watch._polled: watched.polling = False => "
            "watched.polling = None"
        ),
        (
            "masivo/relay/on_redis.py RedisStore._keep_leases: self._down = False => "
            "self._down = None"
        ),
        (
            "masivo/_overdue.py Outstanding.add: self._out[request.id] = _Out(request, until + "
            "PATIENCE, looked=False) => self._out[request.id] = _Out(request, until + PATIENCE, "
            "looked=None)"
        ),
        (
            "masivo/_http/failures.py failure_of: "
            "return Failure(error.message, sent=False, fatal=error) => "
            "return Failure(error.message, sent=None, fatal=error)"
        ),
        (
            "masivo/emulator/inspector/feed.py Inspector._guess: "
            "self._guesses.popitem(last=False) => self._guesses.popitem(last=None)"
        ),
    ],
    "only its speed differs": [
        (
            "masivo/spool/disk.py Folder.append: if self._open is None or self._open[0] != name: "
            "=> if self._open is None or self._open[1] != name:"
        ),
        ("masivo/spool/log.py Log.noted: if len(found) == count: => if False:"),
        *(
            "masivo/relay/checking.py Check.events: and (len(encoded) <= short or (len(encoded) <= "
            f"most and not _may_be_deep(encoded))) => and (len(encoded) {rest} most and not "
            "_may_be_deep(encoded)))"
            for rest in ("< short or (len(encoded) <=", "<= short or (len(encoded) <")
        ),
        (
            "masivo/relay/checking.py Check.events: if has_lines: # between tokens: in a text, one "
            "is refused above => if True: # between tokens: in a text, one is refused above"
        ),
        (
            "masivo/spool/log.py Log._finish: for _ in self._events(number, segment.read): => "
            "for _ in self._events(number, ):"
        ),
        (
            'masivo/relay/opening.py _check_server: info = await redis.call("INFO", "server") => '
            'info = await redis.call("INFO", )'
        ),
        (
            "masivo/_http/sockets.py Threads.wait: poll.poll(math.ceil(min(seconds, _LONGEST) * "
            "1000)) => poll.poll(math.ceil(min(seconds, _LONGEST) / 1000))"
        ),
        (
            "masivo/_http/exchange.py Exchange._receive_common: or len(data) > MAX_BODY => "
            "or len(data) >= MAX_BODY"
        ),
    ],
    "a client that the collector takes in the moment of a fork": [
        "masivo/_sync/client.py Client.__del__: if session.dead: => if False:",
    ],
    "an instant between the making of a session and its first client": [
        (
            "masivo/_sync/session.py Session.__init__: self._over = False # the last poll found no "
            "client => self._over = True # the last poll found no client"
        ),
    ],
    "the default is the same": [
        "masivo/testing/plugin.py pytest_addoption: default=False, ) => )",
        *(
            "masivo/relay/checking.py Check.events: for encoded, fields in zip(map(bytes, raws), "
            "self._usual(body), strict=False): => for encoded, fields in zip(map(bytes, raws), "
            f"self._usual(body), {rest}):"
            for rest in ("strict=None", "")
        ),
        (
            "masivo/_process.py deliver: ended = zip(clients, tickets, strict=False) => "
            "ended = zip(clients, tickets, )"
        ),
        (
            "masivo/emulator/tokens.py Tokens.issue: token = secrets.token_urlsafe(32) "
            "if self._opaque else self._jwt(now, expires_at) => "
            "token = secrets.token_urlsafe(None) "
            "if self._opaque else self._jwt(now, expires_at)"
        ),
    ],
    "a frame of mutmut hides the importing one, which test_of_an_import needs": [
        (
            "masivo/_guesses.py no_name: return ImportError("
            'f"cannot import name {name!r} from {package!r}: {meant}", name=package) => return None'
        ),
        (
            "masivo/_guesses.py no_name: importer = sys._getframe(2).f_globals.get("
            '"__name__") # noqa: SLF001 (it has no other name) => '
            "importer = sys._getframe(2).f_globals.get(None) "
            "# noqa: SLF001 (it has no other name)"
        ),
    ],
    "a partition is read from its start, if not from a place": [
        (
            "masivo/relay/partition.py Partition.__init__: self._given: Place | None = None => "
            'self._given: Place | None = ""'
        ),
    ],
    "it runs at the import, before a mutant is chosen": [
        "masivo/_client.py documented: _ours.add(client) => pass",
    ],
    "the step that follows leaves, too": [
        "masivo/_async/session.py LoopSession.wake: self.leave() => pass",
    ],
    "the bound of a segment may be a fraction": [
        (
            "masivo/spool/spool.py Spool.__init__: self._segment = max(1, min(segment, max_bytes "
            "// _PART)) => self._segment = max(1, min(segment, max_bytes / _PART))"
        ),
    ],
    "every command has a name": [
        (
            'masivo/cli/app.py _advised: advice = "" if near else _FIELDS.get(command.name or "", '
            '"") => advice = "" if near else _FIELDS.get(command.name or "XXXX", "")'
        ),
    ],
    "its end closes it, too": [
        "masivo/spool/disk.py Folder.close: if kept is not None: => if False:",
    ],
    "what is absent is read again": [
        (
            'masivo/relay/checking.py Check._event: kind, customer = fields.get("type"), '
            'fields.get("customer_id") => kind, customer = ' + read
        )
        for read in (
            'fields.get(None), fields.get("customer_id")',
            'fields.get("XXtypeXX"), fields.get("customer_id")',
            'fields.get("type"), fields.get(None)',
            'fields.get("type"), fields.get("XXcustomer_idXX")',
        )
    ]
    + [
        (
            "masivo/relay/checking.py Check._event: customer = check(fields, kind, customer, "
            f"brand, self._reserved, None) => customer = check(fields, {known}, brand, "
            "self._reserved, None)"
        )
        for known in ("None, customer", "kind, None")
    ],
    "both are of one length": [
        (
            "masivo/spool/ranges.py Ranges.__iter__: return zip(self._starts, self._ends, "
            f"strict=True) => return zip(self._starts, self._ends, {rest})"
        )
        for rest in ("strict=False", "strict=None", "")
    ],
    "every Redis says it": [
        (
            "masivo/relay/on_redis.py RedisStore._watch_memory: most, used = "
            'info.get("maxmemory", 0), info.get("used_memory", 0) => most, used = '
            f'info.get("maxmemory", 0), info.get("used_memory", {rest})'
        )
        for rest in ("", "None")
    ],
    "no lease has such a token": [
        (
            "masivo/relay/leases.py Leases._renew: [self._relay, round(1000 * self._ttl), fresh, "
            '*(held.get(n, b"") for n in partitions)], => [self._relay, round(1000 * self._ttl), '
            'fresh, *(held.get(n, b"XXXX") for n in partitions)],'
        ),
    ],
    "a host has no capital letters": [
        (
            'masivo/_http/proxies.py _is_excluded: host = (parts.hostname or "").rstrip(".") => '
            'host = (parts.hostname or "").rstrip("XX.XX")'
        ),
    ],
    "an instant of real time, which no test can meet": [
        (
            "masivo/_sync/session.py Session._send: if request.timeout > 0: => "
            "if request.timeout >= 0:"
        ),
        (
            "masivo/relay/upstream.py Upstream._refused: elif self._warned and activity.at < "
            "self._warn_at: => elif self._warned and activity.at <= self._warn_at:"
        ),
        (
            "masivo/_http/transport.py Transport._go_on: late = seconds <= 0 "
            "# one more step, for what has arrived meanwhile => late = seconds < 0 "
            "# one more step, for what has arrived meanwhile"
        ),
    ],
    "OpenSSL reads the variable, too": [
        (
            "masivo/_http/tls.py client_context: return _loaded(file, directory) => "
            "return _loaded(file, None)"
        ),
    ],
    "h11 wants to know of a request, not which": [
        (
            "masivo/_http/exchange.py Exchange.receive: self._h11.send(h11.Request(method="
            'self._method, target="/", headers=[("host", "-")])) => self._h11.send(h11.Request('
            'method=self._method, target="XX/XX", headers=[("host", "-")]))'
        ),
    ],
    "the suite's server does not look at it": [
        (
            "masivo/testing/conformance/worlds/reference.py _send: connection.putrequest("
            "request.method, url.path, skip_accept_encoding=True) => "
            f"connection.putrequest(request.method, url.path, {rest})"
        )
        for rest in ("skip_accept_encoding=False", "")
    ],
    "only its memory differs": [
        (
            "masivo/testing/conformance/worlds/reference.py _send: "
            "body = response.read(MAX_BODY + 1) => body = response.read(None)"
        ),
    ],
    "for a test that fails and leaves a thread behind": [
        (
            "masivo/testing/conformance/adapter.py start_thread: thread = threading.Thread("
            'target=run, name="conformance-call", daemon=True) => thread = threading.Thread('
            'target=run, name="conformance-call", )'
        ),
    ],
    "no wait without a limit ends for its limit": [
        (
            "masivo/_async/client.py AsyncDelivery._wait: await session_of(self.buffer).wait("
            'self, None, "") => await session_of(self.buffer).wait(self, None, "XXXX")'
        ),
    ],
    "the first file of a process is always a new one": [
        'masivo/spool/rejected.py RejectedFiles.__init__: self._name = "" => self._name = "XXXX"',
        "masivo/spool/rejected.py RejectedFiles.__init__: self._size = 0 => self._size = None",
    ],
    "a log in memory has one segment, of any number": [
        (
            "masivo/testing/conformance/disk.py MemoryLog.read: place = Place(0, "
            "window[-1].position if window else last) => place = Place(1, window[-1].position if "
            "window else last)"
        ),
    ],
    "no position is negative": [
        "masivo/spool/ranges.py Ranges.of: end = -1 => end = -2",
    ],
    "no segment has the number 0": [
        (
            "masivo/spool/log.py Log.read: place = after or Place(0, 0) => "
            "place = after or Place(0, None)"
        ),
    ],
    "no one reads the canonical name of an address": [
        (
            'masivo/_http/connections.py literal: return family, socket.SOCK_STREAM, 0, "", '
            '(host, port) => return family, socket.SOCK_STREAM, 0, "XXXX", (host, port)'
        ),
    ],
    "only its identity counts": [
        (
            "masivo/spool/spool.py Spool._begin: fresh = self._make(serial + 1) => "
            "fresh = self._make(serial - 1)"
        ),
        (
            "masivo/spool/tail.py Tail.__init__: self.generation: object = object() => "
            "self.generation: object = None"
        ),
    ],
    "a choice that could have been another": [
        (
            'masivo/relay/checking.py _array_of: body = msgspec.defstruct("Envelope", [("events", '
            'array)], rename={"events": key}) => body = msgspec.defstruct("XXEnvelopeXX", '
            '[("events", array)], rename={"events": key})'
        ),
        (
            'masivo/spool/spool.py Spool._make: name = f"{prefix_of(self._account)}'
            '{int(made * 1000):013d}-{os.urandom(4).hex()}" => name = '
            'f"{prefix_of(self._account)}{int(made * 1000):013d}-{os.urandom(5).hex()}"'
        ),
        'masivo/cli/account.py options: metavar="FILE", => ',
        (
            "masivo/relay/on_redis.py RedisStore.start: asyncio.create_task(learn_time("
            'self._anchor), name="masivo-relay-time"), => '
            "asyncio.create_task(learn_time(self._anchor), ),"
        ),
        (
            'masivo/relay/letters.py dead_letters: key, after = Keys(name, 0).rejected, "-" => '
            'key, after = Keys(name, 1).rejected, "-"'
        ),
        (
            "masivo/relay/on_spool.py SpoolStore.__init__: self._counted: int = -1 => "
            "self._counted: int = -2"
        ),
        (
            "masivo/_async/on_asyncio.py AsyncioSession.start: self.task = self.loop.create_task("
            'self._run(), name="masivo") => self.task = self.loop.create_task(self._run(), '
            'name="XXmasivoXX")'
        ),
        (
            "masivo/emulator/emulator.py Emulator.wait_for: def wait_for(self, predicate: "
            "Callable[[Self], object], timeout: float = 5.0) -> None: => def wait_for(self, "
            "predicate: Callable[[Self], object], timeout: float = 6.0) -> None:"
        ),
    ],
}

EQUIVALENT: Final = {mutant: why for why, mutants in _BY_REASON.items() for mutant in mutants}
"""By mutant, as the report prints it, the reason."""
