"""``masivo relay``: run a relay, and list its dead letters."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import sys
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, cast

import click
from click.core import ParameterSource

from masivo.protocol import Secret, configure, is_loopback
from masivo.relay.store import RelayError

from . import terminal
from .account import find_account, options
from .exits import TABLE, Exit, UsageError
from .export import export
from .numbers import Seconds

if TYPE_CHECKING:
    from collections.abc import Generator

    from masivo.protocol import ClientOptions
    from masivo.relay.metrics import Metrics
    from masivo.relay.store import RelayStore

    from .account import Account

__all__ = ["relay"]

PORT = 8311
KEYS = "MASIVO_RELAY_KEYS"
REDIS = "MASIVO_RELAY_REDIS"

_EXTRA: Final = ("httptools", "prometheus_client", "redis", "starlette", "uvicorn")


def _hidden(_context: click.Context, _option: click.Parameter, url: str | None) -> Secret | None:
    return Secret(url) if url else None


_store_options = (
    click.option(
        "--spool",
        metavar="DIR",
        help="Directory that keeps the events: for one relay on one machine.",
    ),
    click.option(
        "--redis",
        metavar="URL",
        callback=_hidden,
        help="Redis or Valkey that keeps the events: for several relays (a fleet). Default: "
        f"{REDIS}, which is the place for a URL with a password.",
    ),
    click.option(
        "--name",
        default="masivo",
        show_default=True,
        help="With Redis: the fleet's name, the prefix of its keys in Redis.",
    ),
)


def _with_store(command: Any) -> Any:
    for option in reversed(_store_options):
        command = option(command)
    return command


@click.group(
    invoke_without_command=True,
    epilog=TABLE,
    short_help="Run a relay: a service that keeps events and delivers them.",
)
@_with_store
@click.option(
    "--partitions",
    type=click.IntRange(1, 1_024),
    default=4,
    show_default=True,
    help="With Redis: the number of partitions (streams in Redis) that customers are spread over, "
    "the same for every relay. At most this many relays deliver at the same time.",
)
@click.option(
    "--replaced-key",
    is_flag=True,
    help="The API's key was replaced: deliver the events of the old key under the new one.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="Events of one request to the API.",
)
@click.option(
    "--idle-timeout",
    type=Seconds(0.001),
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    help="Send a batch when no event has come for this many seconds.",
)
@click.option(
    "--max-wait",
    type=Seconds(0.001),
    metavar="SECONDS",
    default=60.0,
    show_default=True,
    help="Send a batch when its oldest event has waited this many seconds.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=PORT,
    show_default=True,
    help="Port to listen on; 0 for any free one.",
)
@click.option(
    "--behind-proxy",
    is_flag=True,
    help="Allow a --host that others can reach. The relay speaks plain HTTP: a proxy in front of "
    "it must provide TLS.",
)
@options
@click.pass_context
def relay(context: click.Context, /, **given: Any) -> Exit | None:
    """Take events from clients in any language, keep them, and deliver them.

    Clients send to it as they send to the API. On the same machine, their base_url is the one that
    it prints when it starts; behind a proxy, it is the proxy's https address. Their key is one of
    MASIVO_RELAY_KEYS (separated by commas; without it, the API's key). The API's key comes from
    --key-file, else MASIVO_API_KEY, else a prompt; its address from --base-url, else
    MASIVO_BASE_URL.

    A batch gets a 200 when it is kept, and not before. SIGTERM, SIGHUP and Ctrl-C end a running
    relay within 10 seconds, with exit code 0, not 130; events that are not delivered by then stay
    in the store. The relay also serves /health, /ready and /metrics (for Prometheus).

    \b
    masivo relay --spool /var/lib/masivo
    masivo relay --redis redis://10.0.0.5 --host 0.0.0.0 --behind-proxy
    masivo relay rejected --spool /var/lib/masivo
    """
    if context.invoked_subcommand is not None:
        return None
    redis = _one_of(given)  # before a prompt for the key
    account = find_account(given["base_url"], given["key_file"])
    listener = _bound(given["host"], given["port"], behind_proxy=given["behind_proxy"])
    with listener:
        _check_upstream(account.base_url, listener)
        keys = _keys()
        if not keys:
            terminal.note(f"{KEYS} is not set, so clients use the API's key.")
            keys = [account.key]
        _log_to_stderr()
        _allow_files()
        with _explained():
            from masivo.relay.service import run

            return run(_run(given, redis, account, keys, listener))


# ── Before it runs ───────────────────────────────────────────────────────────────────────────


def _keys() -> list[Secret]:
    """The keys of clients.

    Raises:
        UsageError: the variable is set, and no key is in it.
    """
    given = os.environ.get(KEYS, "")
    keys = [Secret(key) for key in re.split(r"[,\s]+", given) if key]
    if given and not keys:
        raise UsageError(
            f"{KEYS} holds no key: name the clients' keys, separated by commas, or unset it"
        )
    return keys


def _bound(host: str, port: int, *, behind_proxy: bool) -> socket.socket:
    """A socket that is bound, and does not listen yet."""
    try:
        ((family, _, _, _, address), *_) = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        if not (ip_address(address[0]).is_loopback or behind_proxy):
            raise UsageError(
                f"--host {host} can be reached by others, and the relay speaks plain HTTP: put a "
                "proxy with TLS in front of it, and say so with --behind-proxy"
            )
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:  # the latter for a text that can be no name
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot listen on {host}:{port}: {reason}; try another --port (or --host)"
        ) from None
    return listener


def _check_upstream(base_url: str, listener: socket.socket) -> None:
    """Refuse a relay that would deliver to itself."""
    from urllib.parse import urlsplit

    if is_loopback(base_url) and urlsplit(base_url).port == listener.getsockname()[1]:
        raise UsageError(
            f"{base_url} is this relay's own address: set MASIVO_BASE_URL (or --base-url) to the "
            "API's, or choose another --port"
        )


def _log_to_stderr() -> None:
    """Print the log of the relay, and of the clients in it, to stderr."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # else anybody may fill the log


def _allow_files() -> None:
    """Allow as many open connections as this process may have."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


# ── While it runs ────────────────────────────────────────────────────────────────────────────


async def _run(
    given: dict[str, Any],
    redis: Secret | None,
    account: Account,
    keys: list[Secret],
    listener: socket.socket,
) -> Exit:
    from masivo.relay.metrics import Metrics
    from masivo.relay.service import Relay

    metrics = Metrics()
    client: ClientOptions = {
        "on_activity": metrics.listen,
        "base_url": account.base_url,
        "batch_size": given["batch_size"],
        "idle_timeout": given["idle_timeout"],
        "max_wait": given["max_wait"],
    }
    settings = configure(account.key, environ=os.environ, **client)
    running = Relay(_store(given, redis, account, metrics, client), settings, keys, metrics)
    loop = asyncio.get_running_loop()
    # What is ignored stays so: by nohup, SIGHUP is.
    all_ends = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    ends = [each for each in all_ends if signal.getsignal(each) is not signal.SIG_IGN]
    for each in ends:
        loop.add_signal_handler(each, running.stop)
    where = given["spool"] or "Redis"

    def ready(url: str) -> None:
        terminal.note(f"Relay for {account.base_url}, with its events in {where}.")
        terminal.result(url)

    try:
        await running.run(listener, ready)
    finally:
        for each in ends:  # uvloop leaves them behind when it is closed
            loop.remove_signal_handler(each)
    return Exit.GOOD


def _store(
    given: dict[str, Any],
    redis: Secret | None,
    account: Account,
    metrics: Metrics,
    client: ClientOptions,
) -> RelayStore:
    """The store that was asked for.

    Raises:
        MasivoConfigError: an option is wrong.
        RelayError: the URL is.
    """
    if redis is None:
        from masivo.relay.on_spool import SpoolStore

        return SpoolStore(
            given["spool"], account.key, metrics, replaced_key=given["replaced_key"], **client
        )
    from masivo.relay.on_redis import RedisStore

    return RedisStore(
        redis.reveal(),
        account.key.reveal(),
        name=given["name"],
        partitions=given["partitions"],
        replaced_key=given["replaced_key"],
        on_leases=metrics.leases.set,
        **client,
    )


def _one_of(given: dict[str, Any]) -> Secret | None:
    """The URL of a Redis, or None for the spool that was named.

    Raises:
        UsageError: neither was named, or both, or a spool with an option for Redis.
    """
    spool, redis = given["spool"], given["redis"]
    if spool and redis:
        raise UsageError("--spool and --redis cannot be combined: a relay has one store")
    if spool:
        source = click.get_current_context().get_parameter_source
        for name in ("name", "partitions"):
            if source(name) is ParameterSource.COMMANDLINE:
                raise UsageError(f"--{name} is for --redis: a spool has none")
        return None
    if redis is None and (url := os.environ.get(REDIS)):
        redis = Secret(url)
    if redis is None:
        raise UsageError(
            f"name the store: --spool DIR for one machine, or --redis URL (or {REDIS}) for a fleet"
        )
    return cast("Secret", redis)


@contextmanager
def _explained() -> Generator[None, None, None]:
    """Say what to do about a store that cannot be used, and about what is not installed."""
    try:
        yield
    except RelayError as error:
        raise UsageError(str(error)) from None
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRA:
            raise
        raise UsageError(
            f"{error.name} is missing, which the relay needs: pip install 'masivo[relay]'"
        ) from None


# ── Dead letters ─────────────────────────────────────────────────────────────────────────────


@relay.command(epilog=TABLE, short_help="List or export the events that the API rejected.")
@_with_store
@click.option("--export", "file", metavar="FILE", help="Write to FILE, not to standard output.")
@click.option("--json", "as_json", is_flag=True, help="With --export: print one JSON object.")
def rejected(file: str | None, as_json: bool, **given: Any) -> Exit:
    """Print the events that the API rejected, with its errors, as JSON Lines.

    After you have corrected them, `masivo import` sends them. Nothing is removed.

    \b
    masivo relay rejected --spool /var/lib/masivo > rejected.jsonl
    masivo relay rejected --redis redis://10.0.0.5 --export rejected.jsonl
    """
    redis = _one_of(given)
    with _explained():
        if redis is None:
            from .spool import survey_of

            lines = survey_of(given["spool"]).rejected()
        else:
            from masivo.relay.letters import dead_letters

            lines = dead_letters(redis.reveal(), given["name"])
        return export(lines, file or "-", "rejected event", as_json)
