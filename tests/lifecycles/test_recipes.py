"""The applications in ``examples/``, started as their pages say: nothing that they sent is lost."""

from __future__ import annotations

import re
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import httpx
import pytest

from masivo.emulator import Fault

from .recipes import Recipe, asking, commands

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from masivo.emulator import Emulator

pytestmark = pytest.mark.full

GUNICORN = "gunicorn app:app --bind 127.0.0.1:8000 --workers 2"
CELERY = "celery -A tasks worker --loglevel INFO --concurrency 2"

Shop: TypeAlias = "Callable[[str], Recipe]"


@pytest.fixture
def shop(tmp_path: Path, emulator: Emulator) -> Shop:
    """Makes the application of a framework."""
    return lambda framework: Recipe(framework, tmp_path, emulator)


@pytest.mark.parametrize(
    ("framework", "events"),
    [
        ("fastapi", ["ADD_TO_CART"]),
        ("flask", ["ADD_TO_CART"]),
        ("django", ["ADD_TO_CART"]),
        ("celery", ["ADD_TO_CART", "EMPTY_CART"]),
    ],
)
def test_what_a_reader_types(
    shop: Shop, emulator: Emulator, framework: str, events: list[str]
) -> None:
    """The page from top to bottom: the first command starts the application, those that ask it
    for something get it, and the events have arrived when it has been stopped."""
    app = shop(framework)
    with app.running(commands(framework)[0]) as program:
        program.says(r"(?i)listening at|running on|celery@.* ready")
        for command in asking(framework):
            said = app.run(command)
            assert "rror" not in said, said
        if framework == "celery":
            program.says("succeeded", len(events))
        program.signal(signal.SIGTERM).ends(code=None)
    assert sorted(str(each["type"]) for each in emulator.events) == events


# ── Web servers ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("framework", "command", "workers"),
    [
        ("fastapi", "uvicorn app:app --port 8000", 1),
        ("fastapi", "uvicorn app:app --port 8000 --workers 2", 2),
        ("flask", GUNICORN, 2),
        ("flask", f"{GUNICORN} --preload", 2),
        ("django", "gunicorn shop.wsgi --bind 127.0.0.1:8000 --workers 2", 2),
        ("django", "uvicorn shop.asgi:application --port 8000", 1),
    ],
)
def test_a_server_that_is_told_to_stop(
    shop: Shop, framework: str, command: str, workers: int
) -> None:
    """The application counts the events of its process; after SIGTERM all events have arrived,
    those that still waited too, once."""
    app = shop(framework)
    with app.running(command) as server:
        app.fill_carts(range(150))
        counters = app.counters()
        assert 0 < counters["accepted"] <= 150
        assert workers > 1 or counters["accepted"] == 150
        assert counters["queued"] > 0  # else the stop below would show nothing
        server.signal(signal.SIGTERM).ends(code=None)
    assert app.arrived() == list(range(150))


@pytest.mark.parametrize(
    ("framework", "command"),
    [
        ("fastapi", "uvicorn app:app --port 8000"),
        ("flask", GUNICORN),
        ("django", "uvicorn shop.asgi:application --port 8000"),
    ],
)
def test_a_lost_event_is_in_the_log(
    shop: Shop, emulator: Emulator, framework: str, command: str
) -> None:
    """Of the server, which configures its own loggers only."""
    emulator.fail(422, route="events", times=None)
    app = shop(framework)
    with app.running(command) as server:
        app.fill_carts([1])
        said = server.signal(signal.SIGTERM).ends(code=None)
    assert re.search("^masivo: 1 event was not delivered", said, re.MULTILINE), said


@pytest.mark.parametrize(
    ("framework", "command", "file", "began"),
    [
        ("fastapi", "uvicorn app:app --port 8000 --reload", "app.py", "Started server process"),
        ("flask", "flask run --port 8000 --debug", "app.py", "Debugger is active"),
        ("django", "python manage.py runserver 8000", "shop/views.py", "Starting development"),
    ],
)
def test_a_server_that_reloads(
    shop: Shop, framework: str, command: str, file: str, began: str
) -> None:
    """A development server that starts anew when a file has changed loses nothing, neither then nor
    at Ctrl-C."""
    app = shop(framework)
    # Flask takes watchdog if it is there (the tool for the docs needs it), which listens to all of
    # the environment: what tests side by side open in that overflows its queue, and the change of
    # a file is lost. This hides it, and Flask compares times, as for who installs Flask alone.
    (app.folder / "watchdog.py").touch()
    with app.running(command) as server:
        app.fill_carts(range(50))
        app.touch(file)
        server.says(began, 2)
        app.fill_carts(range(50, 100))
        server.interrupt().ends(code=None)
    assert app.arrived() == list(range(100))


def test_workers_that_are_recycled(shop: Shop) -> None:
    """gunicorn's workers that end after so many requests deliver what they hold."""
    app = shop("flask")
    with app.running(GUNICORN, "--max-requests", "10") as server:
        app.fill_carts(range(50))
        server.says("Autorestarting worker after current request", 3)
        server.signal(signal.SIGTERM).ends()
    assert app.arrived() == list(range(50))


