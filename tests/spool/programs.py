"""Programs in processes of their own, which are killed, or kill themselves."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

from .conftest import BOUND, KEY, URL

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 60.0

PRELUDE = f"""
import ctypes, gc, os, resource, signal, socket, sys, threading, time
from masivo.protocol import Note, StoreError
from masivo.spool import Spool

FOLDER = sys.argv[1]
EVERYTHING = 10**9

def make(key={KEY!r}, max_bytes={BOUND}, segment=4194304):
    return Spool(FOLDER, key, {URL!r}, max_bytes, segment)

def everything(log):
    return log.read(None, EVERYTHING, EVERYTHING).events

def fork(child, announced=True):
    sys.setswitchinterval(1e6)  # else a child may wait for a thread that only its parent has
    pid = os.fork() if announced else ctypes.PyDLL(None).fork()
    sys.setswitchinterval(0.005)
    if not pid:
        code = 1
        try:
            child()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid

def reap(pid):
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


def start(folder: Path, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a program; it is given the directory."""
    # A fork beside threads is a DeprecationWarning from Python 3.12 on; the spool is made for it.
    code = PRELUDE + textwrap.dedent(program)
    return subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code, str(folder), *arguments],
        bufsize=0,  # so that nothing is read ahead that ``communicate`` would miss
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def run(folder: Path, program: str) -> str:
    """Run a program that must end well; return what it prints."""
    process = start(folder, program)
    out, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    return out.decode()
