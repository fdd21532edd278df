"""Web servers and task queues with a client inside: what they sent arrives, also when they stop."""

from __future__ import annotations

import re
import shlex
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest
from docs.blocks import ROOT, Page

from .programs import numbers, running, started, write

if TYPE_CHECKING:
    from pathlib import Path

    from masivo.emulator import Emulator

    from .programs import Program

pytestmark = pytest.mark.full


def advice(page: str, word: str) -> str:
    """The code on a page that contains a word."""
    blocks = Page(ROOT / "docs/how-to" / page).blocks
    (found,) = (each.code for each in blocks if each.language == "py" and word in each.code)
    return found


PAGE = Page(ROOT / "docs/how-to/gunicorn-and-uwsgi.md")


def shown(title: str) -> str:
    """A file that the page shows, for a free port."""
    (code,) = (block.code for block in PAGE.blocks if block.title == title)
    return code.replace("127.0.0.1:8000", "127.0.0.1:0")


WSGI = """
client = Client()
client.send_analytics_event(event(1000))

def application(environ, start_response):
    client.send_analytics_event(event(int(environ["PATH_INFO"][1:])))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""

GUNICORN = ("-m", "gunicorn", "--bind", "127.0.0.1:0", "--workers", "2", "--graceful-timeout", "20")
UVICORN = ("-m", "uvicorn", "--port", "0", "--no-access-log")


def visit(program: Program, count: int, first: int = 0) -> Counter[str]:
    """Make so many requests side by side, each with a number; who answered how many."""
    address = "http://" + program.says(r"(127\.0\.0\.1:\d+)")[1]

    with (
        httpx.Client(trust_env=False, timeout=30, headers={"Connection": "close"}) as client,
        ThreadPoolExecutor(8) as pool,
    ):

        def get(n: int) -> str:
            return client.get(f"{address}/{n}").raise_for_status().text

        return Counter(pool.map(get, range(first, first + count)))


def test_gunicorn_with_gevent(tmp_path: Path, emulator: Emulator) -> None:
    """gunicorn's gevent workers patch before they load the application."""
    write(tmp_path, {"app.py": WSGI})
    with running(tmp_path, emulator, *GUNICORN, "--worker-class", "gevent", "app") as program:
        visit(program, 50)
        emulator.wait_for(_both_workers_have_begun, 30)  # one may have served every visit
        program.signal(signal.SIGTERM).ends()
    assert numbers(emulator) == [*range(50), 1000, 1000]


def _both_workers_have_begun(emulator: Emulator) -> bool:
    """Whether two processes have fetched a token, as each does at its first event."""
    return sum(each.route == "authorize" for each in emulator.requests) == 2


def test_gunicorn_preload_with_gevent(tmp_path: Path, emulator: Emulator) -> None:
    """With ``--preload`` as well, the configuration file has to patch, before all imports."""
    write(tmp_path, {"app.py": WSGI})
    (tmp_path / "gunicorn.conf.py").write_text(shown("gunicorn.conf.py"))  # found by its name
    options = ("--preload", "--worker-class", "gevent")
    with running(tmp_path, emulator, *GUNICORN, *options, "app") as program:
        visit(program, 50)
        program.signal(signal.SIGTERM).ends()
    assert numbers(emulator) == [*range(50), 1000]


def test_gunicorn_reload(tmp_path: Path, emulator: Emulator) -> None:
    """SIGHUP, which replaces the workers, loses nothing."""
    write(tmp_path, {"app.py": WSGI})
    with running(tmp_path, emulator, *GUNICORN, "--preload", "app") as program:
        visit(program, 60)
        program.signal(signal.SIGHUP)
        emulator.wait_for(lambda emulator: emulator.event_count >= 60, 30)
        visit(program, 60, first=60)
        program.signal(signal.SIGTERM).ends()
    assert [n for n in numbers(emulator) if n < 1000] == list(range(120))


UWSGI = (
    "-c",
    "import os, sys; os.execv(os.path.dirname(sys.executable) + '/uwsgi', sys.argv)",
)
"""uWSGI is no module of Python's, but a program beside the interpreter."""


@pytest.mark.parametrize(
    ("server", "began"), [("gunicorn", "Booting worker"), ("uwsgi", "WSGI app 0")]
)
def test_the_page(tmp_path: Path, emulator: Emulator, server: str, began: str) -> None:
    """Who saves the files of the page and types its command has a server that loses nothing when
    it is told to stop."""
    for name in ("app.py", "uwsgi.ini"):
        (tmp_path / name).write_text(shown(name))
    (command,) = (each.code for each in PAGE.blocks if each.code.startswith(f"{server} "))
    environment = {"MASIVO_API_KEY": emulator.client_key, "MASIVO_BASE_URL": emulator.url}
    words = shlex.split(command.replace("127.0.0.1:8000", "127.0.0.1:0"))
    with started(tmp_path, words, environment) as program:
        program.says(began, 4)
        visit(program, 100)
        program.signal(signal.SIGTERM).ends()
    seen = sorted(each["metadata"]["page"] for each in emulator.events)
    assert seen == sorted(f"/{n}" for n in range(100))