STUCK = """
@app.get("/stuck")
def stuck():
    import threading
    threading.Event().wait()
"""


def test_a_worker_that_is_stuck(shop: Shop) -> None:
    """A worker that answers nothing for gunicorn's ``--timeout`` is told to abort, and delivers
    what it holds in the second that it is given."""
    app = shop("flask")
    with (app.folder / "app.py").open("a") as file:
        file.write(STUCK)
    with app.running(GUNICORN, "--workers", "1", "--timeout", "2") as server:
        app.fill_carts(range(20))
        with app.client() as client, suppress(httpx.HTTPError):
            client.get("/stuck")
        server.says("WORKER TIMEOUT")
        app.fill_carts(range(20, 25))  # by the worker in its place
        server.signal(signal.SIGTERM).ends()
    assert app.arrived() == list(range(25))


# ── Tests and commands of the applications ───────────────────────────────────────────────────


def test_the_tests_of_the_fastapi_shop(shop: Shop) -> None:
    """The plugin's fixtures work under Starlette's TestClient, as the page shows them."""
    assert "5 passed" in shop("fastapi").run("python -m pytest -q")


def test_the_tests_of_the_django_shop(shop: Shop, emulator: Emulator) -> None:
    """``manage.py test`` runs the page's tests, and nothing of them reaches another API."""
    said = shop("django").run("python manage.py test")
    assert "Ran 2 tests" in said
    assert "\nOK\n" in said
    assert emulator.requests == []


def test_the_backfill_of_the_django_shop(shop: Shop, emulator: Emulator) -> None:
    """The command reports every order once. After a failure it says where to continue, and sends
    then what is left."""
    app = shop("django")
    lines = ["number,customer", *(f"{n},customer-{n % 7}" for n in range(1, 2501))]
    (app.folder / "orders.csv").write_text("\n".join(lines), "utf-8")
    emulator.fail(Fault(status=401), route="events", number=[12, 13, 14])
    with app.running("python manage.py backfill orders.csv") as program:
        said = program.ends(code=1)
    assert "1000 delivered, up to 1000\n" in said
    assert "Continue with --after 1000" in said
    before = [each["metadata"]["order"] for each in emulator.events]
    said = app.run("python manage.py backfill orders.csv --after 1000")
    assert said.endswith("1500 delivered, 0 failed\n")
    assert {*before, *range(1001, 2501)} == {each["metadata"]["order"] for each in emulator.events}
    assert before[:1000] == list(range(1, 1001))


# ── Celery ───────────────────────────────────────────────────────────────────────────────────


PRODUCE = """
from tasks import add_to_cart
for n in range(30):
    add_to_cart.delay(f"customer-{n % 7}", str(n))
"""


@pytest.mark.parametrize(
    "options", ["", "--max-tasks-per-child 5", "--pool threads", "--pool gevent"]
)
def test_a_worker_of_celery(shop: Shop, options: str) -> None:
    """Tasks report in children, in threads and in greenlets, and all of it has arrived when SIGTERM
    has ended the worker; a child that ends after so many tasks delivers then."""
    app = shop("celery")
    app.produce(PRODUCE)
    with app.running(CELERY, *options.split()) as worker:
        worker.says("succeeded", 30)
        assert "max-tasks" not in options or len(app.arrived()) >= 20
        worker.signal(signal.SIGTERM).ends()
    assert app.arrived() == list(range(30))


def test_a_task_that_is_sure(shop: Shop, emulator: Emulator) -> None:
    """A task that waits for its event ends with the API's status; while the API cannot be reached
    it is tried again, and Celery keeps it."""
    app = shop("celery")
    emulator.fail(Fault(reset="after_reading"), route="events", times=5)
    with app.running(CELERY) as worker:
        app.run("celery -A tasks call tasks.empty_cart --args '[\"customer-1\"]'")
        worker.says(r"Retry in \d+s: MasivoNetworkError")
        worker.says(r"empty_cart\[.*\] succeeded in .*: 200")
        worker.signal(signal.SIGTERM).ends()
    assert [each["customer_id"] for each in emulator.events] == ["customer-1"]


def test_a_task_whose_event_may_have_been_accepted(shop: Shop, emulator: Emulator) -> None:
    """A task whose error is not retryable, as after a 2xx that broke off, fails and is not tried
    again, although the error is one of the network."""
    app = shop("celery")
    emulator.fail(Fault(truncate=1), route="events")
    with app.running(CELERY) as worker:
        app.run("celery -A tasks call tasks.empty_cart --args '[\"customer-1\"]'")
        worker.says(r"empty_cart\[.*\] raised unexpected: .*MasivoNetworkError")
        worker.signal(signal.SIGTERM).ends()
    assert [each["customer_id"] for each in emulator.events] == ["customer-1"]
    assert len(emulator.batches) == 1
