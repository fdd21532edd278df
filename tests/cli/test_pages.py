"""The pages about the command line: their examples run, and their tables agree with the code."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

import click
import pytest
from docs.blocks import ROOT, Page

from masivo.cli.app import masivo
from masivo.cli.exits import MEANINGS
from masivo.emulator.command import make_parser

if TYPE_CHECKING:
    from .conftest import Shell

HOW_TO = (ROOT / "docs/how-to/bulk-import.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """The examples of a language."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return found


EXAMPLES = [
    *(text for text in blocks(HOW_TO, "sh") if "pip install" not in text),
    *(
        block.code
        for block in Page(ROOT / "docs/reference/cli.md").blocks
        if (block.run_by or "").endswith("test_examples_run")
    ),
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_run(shell: Shell, example: str) -> None:
    """Every shell example of the pages does what it should, with the files that they show."""
    events, rejected = blocks(HOW_TO, "json")
    shell.write("events.jsonl", events.strip())
    shell.write("orders.csv", re.sub(r"\d{4}-.*?Z", "", blocks(HOW_TO, "csv")[0]).strip())
    record = json.loads(rejected)
    record["event"]["customer_id"] = "corrected"
    shell.write("events.jsonl.rejected.jsonl", record)
    if "rejected" not in example:
        (shell.folder / "events.jsonl.rejected.jsonl").unlink()
    for line in example.replace("\\\n", "").splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "masivo"
        ended = shell.masivo(*words[1:])
        assert ended.code == 0, ended.err
        assert "error" not in ended.err
        for name in ("masivo-import", "rejected.jsonl"):  # each line stands for itself
            (shell.folder / f"events.jsonl.{name}").unlink(missing_ok=True)
    sends = [
        line for line in example.splitlines() if "--dry-run" not in line and "check" not in line
    ]
    assert (shell.emulator.event_count > 0) == bool(sends)


def test_table_of_exit_codes() -> None:
    """The table of exit codes is that of the code."""
    table = REFERENCE.split("## Exit codes")[1].split("Results go")[0]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE)
    assert rows == [(str(code.value), meaning) for code, meaning in MEANINGS.items()]


def test_table_of_the_emulators_options() -> None:
    """Every option of ``masivo emulator`` is in its table and in its help, and no other."""
    section = REFERENCE.split("## `masivo emulator")[1].split("\n## ")[0]
    named = re.findall(r"^\| `(--[a-z-]+)", section, re.MULTILINE)
    parser = make_parser("masivo emulator")
    known = {option for option in parser._option_string_actions if option.startswith("--")}
    shown = re.findall(r"^  (?:-h, )?(--[a-z-]+)", parser.format_help(), re.MULTILINE)
    assert {*named, "--help"} == known == {*shown}


@pytest.mark.parametrize("name", ["check", "send", "import"])
def test_tables_of_options(name: str) -> None:
    """Every option of a command is in its table, and no other."""
    section = REFERENCE.split(f"## `masivo {name}")[1].split("\n## ")[0]
    named = {
        option
        for row in re.findall(r"^\| (`-.*?) \|", section, re.MULTILINE)
        for option in re.findall(r"--[a-z-]+", row)
    }
    given = {
        option
        for parameter in masivo.commands[name].params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    }
    assert named == given - {"--base-url", "--key-file"}
