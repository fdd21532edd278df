"""The checks of a Redis at a relay's start, and the settings that all relays of a fleet share."""

from __future__ import annotations

import hashlib
import logging
import secrets
from typing import TYPE_CHECKING, Final

from masivo._protocol.json import encode

from .scripts import RIGHTS
from .store import RelayError, StoreFullError, StoreRefusedError

if TYPE_CHECKING:
    from masivo.protocol import Secret

    from .connection import Connections
    from .scripts import Keys

__all__ = ["open_store"]

OLDEST: Final = 7
"""The first version of Redis whose scripts have flags."""

_logger = logging.getLogger("masivo.relay")


async def open_store(
    redis: Connections,
    keys: Keys,
    *,
    partitions: int,
    base_url: str,
    upstream_key: Secret,
    replaced_key: bool,
) -> bytes:
    """Check that this relay can use a Redis; return the secret that tokens are signed with.

    Raises:
        RelayError: it cannot; the message says why.
        StoreUnreachableError: it does not respond.
    """
    try:
        risk = await _check_server(redis)
        await _check_rights(redis, keys)
        digest = hashlib.sha256(upstream_key.reveal().encode()).hexdigest()
        agreed = {"partitions": str(partitions), "base_url": base_url, "key": digest}
        await _agree(redis, keys, agreed, replaced_key=replaced_key)
        secret = await _secret(redis, keys)
    except StoreRefusedError as error:
        raise RelayError(f"the store cannot be used: {error}") from None
    except StoreFullError as error:
        raise RelayError(f"{error}: a new fleet needs some; raise maxmemory") from None
    if risk is not None:  # not before: a start that waits for Redis comes here again and again
        _logger.warning("Redis at %s: %s", redis.place, risk)
    return secret


async def _check_rights(redis: Connections, keys: Keys) -> None:
    missing: list[bytes] = await redis.run(RIGHTS, [], [*map(encode, keys.commands())])
    if missing:
        names = [name.decode() for name in missing]
        raise RelayError(
            f"the user that the relay has in Redis at {redis.place} may not call "
            f"{', '.join(names)} with the keys {keys.prefix}*. Give it the right: ACL SETUSER USER "
            f"~{keys.prefix}* {' '.join(f'+{name.lower()}' for name in names)}"
        )


async def _check_server(redis: Connections) -> str | None:
    """Check the version and the settings of Redis; return which events it may lose, if any."""
    info = await redis.call("INFO", "server")
    version = str(info.get("redis_version", "0"))
    if int(version.split(".")[0]) < OLDEST:
        raise RelayError(
            f"Redis at {redis.place} is {version}: the relay needs Redis {OLDEST}.0 or newer, or "
            "Valkey"
        )
    try:
        policy = await _setting(redis, "maxmemory-policy")
        fsync = await _setting(redis, "appendfsync")
        append_only = await _setting(redis, "appendonly")
    except StoreRefusedError:
        return (
            "CONFIG is forbidden, so this could not be checked: maxmemory-policy must be "
            "noeviction, else Redis may delete events; appendfsync should be always, else a crash "
            "of Redis may lose some"
        )
    if policy != "noeviction":
        raise RelayError(
            f"maxmemory-policy is {policy} at {redis.place}: Redis may delete events that were "
            "accepted. Set it to noeviction, or give the relay a Redis of its own"
        )
    if append_only != "yes":
        loss = "it keeps no append-only file, so a crash loses what came since its last snapshot"
    elif fsync != "always":
        loss = f"appendfsync is {fsync}, so a crash loses what is not yet written"
    else:
        return None
    return (
        f"{loss}, though clients got a 200 for it. With appendonly yes and appendfsync always "
        "nothing is lost"
    )


async def _setting(redis: Connections, name: str) -> str:
    found = await redis.call("CONFIG GET", name)
    return str(found.get(name, ""))


async def _agree(
    redis: Connections, keys: Keys, agreed: dict[str, str], *, replaced_key: bool
) -> None:
    known = await _noted(redis, keys)
    for name in (
        agreed.keys() - known
    ):  # only then: a full Redis rejects writes, and must be drained
        await redis.call("HSETNX", keys.config, name, agreed[name])
    noted = await _noted(redis, keys)
    where = f"the fleet {keys.prefix[:-1]} at {redis.place}"
    for name, cure in (
        ("partitions", "give it the same --partitions, or another --name"),
        ("base_url", "give it the same MASIVO_BASE_URL, or another --name"),
    ):
        if noted[name] != agreed[name]:
            raise RelayError(
                f"{where} has {name} {noted[name]}, and this relay {agreed[name]}: {cure}"
            )
    if noted["key"] != agreed["key"]:
        if not replaced_key:
            raise RelayError(
                f"{where} delivers with another MASIVO_API_KEY than this relay: give it the same, "
                "or another --name; if the key was changed, --replaced-key"
            )
        await redis.call("HSET", keys.config, "key", agreed["key"])


async def _noted(redis: Connections, keys: Keys) -> dict[str, str]:
    found: dict[bytes, bytes] = await redis.call("HGETALL", keys.config)
    return {name.decode(): value.decode(errors="replace") for name, value in found.items()}


async def _secret(redis: Connections, keys: Keys) -> bytes:
    secret: bytes | None = await redis.call("GET", keys.secret)
    if secret is None:
        await redis.call("SET", keys.secret, secrets.token_bytes(32), "NX")
        secret = await redis.call("GET", keys.secret)
    assert secret is not None  # noqa: S101 (it never expires)
    return secret
