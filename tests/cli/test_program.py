"""The program as a whole: its names, its help, and what it is without the extra."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import click
import pytest
from docs.blocks import ROOT, Page

import masivo
from masivo.cli import app
from masivo.cli.exits import MEANINGS, Exit, exit_of

from .conftest import LIMIT, PROGRAM

if TYPE_CHECKING:
    from .conftest import Shell

WITHOUT_EXTRA = """
import sys
sys.modules["click"] = sys.modules["rich"] = None
from masivo.__main__ import main
sys.exit(main())
"""


def test_console_script() -> None:
    """The package brings the program ``masivo``."""
    (script,) = (each for each in entry_points(group="console_scripts") if each.name == "masivo")
    assert script.value == "masivo.__main__:main"


def test_help(shell: Shell) -> None:
    """The help names every command and every exit code."""
    ended = shell.masivo("--help")
    assert ended.code == 0
    for word in ("check", "send", "import", "spool", "relay", "emulator"):
        assert f"\n  {word} " in ended.out
    for code, meaning in MEANINGS.items():
        assert f"{code.value:<4} {meaning}" in ended.out


@pytest.mark.parametrize("command", ["check", "send", "import", "spool", "relay"])
def test_help_of_commands(shell: Shell, command: str) -> None:
    """Each command's help lists the exit codes, and no option that takes a key."""
    ended = shell.masivo(command, "--help")
    assert ended.code == 0
    assert "Exit codes:" in ended.out
    assert "--api-key" not in ended.out


def test_every_option_says_what_it_is_for() -> None:
    """In the help of its command."""
    silent = [
        (name, option.name)
        for name, command in app.masivo.commands.items()
        for option in command.params
        if isinstance(option, click.Option) and not (option.help or option.hidden)
    ]
    assert silent == []


def test_version(shell: Shell) -> None:
    """It knows its version."""
    assert masivo.__version__ in shell.masivo("--version").out


