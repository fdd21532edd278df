"""Redis over TLS, under a password that a URL cannot hold as it is."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import trustme

from masivo.relay.on_redis import RedisStore
from masivo.relay.store import RelayError

from .redis_server import RedisServer, free_port
from .stores import drained, numbered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from masivo.emulator import Emulator

PASSWORD = "p@ss/w:rd #?%&+ä"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server with TLS; its URL lacks the authority that has signed its certificate."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server in PATH, and the Valkey of the wheel lacks TLS")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    port = free_port()
    settings = {
        "tls-port": str(port),
        "tls-cert-file": str(tmp_path / "certificate.pem"),
        "tls-key-file": str(tmp_path / "key.pem"),
        "tls-auth-clients": "no",
        "requirepass": PASSWORD,
    }
    with RedisServer(tmp_path, tmp_path / program, settings):
        yield f"rediss://:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/0"


@pytest.mark.full
def test_a_relay_speaks_tls_to_its_redis(url: str, tmp_path: Path, emulator: Emulator) -> None:
    """Leases, bells, removals and the intake; neither password nor path is in what it says."""
    whole = f"{url}?ssl_ca_certs={tmp_path / 'authority.pem'}"
    store = RedisStore(
        whole, emulator.client_key, base_url=emulator.url, idle_timeout=0.02, ttl=0.6
    )

    async def main() -> None:
        await store.start()
        try:
            await store.keep(numbered(range(50)))
            await drained(store)
        finally:
            await store.stop(5.0)

    asyncio.run(main())
    assert sorted(each["n"] for each in emulator.events) == [*range(50)]
    assert repr(store) == f"<RedisStore rediss://127.0.0.1:{url.rpartition(':')[2]}>"


def test_a_certificate_is_checked(url: str, emulator: Emulator) -> None:
    """One of an unknown authority is none: the start ends with a message that says what to do, and
    that holds no password."""
    store = RedisStore(url, emulator.client_key, base_url=emulator.url)
    with pytest.raises(RelayError, match=r"is not accepted .*ssl_ca_certs=FILE") as caught:
        asyncio.run(store.start())
    assert "p%40ss" not in str(caught.value)
    assert "p@ss" not in str(caught.value)
