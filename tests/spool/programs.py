"""Programs in processes of their own, which are killed, or kill themselves."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import processes

from .conftest import BOUND, KEY, URL

if TYPE_CHECKING:
    from pathlib import Path

    from processes import Process

LIMIT = 60.0

PRELUDE = f"""
import ctypes, gc, os, resource, signal, socket, sys, threading, time, warnings
from masivo.protocol import Note, StoreError
from masivo.spool import Spool

# A fork beside threads is a DeprecationWarning from Python 3.12 on; the spool is made for it.
warnings.simplefilter("ignore", DeprecationWarning)
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


def start(folder: Path, program: str, *arguments: str) -> Process:
    """Start a program; it is given the directory."""
    return processes.start(PRELUDE + textwrap.dedent(program), str(folder), *arguments)


def run(folder: Path, program: str) -> str:
    """Run a program that must end well; return what it prints."""
    out, err = start(folder, program).communicate(timeout=LIMIT)
    assert err == b"", err.decode()
    return out.decode()