def test_python_m_is_the_same_program(shell: Shell) -> None:
    """``python -m masivo`` is ``masivo``."""
    done = subprocess.run(
        [sys.executable, "-m", "masivo", "check"],
        env=shell.environ(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "CLIENT key" in done.stdout


def test_emulator_is_the_same_by_either_name(shell: Shell) -> None:
    """``masivo emulator`` has the options of ``python -m masivo emulator``."""
    helps = [
        subprocess.run(
            [*program, "emulator", "--help"],
            env=shell.environ(),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=True,
        ).stdout
        for program in ([sys.executable, "-m", "masivo"], [sys.executable, "-c", WITHOUT_EXTRA])
    ]
    assert helps[0] == helps[1] == shell.masivo("emulator", "--help").out
    assert "--daily-quota" in helps[0]


def test_emulator_runs(shell: Shell) -> None:
    """``masivo emulator`` serves until Ctrl-C."""
    with shell.start("emulator", "--client-key", "k") as process:
        assert process.stdout is not None
        assert b"listens on http://127.0.0.1:" in process.stdout.readline()
        while b"Ctrl-C" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 0
        process.communicate()


AT_ONCE = """
import signal, sys

number, module, *sys.argv[1:] = sys.argv[1:]

class Pressed:
    def find_spec(self, name, path, target=None):
        if name == module:
            sys.meta_path.remove(self)
            signal.raise_signal(int(number))

sys.meta_path.insert(0, Pressed())
from masivo.__main__ import main
sys.exit(main())
"""
"""Sends itself a signal while a module is imported."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("module", "arguments", "code", "said"),
    [
        ("masivo.cli.send", ["send", "T"], 130, "Interrupted.\n"),
        ("masivo.emulator.api", ["emulator"], 0, ""),
    ],
)
def test_interrupted_at_the_start(
    shell: Shell, number: int, module: str, arguments: list[str], code: int, said: str
) -> None:
    """Ctrl-C or SIGTERM before a command has begun ends it as later: no traceback."""
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE, str(int(number)), module, *arguments, "--json"],
        env=shell.environ(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, said)
    if code:
        assert json.loads(done.stdout)["error"]["kind"] == "Interrupted"


@pytest.mark.parametrize(("command", "extra"), [("check", "cli"), ("relay", "relay")])
def test_without_the_extra(shell: Shell, command: str, extra: str) -> None:
    """Without click and rich, one line says what to install."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA, command],
        env=shell.environ(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"pip install 'masivo[{extra}]'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "With the extra (pip install 'masivo[cli]'):\n  check "),
        (["--help"], "With the extra (pip install 'masivo[cli]'):\n  check "),
        (["-h"], "Commands:\n  emulator "),
        (["help"], "Commands:\n  emulator "),
        (["--version"], f"masivo, version {masivo.__version__}\n"),
        (["version"], f"masivo, version {masivo.__version__}\n"),
    ],
)
def test_help_and_version_without_the_extra(shell: Shell, arguments: list[str], said: str) -> None:
    """Help and version need no extra; the help says which commands do."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA, *arguments],
        env=shell.environ(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    assert said in done.stdout
    assert done.stderr == ""
    if arguments not in (
        ["version"],
        ["--version"],
    ):  # each command has the line that it has with the extra
        for name, command in app.masivo.commands.items():
            line = rf"^  {name} +{re.escape(command.short_help or '')}$"
            assert re.search(line, done.stdout, re.MULTILINE)


def test_shell_completion() -> None:
    """The line that the reference shows for ``.bashrc`` defines the completion of commands."""
    page = Page(ROOT / "docs/reference/cli.md")
    (line,) = (each.code for each in page.blocks if "completion" in (each.run_by or ""))
    environ = {**os.environ, "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [
            "bash",
            "-c",
            line + "COMP_WORDS=(masivo im) COMP_CWORD=1; _masivo_completion masivo; "
            "echo ${COMPREPLY[@]}",
        ],
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    assert done.stdout == "import\n"


def test_help_as_a_word(shell: Shell) -> None:
    """``masivo help COMMAND`` prints what ``masivo COMMAND --help`` does."""
    assert shell.masivo("help", "send").out == shell.masivo("send", "--help").out


def test_an_unknown_option_is_not_taken_for_a_key(shell: Shell) -> None:
    """The advice names no option that is there to be refused."""
    ended = shell.masivo("send", "--type", "VISIT")
    assert ended.code == Exit.USAGE
    assert "No such option" in ended.err
    assert "--token" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ("send --type VISIT", "'--type'. TYPE is the first argument; other fields of the event"),
        (
            "send T product.sku=A1 --customer c",
            "(product.sku=A1). TYPE is the first argument",
        ),
        ("send T --custmer c", "'--custmer'. Did you mean '--customer'?"),
        ("import f.csv --type VISIT", "'--type'. For a field of all events use -d KEY=VALUE"),
        ("import f.csv --sep ;", "'--sep'. Did you mean '--delimiter'?"),
        ("check --verbose", "'--verbose'. To see each step, set MASIVO_LOG=debug"),
        ("-v", "'-v'. To see each step"),
        ("import f.csv --quiet", "'--quiet'. The result goes to stdout, progress and errors to"),
        ("send T -q", "'-q'. The result goes to stdout"),
        ("relay --keys k", "'--keys'. Set MASIVO_RELAY_KEYS."),
        ("relay --workers 4", "'--workers'.\n"),
        ("relay --flush-interval 5", "'--flush-interval'. Did you mean '--max-wait'?"),
        ("relay --listen :80", "'--listen'. Did you mean '--host'?"),
        ("spool d --workers 4", "'--workers'. Did you mean '--in-flight'?"),
        ("spool d --flush", "'--flush'. Did you mean '--send'?"),
        ("spool d --purge", "'--purge'. To delete the events of a spool, end the programs"),
        ("send T --host h", "'--host'. Did you mean '--base-url'?"),
        ("import f.csv --limit 3", "'--limit'. To send a part of a file, cut it"),
        ("import f.csv --validate", "'--validate'. Did you mean '--dry-run'?"),
        ("import f.csv --jsonl", "'--jsonl'. Did you mean '--format'?"),
        ("import f.csv --batch 3", "'--batch'. Did you mean '--batch-size'?"),
        ("import a.jsonl b.jsonl", "(b.jsonl). An import reads one file (several: cat FILES |"),
        ("import", "Missing argument 'FILE'. To read standard input: masivo import -\n"),
        ("send T --file f.json", "'--file'. To send the events of a file: masivo import FILE."),
        ("send T -c c", "'-c'. Did you mean '--customer'?"),
        ("check --format json", "'--format'. Did you mean '--json'?"),
        ("spool send d", "(d). To deliver what is in DIR: masivo spool DIR --send\n"),
        ("spool --dir d", "'--dir'. DIR is an argument: masivo spool DIR."),
        ("relay start", "'start'. To start a relay: masivo relay --spool DIR (or --redis URL)\n"),
        ("relay --relay-keys k", "'--relay-keys'. Set MASIVO_RELAY_KEYS."),
        ("--base-url U check", "'--base-url'. Options of a command come after it: masivo COMMAND"),
        ("--json check", "'--json'. Options of a command come after it: masivo COMMAND --json\n"),
        ("--colour check", "'--colour'.\n"),
        ("check --colour", "'--colour'.\n"),
        ("replay", "No such command 'replay'. Did you mean 'spool'?"),
        ("track T", "No such command 'track'. Did you mean 'send'?"),
    ],
)
def test_advice_for_what_other_programs_have(shell: Shell, arguments: str, advice: str) -> None:
    """The error names the option or the command that is meant, or says what to do instead."""
    ended = shell.masivo(*arguments.split())
    assert ended.code == Exit.USAGE
    assert advice in ended.err


def test_unknown_command(shell: Shell) -> None:
    """An unknown command is an error of use, with the extra and without it."""
    ended = shell.masivo("chekc")
    assert ended.code == Exit.USAGE
    assert "chekc" in ended.err
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRA, "emulatr"],
        env=shell.environ(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == Exit.USAGE
    assert done.stderr == "masivo: there is no command 'emulatr' (masivo --help lists them)\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (masivo.MasivoConfigError("x"), Exit.USAGE),
        (masivo.MasivoQueueFullError("x"), Exit.USAGE),
        (masivo.MasivoServerKeyError("x", status=401), Exit.SERVER_KEY),
        (masivo.MasivoAuthError("x", status=400), Exit.KEY_REFUSED),
        (masivo.MasivoAuthError("x", status=401), Exit.KEY_REFUSED),
        (masivo.MasivoAuthError("x", status=403), Exit.KEY_REFUSED),
        (masivo.MasivoAuthError("x", status=422), Exit.KEY_REFUSED),
        (masivo.MasivoAuthError("x", status=404), Exit.API),
        (masivo.MasivoAuthError("x", status=200), Exit.API),
        (masivo.MasivoAuthError("x", status=503), Exit.API),
        (masivo.MasivoNetworkError("x"), Exit.NETWORK),
        (masivo.MasivoNetworkError("x", status=200), Exit.NETWORK),
        (masivo.MasivoValidationError("x"), Exit.EVENTS_REJECTED),
        (masivo.MasivoError("x", status=400), Exit.EVENTS_REJECTED),
        (masivo.MasivoError("x", status=422), Exit.EVENTS_REJECTED),
        (masivo.MasivoError("x", status=413), Exit.EVENTS_REJECTED),
        (masivo.MasivoError("x"), Exit.EVENTS_REJECTED),
        (masivo.MasivoError("x", status=429), Exit.API),
        (masivo.MasivoError("x", status=500), Exit.API),
        (masivo.MasivoError("x", status=200), Exit.API),
    ],
)
def test_exit_codes(error: masivo.MasivoError, code: Exit) -> None:
    """Every kind of error has its exit code."""
    assert exit_of(error) is code