def write_uwsgi(folder: Path, **changes: str) -> None:
    """Write the page's ``uwsgi.ini``, and an application whose batches go out while it runs."""
    ini = shown("uwsgi.ini")
    for name, value in changes.items():
        ini, count = re.subn(rf"^{name} = .*$", value, ini, flags=re.MULTILINE)
        assert count == 1, name
    (folder / "uwsgi.ini").write_text(ini)
    write(folder, {"app.py": WSGI.replace("Client()", "Client(idle_timeout=0.2)")})


def test_uwsgi(tmp_path: Path, emulator: Emulator) -> None:
    """uWSGI as the page says: each worker has a client of its own, whose batches go out between
    requests, and which delivers the rest when SIGTERM ends the workers."""
    write_uwsgi(tmp_path)
    with running(tmp_path, emulator, *UWSGI, "uwsgi.ini") as program:
        program.says(r"(?s)(WSGI app 0.*){4}")
        visit(program, 200)
        emulator.wait_for(lambda emulator: emulator.event_count == 204, 30)
        visit(program, 100, first=200)
        program.signal(signal.SIGTERM).ends()
    assert numbers(emulator) == [*range(300), 1000, 1000, 1000, 1000]


def test_uwsgi_that_forks_after_loading(tmp_path: Path, emulator: Emulator) -> None:
    """Without ``lazy-apps``, but with ``py-call-osafterfork`` and no event before the fork, a
    worker has a client of its own, and no two use the same idempotency key."""
    write_uwsgi(tmp_path, **{"lazy-apps": "py-call-osafterfork = true"})
    app = tmp_path / "app.py"
    app.write_text(app.read_text().replace("client.send_analytics_event(event(1000))", ""))
    with running(tmp_path, emulator, *UWSGI, "uwsgi.ini") as program:
        program.says(r"(?s)(spawned uWSGI worker.*){4}")
        visit(program, 200)
        emulator.wait_for(lambda emulator: emulator.event_count == 200, 30)
        program.signal(signal.SIGTERM).ends()
    assert numbers(emulator) == list(range(200))
    keys = [dict(each.headers)["idempotency-key"] for each in emulator.batches]
    assert len(set(keys)) == len(keys)


DJANGO = """
import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
client = Client()

def plain(request, n):
    client.send_analytics_event(event(n))
    return HttpResponse("ok")

async def asynchronous(request, n):
    client.send_analytics_event(event(n))  # it never waits: right in a coroutine too
    return HttpResponse("ok")

urlpatterns = [path("<int:n>", plain), path("a/<int:n>", asynchronous)]
application = get_wsgi_application()
"""

DJANGO_ASGI = """
from typing import Any

from app import client
from django.core.asgi import get_asgi_application

Receive = Send = Any
django = get_asgi_application()

""" + advice("django.md", "lifespan.shutdown")


def test_django_under_asgi(tmp_path: Path, emulator: Emulator) -> None:
    """Django under ASGI has no lifespan, and uvicorn ends by the signal, so that nothing runs at
    exit: the page's wrapper closes the client when the server stops."""
    write(tmp_path, {"app.py": DJANGO, "asgi.py": DJANGO_ASGI})
    with running(tmp_path, emulator, *UVICORN, "asgi:application") as program:
        visit(program, 100)
        program.signal(signal.SIGTERM).ends(code=None)
    assert numbers(emulator) == list(range(100))


CELERY = """
from celery import Celery
from celery.signals import worker_process_shutdown

app = Celery("tasks", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control",
    },
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)

@app.task
def work(n):
    client.send_analytics_event(event(n))
    print(f"done-{n}-")

""" + advice("celery.md", "worker_process_shutdown")

CELERY_PRODUCER = """
from tasks import work
for n in range(30):
    work.delay(n)
"""


def test_celery_prefork(tmp_path: Path, emulator: Emulator) -> None:
    """Celery's prefork workers, with a client at module level: each delivers its own events; at
    the end by the page's signal, as the workers run nothing at exit."""
    (tmp_path / "queue").mkdir()
    (tmp_path / "control").mkdir()
    write(tmp_path, {"tasks.py": CELERY, "produce.py": CELERY_PRODUCER})
    with running(tmp_path, emulator, "produce.py") as producer:
        producer.ends()
    command = ("-m", "celery", "-A", "tasks", "worker", "--concurrency", "2", "--loglevel", "INFO")
    with running(tmp_path, emulator, *command) as program:
        for n in range(30):
            program.says(f"done-{n}-")
        program.signal(signal.SIGTERM).ends()
    assert numbers(emulator) == list(range(30))
