"""HTTP in a loop: the caller's client, secrets in errors."""

from __future__ import annotations

import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from drivers.events import arrived, event

import masivo
from masivo.emulator import Emulator, Fault

from .loops import error_of

if TYPE_CHECKING:
    from .conftest import Connect

pytestmark = pytest.mark.anyio

FAMILIES = "httpx", "httpx2"


async def test_a_body_that_a_hook_has_read_is_bounded(emulator: Emulator, connect: Connect) -> None:
    """What a hook of the caller's HTTP client reads is past our bound, but the answer is malformed
    all the same."""

    async def read(response: httpx.Response) -> None:
        await response.aread()

    emulator.fail(Fault(size=(1 << 20) + 1), route="events")
    async with (
        httpx.AsyncClient(event_hooks={"response": [read]}) as http,
        connect(http_client=http, batch_size=1) as client,
    ):
        error = await client.send_analytics_event(event()).exception()
        assert isinstance(error, masivo.MasivoNetworkError)
        assert error.status == 200
        assert (await client.send_analytics_event(event())).success


@pytest.mark.parametrize("route", ["authorize", "events"])
@pytest.mark.parametrize(
    "fault",
    [Fault(reset="after_reading"), Fault.garbage(), Fault(delay=60, close=True), Fault(status=401)],
    ids=["reset", "garbage", "timeout", "401"],
)
async def test_no_secret_in_what_an_awaited_error_shows(
    emulator: Emulator, connect: Connect, route: str, fault: Fault
) -> None:
    """The traceback of an awaited error, with every local variable, its cause, and the repr of
    what is in reach: neither key nor token. The cause holds no request and no frames."""
    emulator.fail(fault, route=route, times=None)
    timeout = 0.15 if fault.delay else 10.0  # the others are to answer, on a busy machine too
    async with connect(timeout=timeout, max_retries=0) as client:
        delivery = client.send_analytics_event(event())
        await client.flush()
        with pytest.raises(masivo.MasivoError) as caught:
            await delivery
        error = caught.value
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        shown = "".join(report.format()) + repr([client, delivery, error, vars(error)])
        for secret in (emulator.client_key, *tokens(emulator)):
            assert secret not in shown
        cause = error.__cause__
        assert (cause is None) == (fault.status == 401)
        while cause is not None:
            assert cause.__traceback__ is None
            assert getattr(cause, "_request", None) is None
            cause = cause.__cause__ or cause.__context__


def tokens(emulator: Emulator) -> list[str]:
    """The tokens that were used."""
    values = [request.headers.get("authorization", "") for request in emulator.requests]
    return [value.removeprefix("Bearer ") for value in values if value]


@pytest.mark.parametrize("family", FAMILIES)
async def test_the_callers_own_http_client(
    emulator: Emulator, connect: Connect, family: str
) -> None:
    """A client of either family is used, and not closed."""
    http = import_module(family).AsyncClient(headers={"x-mine": "yes"})
    async with connect(http_client=http) as client:
        client.send_analytics_event(event())
    assert not http.is_closed
    await http.aclose()
    assert arrived(emulator) == [0]
    assert {request.headers["x-mine"] for request in emulator.requests} == {"yes"}


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_http_client_that_the_package_makes(
    emulator: Emulator, connect: Connect, family: str
) -> None:
    """What a function made for the package is closed by the package."""
    made: list[Any] = []

    def make() -> Any:
        made.append(import_module(family).AsyncClient())
        return made[-1]

    async with connect(http_client=make) as client:
        assert not made
        client.send_analytics_event(event())
    assert arrived(emulator) == [0]
    assert [http.is_closed for http in made] == [True]


@pytest.mark.parametrize("family", FAMILIES)
async def test_an_http_client_of_the_wrong_kind(
    emulator: Emulator, connect: Connect, family: str
) -> None:
    """A sync client is refused at construction; from a function it ends the events at once."""
    with import_module(family).Client() as http:
        with pytest.raises(masivo.MasivoConfigError, match="AsyncClient"):
            connect(http_client=http)
        async with connect(http_client=lambda: http) as client:
            delivery = client.send_analytics_event(event())
            await client.flush()
            assert isinstance(error_of(delivery), masivo.MasivoConfigError)
    with pytest.raises(masivo.MasivoConfigError):
        connect(http_client=object())


async def test_a_function_that_fails_to_make_a_client(emulator: Emulator, connect: Connect) -> None:
    """Its error is told to every event, and the client can be closed."""

    def make() -> Any:
        raise OSError("no certificates")

    async with connect(http_client=make) as client:
        delivery = client.send_analytics_event(event())
        with pytest.raises(masivo.MasivoConfigError, match="no certificates"):
            await client.get_token()
        with pytest.raises(masivo.MasivoConfigError, match="no certificates"):
            await delivery
