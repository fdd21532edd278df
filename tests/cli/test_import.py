"""``masivo import``: what becomes of the lines of a file."""

from __future__ import annotations

import bz2
import fcntl
import gzip
import io
import json
import lzma
import os
import shlex
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from masivo.emulator import Fault

from .conftest import event

if TYPE_CHECKING:
    from masivo.emulator import Emulator

    from .conftest import Shell


def numbers(emulator: Emulator) -> list[Any]:
    """The numbers of the events that the server has, in its order."""
    return [each["n"] for each in emulator.events]


def without_stamp(emulator: Emulator) -> list[dict[str, Any]]:
    """The events that the server has."""
    return [{k: v for k, v in each.items() if k != "issued_at"} for each in emulator.events]


def test_a_missing_brand_is_explained_by_the_options(shell: Shell) -> None:
    """An invalid line names what the command needs, not what Python code would pass."""
    shell.write("f.jsonl", {"type": "VISIT", "customer_id": "c-1"})
    said = "brand_id is missing: add --no-brand, or --brand ID for the events without one"
    ended = shell.masivo("import", "f.jsonl", "--dry-run")
    assert ended.out.startswith(f"line 1: {said}\n")
    assert shell.masivo("import", "f.jsonl").code == 7
    assert said in (shell.folder / "f.jsonl.rejected.jsonl").read_text()


# ── Reading ──────────────────────────────────────────────────────────────────────────────────


def test_json_lines(shell: Shell) -> None:
    """Every line arrives, in order, in batches; the result is printed."""
    shell.write("f.jsonl", *(event(n) for n in range(1, 251)))
    ended = shell.masivo("import", "f.jsonl")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "All done: 250 events delivered, 0 rejected.\n"
    assert numbers(shell.emulator) == list(range(1, 251))
    assert [each.accepted for each in shell.emulator.batches] == [100, 100, 50]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_odd_lines(shell: Shell, ending: str) -> None:
    """A byte order mark, blank lines, Windows' line ends and a missing last one are no matter."""
    text = ending.join(["", json.dumps(event(1)), "  ", json.dumps(event(2))])
    (shell.folder / "f.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert shell.masivo("import", "f.jsonl").code == 0
    assert numbers(shell.emulator) == [1, 2]


def test_numbers_stay_exact(shell: Shell) -> None:
    """Numbers that no float can hold exactly pass as they are."""
    line = (
        json.dumps(event(1))[:-1]
        + ', "a": 0.12345678901234567890123, "b": 12345678901234567890.0, "c": 19.90'
    )
    line += ', "d": 9007199254740.993}'
    shell.write("f.jsonl", line)
    shell.emulator.on_response = lambda record: bodies.append(record.body)
    bodies: list[bytes] = []
    assert shell.masivo("import", "f.jsonl").code == 0
    assert (
        b'"a":0.12345678901234567890123,"b":12345678901234567890.0,"c":19.9,"d":9007199254740.993'
        in bodies[-1]
    )


def test_numbers_of_a_table_stay_exact(shell: Shell) -> None:
    """So do those of a column of numbers, and in a column of JSON."""
    shell.write(
        "f.csv",
        "type,customer_id,brand_id,a:number,b:json",
        'T,c,b,0.1234567890123456789,"[6, 6.50]"',
    )
    shell.emulator.on_response = lambda record: bodies.append(record.body)
    bodies: list[bytes] = []
    assert shell.masivo("import", "f.csv").code == 0
    assert b'"a":0.1234567890123456789,"b":[6,6.5]' in bodies[-1]


def test_gzip_is_known_by_its_content(shell: Shell) -> None:
    """A gzip file of any name is unpacked, several members too."""
    halves = [json.dumps(event(n)).encode() + b"\n" for n in (1, 2)]
    (shell.folder / "f.jsonl").write_bytes(b"".join(gzip.compress(each) for each in halves))
    assert shell.masivo("import", "f.jsonl").code == 0
    assert numbers(shell.emulator) == [1, 2]


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input(shell: Shell, packed: bool) -> None:
    """``-`` is standard input, gzip too."""
    text = b"".join(json.dumps(event(n)).encode() + b"\n" for n in range(5))
    ended = shell.masivo("import", "-", stdin=gzip.compress(text) if packed else text)
    assert (ended.code, ended.err) == (0, "")
    assert numbers(shell.emulator) == [0, 1, 2, 3, 4]
    assert not list(shell.folder.iterdir())


def test_defaults(shell: Shell) -> None:
    """Fields that are given for all are filled in where an event has none of its own."""
    shell.write(
        "f.jsonl",
        {"customer_id": "a"},
        {"customer_id": "b", "type": "OWN", "brand_id": None, "product": {"sku": "S"}},
    )
    options = ["-d", "type=T", "-d", "product.sku=A1", "-d", "product.n=1", "--brand", "b-1"]
    assert shell.masivo("import", "f.jsonl", *options).code == 0
    assert without_stamp(shell.emulator) == [
        {"customer_id": "a", "type": "T", "brand_id": "b-1", "product": {"sku": "A1", "n": 1}},
        {"customer_id": "b", "type": "OWN", "brand_id": None, "product": {"sku": "S", "n": 1}},
    ]


CSV = 'id;total;vip;tags;note\nc-1;19.5;yes;"[1, 2]";"two\nlines, ""quoted"""\nc-2;7;;;'

MAP = ["customer_id=id", "order.value=total:number", "vip=vip:bool", "tags=tags:json", "note=note"]


def test_csv(shell: Shell) -> None:
    """A CSV file becomes events by its map; an empty cell is no field."""
    shell.write("f.csv", CSV)
    options = [part for rule in MAP for part in ("--map", rule)]
    options += ["--delimiter", ";", "--no-brand", "-d", "type=T"]
    ended = shell.masivo("import", "f.csv", *options)
    assert (ended.code, ended.err) == (0, "")
    common = {"type": "T", "brand_id": None}
    first = {"vip": True, "tags": [1, 2], "note": 'two\nlines, "quoted"'}
    assert without_stamp(shell.emulator) == [
        {"customer_id": "c-1", "order": {"value": 19.5}, **first, **common},
        {"customer_id": "c-2", "order": {"value": 7}, **common},
    ]


def test_csv_without_a_map(shell: Shell) -> None:
    """Without a map every column is the field of its name; the name may tell the kind."""
    shell.write(
        "f.tsv", "type\tcustomer_id\tbrand_id\tproduct.sku\tproduct.value:number", "T\tc\tb\t01\t2"
    )
    assert shell.masivo("import", "f.tsv").code == 0
    assert without_stamp(shell.emulator) == [
        {
            "type": "T",
            "customer_id": "c",
            "brand_id": "b",
            "product": {"sku": "01", "value": 2},
        }
    ]


MARKS = ["customer_id|query", 'c1|"red', "c2|shoes", 'c3|blue"', 'c4|5" pipe', "c5|green"]
"""A table in which quotation marks are text."""


@pytest.mark.parametrize(
    ("name", "delimiter", "options"),
    [
        ("f.tsv", "\t", []),
        ("f.tsv.gz", "\t", []),
        ("f.csv", "\t", ["--delimiter", "tab"]),
        ("f.txt", "\t", ["--format", "csv", "--delimiter", "\\t"]),
        ("f.csv", ",", ["--no-quote"]),
    ],
)
def test_quotation_marks_are_text_between_tabs(
    shell: Shell, name: str, delimiter: str, options: list[str]
) -> None:
    """In a tab-separated file, or with --no-quote, a quotation mark is text like any other: every
    line is a row."""
    shell.write(name, *(line.replace("|", delimiter) for line in MARKS))
    ended = shell.masivo("import", name, "-d", "type=T", "--no-brand", *options)
    assert (ended.code, ended.err) == (0, "")
    assert [(each["customer_id"], each["query"]) for each in shell.emulator.events] == [
        tuple(line.split("|")) for line in MARKS[1:]
    ]


def test_rows_within_a_value(shell: Shell) -> None:
    """Where lines that look like rows are one value, as two quotation marks that may be text
    enclose them, the import ends there, and is resumed with what they are."""
    shell.write("f.csv", *(line.replace("|", ",") for line in MARKS[:4]))
    options = ["-d", "type=T", "--no-brand"]
    for more in (["--dry-run"], []):
        ended = shell.masivo("import", "f.csv", *options, *more)
        assert ended.code == 2
        assert "lines 2 to 4 are one row" in ended.err
        assert "--no-quote" in ended.err
    assert shell.emulator.event_count == 0
    assert shell.masivo("import", "f.csv", "--resume", "--no-quote").code == 0
    assert [each["query"] for each in shell.emulator.events] == ['"red', "shoes", 'blue"']
    assert shell.masivo("import", "f.csv", *options, "--restart", "--quote").code == 0
    assert shell.emulator.events[-1]["query"] == "red\nc2,shoes\nc3,blue"


def test_quotation_marks_enclose_values_if_asked(shell: Shell) -> None:
    """With --quote they enclose the values of a tab-separated file, as Excel writes them; a header
    in quotation marks is an error that names the option."""
    shell.write("f.tsv", '"customer_id"\t"query"', 'c1\t"red\tor ""blue"""')
    options = ["-d", "type=T", "--no-brand"]
    ended = shell.masivo("import", "f.tsv", *options)
    assert ended.code == 2
    assert "add --quote" in ended.err
    assert shell.masivo("import", "f.tsv", *options, "--quote").code == 0
    assert [each["query"] for each in shell.emulator.events] == ['red\tor "blue"']


def table_of(shell: Shell, name: str, *options: str) -> list[tuple[object, object]]:
    """Import a table; its two columns, as they arrived."""
    ended = shell.masivo("import", name, "-d", "type=T", "--no-brand", *options)
    assert (ended.code, ended.err) == (0, "")
    return [(each["customer_id"], each["note"]) for each in shell.emulator.events]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_byte_order_mark(shell: Shell, encoding: str, ending: str) -> None:
    """A file that begins with a byte order mark is read in that encoding, and resumed."""
    rows = ["customer_id\tnote", "c-1\tZoë→", "c-2\tx", ""]
    path = shell.folder / "f.tsv"
    path.write_bytes(ending.join(rows).encode(encoding))
    assert table_of(shell, "f.tsv") == [("c-1", "Zoë→"), ("c-2", "x")]
    path.write_bytes(ending.join([*rows[:-1], "c-3\ty"]).encode(encoding))
    assert shell.masivo("import", "f.tsv", "--resume").code == 0
    assert shell.emulator.event_count == 3
    (shell.folder / "g.jsonl").write_bytes(json.dumps(event(9)).encode(encoding))
    assert shell.masivo("import", "g.jsonl").code == 0


@pytest.mark.parametrize("text", ["sep=;\n", "sep=;\r\n", '"sep=;"\n', "\ufeffSEP=;\n"])
def test_a_line_for_excel(shell: Shell, text: str) -> None:
    """The line that tells Excel the delimiter tells it here, too; lines count from there."""
    (shell.folder / "f.csv").write_text(f"{text}customer_id;note\nc-1;a,b\nc-2;\n;x\n")
    ended = shell.masivo("import", "f.csv", "-d", "type=T", "--no-brand", "--dry-run")
    assert ended.out.startswith("line 5: customer_id is missing")
    assert shell.masivo("import", "f.csv", "-d", "type=T", "--no-brand").code == 7
    assert shell.emulator.events[0]["note"] == "a,b"


@pytest.mark.parametrize("packed", [False, True])
def test_carriage_returns(shell: Shell, packed: bool) -> None:
    """A file whose lines end with carriage returns alone is read as lines; a single one within a
    line of another file is a bad row, in our words."""
    text = "customer_id,note\rc-1,Zoë\rc-2,x\r".encode()
    (shell.folder / "f.csv").write_bytes(gzip.compress(text) if packed else text)
    assert table_of(shell, "f.csv") == [("c-1", "Zoë"), ("c-2", "x")]
    (shell.folder / "g.csv").write_bytes(b"customer_id,note\nc-1,a\rb\nc-2,x\n")
    ended = shell.masivo("import", "g.csv", "-d", "type=T", "--no-brand", "--dry-run")
    assert "line 2: this is not CSV: there is a carriage return within the line" in ended.out
    assert "1 event valid, 1 invalid" in ended.out


def spreadsheet() -> bytes:
    """The bytes of a workbook, as far as anybody looks."""
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("[Content_Types].xml", "<Types/>")
        return file.getvalue()


def archive() -> bytes:
    """The bytes of a zip archive of a file."""
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("events.jsonl", "{}")
        return file.getvalue()


def tarball() -> bytes:
    """The bytes of a tar archive."""
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            archive.addfile(tarfile.TarInfo("events.jsonl"))
        return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("my table.xlsx", spreadsheet(), "'my table.xlsx' is a spreadsheet"),
        ("f.csv", spreadsheet(), "soffice --headless --convert-to csv f.csv"),
        ("f.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "Save it as CSV UTF-8"),
        ("f.zip", archive(), "unzip f.zip"),
        ("f.jsonl.bz2", bz2.compress(b"{}"), "bunzip2 --keep f.jsonl.bz2"),
        ("f.csv.xz", lzma.compress(b"{}"), "unxz --keep f.csv.xz"),
        ("f.jsonl.zst", b"\x28\xb5\x2f\xfd\x00", "unzstd --keep f.jsonl.zst"),
        ("f.tar.gz", tarball(), "tar -xf f.tar.gz"),
        ("f.csv", "a,b\n".encode("utf-16-le"), "iconv -f UTF-16LE -t UTF-8 f.csv"),
        ("f.parquet", b"PAR1\x15\x04", "a Parquet file"),
        ("f.pdf", b"%PDF-1.7\n%\xe2\xe3", "f.pdf is a PDF file, and neither CSV nor JSON Lines"),
        ("f.csv", b"<!DOCTYPE html>\n<html>", "f.csv is HTML or XML"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # archives hold the time
)
def test_what_is_no_text(shell: Shell, name: str, content: bytes, said: str) -> None:
    """A file that holds no lines is one error, which says what it is and the command that helps."""
    (shell.folder / name).write_bytes(content)
    for more in ([], ["--dry-run"], ["--format", "csv"]):
        ended = shell.masivo("import", name, *more)
        assert ended.code == 2
        assert said in ended.err
        assert ended.err.count("\n") == 1
    assert [path.name for path in shell.folder.iterdir()] == [name]


def test_standard_input_that_is_no_text(shell: Shell) -> None:
    """It has no name for the command that helps."""
    ended = shell.masivo("import", "-", stdin=archive())
    assert ended.code == 2
    assert "unzip FILE" in ended.err


def test_a_device_is_read_as_standard_input_is(shell: Shell) -> None:
    """It cannot be resumed, and nothing is written beside it."""
    ended = shell.masivo("import", "/dev/null", "--no-brand")
    assert ended.code == 0
    assert not Path("/dev/null.masivo-import").exists()
    ended = shell.masivo("import", "/dev/null", "--no-brand", "--resume")
    assert ended.code == 2
    assert "cannot be resumed" in ended.err


def test_csv_in_another_encoding(shell: Shell) -> None:
    """The encoding can be named; bytes that are not of it are a bad row, not another text."""
    shell.write("f.csv", "customer_id,type", "Zoë,T".encode("latin-1"))
    ended = shell.masivo("import", "f.csv", "--no-brand", "--dry-run")
    assert ended.code == 7
    assert "line 2: this is not utf-8" in ended.out
    ended = shell.masivo("import", "f.csv", "--no-brand", "--encoding", "latin-1")
    assert ended.code == 0
    assert shell.emulator.events[0]["customer_id"] == "Zoë"


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("f.csv", "a,b", ["--map", "customer_id=c"], "no column 'c'; its header is: a, b"),
        (
            "f.csv",
            "Customer,b",
            ["--map", "Customer=customer_id"],
            "A rule is FIELD=COLUMN: did you mean --map customer_id=Customer?",
        ),
        ("f.csv", "Customer,b", ["--map", "customer_id=customer"], "Did you mean 'Customer'?"),
        ("f.csv", "a,a", ["--map", "customer_id=a"], "2 columns 'a'; its header is: a, a\n"),
        ("f.csv", "a,b", ["--map", "x"], "FIELD=COLUMN:KIND"),
        ("f.csv", "a,b", ["--map", "x=a", "--map", "x.y=b"], "hide"),
        ("f.csv", "a,b", ["--delimiter", "ab"], "--delimiter"),
        ("f.csv", "a,b", ["--encoding", "utf-16"], "iconv"),
        ("f.csv", "a,b", ["--encoding", "klingon"], "klingon"),
        ("f.jsonl", "{}", ["--map", "a=b"], "--format csv"),
        ("f.jsonl", "{}", ["--no-quote"], "--no-quote is for CSV"),
        ("f.jsonl", '[{"a": 1}]', [], "jq -c '.[]'"),
        ("f.jsonl", "{\n}", [], "jq -c ."),
        ("f.txt", "id,total\n1,2", [], "--format csv"),
        ("f.jsonl", "{}", ["--resume", "--restart"], "cannot be combined"),
        ("f.jsonl", "{}", ["--brand", "b", "--no-brand"], "cannot be combined"),
    ],
)
def test_what_cannot_be_meant(
    shell: Shell, name: str, content: str, options: list[str], said: str
) -> None:
    """A file that is not what it is taken for stops before anything is sent, with the cure."""
    shell.write(name, content)
    for more in ([], ["--dry-run"]):
        ended = shell.masivo("import", name, *options, *more)
        assert ended.code == 2
        assert said in ended.err
    assert not shell.emulator.batches


def test_a_file_that_is_not_there(shell: Shell) -> None:
    """It is named, with the reason."""
    ended = shell.masivo("import", "nofile")
    assert ended.code == 2
    assert "cannot read nofile: No such file or directory" in ended.err


def test_a_file_that_breaks_off(shell: Shell) -> None:
    """All readable lines of a damaged gzip file are sent; the whole file resumes the import."""
    packed = gzip.compress(b"".join(json.dumps(event(n)).encode() + b"\n" for n in range(5000)))
    path = shell.folder / "f.jsonl.gz"
    path.write_bytes(packed[: len(packed) // 2])
    ended = shell.masivo("import", "f.jsonl.gz")
    assert ended.code == 2
    assert "cannot read on after line" in ended.err
    assert 0 < shell.emulator.event_count < 5000
    path.write_bytes(packed)
    assert shell.masivo("import", "f.jsonl.gz", "--resume").code == 0
    assert numbers(shell.emulator) == list(range(5000))


# ── Invalid lines, rejected events ───────────────────────────────────────────────────────────


def test_a_column_of_a_number_is_a_number(shell: Shell) -> None:
    """Where the API wants a number, or true or false, that is the kind of a column by default."""
    header = "type,customer_id,brand_id,product.sku,product.value,fulfilled,reserve:text"
    shell.write("f.csv", header, "T,1,b,007,24.90,no,1", "T,1,b,007,24-90,no,1")
    shell.emulator.on_response = lambda record: bodies.append(record.body)
    bodies: list[bytes] = []
    ended = shell.masivo("import", "f.csv", "--dry-run")
    assert "line 3: column 'product.value': '24-90' is not a number" in ended.out
    assert "line 2: the API would reject it: reserve must be a number\n" in ended.out
    shell.masivo("import", "f.csv")
    assert b'"product":{"sku":"007","value":24.9},"fulfilled":false,"reserve":"1"' in bodies[-1]


@pytest.mark.parametrize(
    ("header", "options", "cure"),
    [
        ("type;customer_id;brand_id", [], "--delimiter ';'"),
        ("type\tcustomer_id\tbrand_id", [], "--delimiter tab"),
        (
            "id;price",
            ["--map", "customer_id=id"],
            "If that is several columns, add --delimiter ';'",
        ),
        ("type,customer_id,brand_id", ["--map", "customer_id=customer_id"], "--map type=type"),
        ("id,customer_id", ["--map", "type=id", "--no-brand"], "--map customer_id=customer_id"),
        ("id,price", ["--map", "product.value=price:float"], "A KIND is one of text, number, bool"),
    ],
)
def test_a_header_that_was_meant_otherwise(
    header: str, options: list[str], cure: str, shell: Shell
) -> None:
    """The whole file is an error that names the option that helps, not row by row."""
    shell.write("f.csv", header, header)
    ended = shell.masivo("import", "f.csv", "--dry-run", *options)
    assert ended.code == 2
    assert cure in ended.err


ROWS = [
    f"2194{n % 9},product{n % 3},2019-11-01 17:{n // 60:02}:{n % 60:02}.2739" for n in range(500)
]


def test_from_the_first_wrong_command_on(shell: Shell) -> None:
    """Somebody with a table from elsewhere gets to its import by the messages alone: each names
    what is missing and the options that give it; nothing of a wrong attempt stands in the way."""
    shell.write("shop.csv", "user_id,event,timestamp", *ROWS)
    command = ["import", "shop.csv"]
    for options, said in (
        ([], "every event needs type, customer_id and brand_id, and nothing says where they co"),
        (["--map", "customer_id=user_id"], "needs type and brand_id"),
        (["--map", "type=event"], "Add --no-brand (or --brand ID, or --map brand_id=COLUMN). The "),
    ):
        command += options
        for more in (["--dry-run"], []):
            ended = shell.masivo(*command, *more)
            assert ended.code == 2
            assert said in ended.err
            assert ended.err.endswith("The columns of the file are: user_id, event, timestamp\n")
    dated = [*command, "--no-brand", "--map", "issued_at=timestamp"]
    ended = shell.masivo(*dated, "--dry-run")
    assert "line 2: the API would reject it: issued_at must be an ISO 8601" in ended.out
    assert "an event without issued_at gets the time at which it is sent" in ended.out
    ended = shell.masivo(*dated)
    assert ended.code == 7
    assert "count twice" not in ended.err
    assert shell.masivo(*command, "--no-brand", "--dry-run").code == 0
    ended = shell.masivo(*command, "--no-brand")
    assert ended.out == "All done: 500 events delivered, 0 rejected.\n"
    assert [each["customer_id"] for each in shell.emulator.events] == [
        row.partition(",")[0] for row in ROWS
    ]


def test_nothing_was_delivered(shell: Shell) -> None:
    """An import of which no event was delivered is begun anew, and its file of rejected events
    anew with it; but one that somebody has edited stays."""
    shell.write("f.csv", "customer_id,n", "a,x", "b,y")
    options = ["import", "f.csv", "-d", "type=T", "--no-brand"]
    assert (
        shell.masivo(*options, "--map", "customer_id=customer_id", "--map", "n=n:number").code == 7
    )
    path = shell.folder / "f.csv.rejected.jsonl"
    edited = path.read_bytes() + b"a note\n"
    path.write_bytes(edited)
    ended = shell.masivo(*options)
    assert (ended.code, "exists already" in ended.err) == (2, True)
    assert path.read_bytes() == edited
    path.write_bytes(edited.removesuffix(b"a note\n"))
    os.utime(path, ns=(0, 0))  # as the import left it
    assert shell.masivo(*options).code == 0
    assert not path.exists()
    assert shell.emulator.event_count == 2


def test_a_column_may_be_named_with_a_delimiter(shell: Shell) -> None:
    """A rule that names it says that it is one column."""
    shell.write("f.csv", "customer;id", "c-1")
    ended = shell.masivo(
        "import", "f.csv", "--map", "customer_id=customer;id", "-d", "type=T", "--no-brand"
    )
    assert ended.code == 0


def test_the_first_reasons_are_shown(shell: Shell) -> None:
    """The reasons of rejected events are printed."""
    bad = event(1)
    del bad["customer_id"]
    shell.write("f.jsonl", *[bad] * 5)
    ended = shell.masivo("import", "f.jsonl")
    shown = [line.partition(":")[0] for line in ended.err.splitlines()]
    assert [line for line in shown if line.startswith(("line", "…"))] == [
        *["line 1", "line 2", "line 3"],
        "…",
    ]
    assert "customer_id is missing" in ended.err


def test_dry_run(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bad line is named by its number, by the rules of ``send``; no key is needed."""
    monkeypatch.delenv("MASIVO_API_KEY")
    bad = event(3)
    del bad["customer_id"]
    shell.write("f.jsonl", event(1), "{nonsense", "", bad, {**event(5), "type": "PURCHASE"}, "null")
    ended = shell.masivo("import", "f.jsonl", "--dry-run")
    assert ended.code == 7
    lines = ended.out.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == [f"line {n}" for n in (2, 4, 5, 6)]
    assert "not JSON" in lines[0]
    assert "customer_id is missing" in lines[1]
    assert "reserved" in lines[2]
    assert "must be a mapping" in lines[3]
    assert lines[-1] == "1 event valid, 4 invalid. Nothing was sent."
    assert not shell.emulator.requests
    assert [path.name for path in shell.folder.iterdir()] == ["f.jsonl"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"issued_at": "2019-11-01T17:59:13Z"}, "issued_at is more than 72 hours old; an event wi"),
        ({"issued_at": "2999-01-01T00:00:00Z"}, "s in the future; an event without issued_at"),
        ({"issued_at": "01.11.2019 17:59"}, "ISO 8601 date and time, such as 2026-01-05T10:00:00Z"),
        ({"issued_at": 43770.75}, "issued_at must be an ISO 8601"),
        ({"product": {"value": "19.99"}}, "product.value must be a number"),
        ({"product": {"sku": 4}}, "product.sku must be a string"),
        ({"order": {"products": [{"amount": "2"}]}}, "order.products[0].amount must be a number"),
        ({"tags": "red"}, "tags must be an object or an array"),
    ],
)
def test_dry_run_knows_what_is_documented(
    shell: Shell, fields: dict[str, object], said: str
) -> None:
    """A dry run checks the age and the types that the vendor documents, and names what the API
    would reject."""
    shell.write("f.jsonl", event(1), event(2, **fields))
    ended = shell.masivo("import", "f.jsonl", "--dry-run")
    assert ended.code == 7
    assert ended.out.startswith("line 2: the API would reject it: ")
    assert said in ended.out
    assert shell.masivo("import", "f.jsonl").code == 7
    assert numbers(shell.emulator) == [1]


def test_a_file_that_is_wrong_as_a_whole(shell: Shell) -> None:
    """Where all events seem to break documented rules, one is sent alone. If the API rejects it,
    the import ends, says why, and has accounted for nothing: it can be begun anew with other
    options, or resumed all the same."""
    old = "2019-11-01T17:59:13Z"
    shell.write("f.csv", "customer_id,when", *(f"c-{n},{old}" for n in range(2_000)))
    options = ["import", "f.csv", "-d", "type=T", "--no-brand", "--map", "customer_id=customer_id"]
    dated = [*options, "--map", "issued_at=when"]
    ended = shell.masivo(*dated)
    assert ended.code == 7
    assert "issued_at is more than 72 hours old" in ended.err
    assert "--dry-run" in ended.err
    assert [len(each.events or ()) for each in shell.emulator.batches] == [1]
    assert not (shell.folder / "f.csv.rejected.jsonl").exists()
    assert shell.masivo(*options).code == 0
    assert shell.emulator.event_count == 2_000


def test_a_file_that_seems_wrong_is_resumed(shell: Shell) -> None:
    """A resumed import sends every event, whatever the documented rules say; so does one whose
    first event the API accepts all the same."""
    old = [event(n, issued_at="2019-11-01T17:59:13Z") for n in range(100)]
    shell.write("f.jsonl", *old, event(100))
    assert shell.masivo("import", "f.jsonl").code == 7
    assert shell.emulator.event_count == 0
    ended = shell.masivo("import", "f.jsonl", "--resume", "--json")
    assert (ended.json()["delivered"], ended.json()["rejected"]) == (1, 100)
    odd = [event(n, tags=f"odd {n}") for n in range(100)]
    shell.write("g.jsonl", *odd)
    shell.emulator.fail(Fault(status=200), route="events", times=None)
    assert shell.masivo("import", "g.jsonl").out == "All done: 100 events delivered, 0 rejected.\n"


def test_everything_is_refused(shell: Shell) -> None:
    """An import ends when the API has rejected every event of two batches, whatever the reason. A
    resumed one does not, nor one of which an event was accepted."""
    shell.emulator.reject = lambda each: "no" if each["n"] in range(250) else None
    shell.write("f.jsonl", *(event(n) for n in range(300)))
    ended = shell.masivo("import", "f.jsonl", "--batch-size", "50", "--json")
    assert ended.code == 7
    assert "the API rejected all 100 events that were sent" in ended.err
    assert ended.json()["error"]["message"] in ended.err
    assert "--resume" in ended.err
    ended = shell.masivo("import", "f.jsonl", "--batch-size", "50", "--resume", "--json")
    assert (ended.json()["delivered"], ended.json()["rejected"]) == (50, 250)
    assert len(shell.read("f.jsonl.rejected.jsonl")) == 250


def test_a_file_in_a_line_is_harmless(shell: Shell) -> None:
    """Nothing that a file holds moves the cursor of the terminal."""
    shell.write(
        "f.jsonl", {"type": "T", "customer_id": "c", "brand_id": None, "\x1b[2J": {"": 1e999}}
    )
    shell.write("g.csv", "customer_id:number", "\x1b[2J")
    for name in ("f.jsonl", "g.csv"):
        ended = shell.masivo("import", name, "--dry-run", "-d", "type=T", "--no-brand")
        assert ended.code == 7
        assert "\x1b" not in ended.out + ended.err


def test_rejected_events_can_be_corrected_and_imported(shell: Shell) -> None:
    """Rejected events go to a file with the reason; corrected there, they are imported as they are,
    and the reason is no part of the event."""
    shell.emulator.reject = lambda each: "bad sku" if each.get("sku") == "bad" else None
    shell.write(
        "f.jsonl", event(1), event(2, sku="bad"), "{nonsense", {**event(4), "type": "BIRTHDAY"}
    )
    ended = shell.masivo("import", "f.jsonl")
    assert ended.code == 7
    assert ended.out == "All done: 1 event delivered, 3 rejected.\n"
    path = shell.folder / "f.jsonl.rejected.jsonl"
    assert f"masivo import {path}" in ended.err
    records = {each["rejected"]["line"]: each for each in shell.read(path.name)}
    assert sorted(records) == [2, 3, 4]
    assert "bad sku" in records[2]["rejected"]["reason"]
    assert records[2]["rejected"]["status"] == 422
    assert records[3]["text"] == "{nonsense"
    assert "reserved" in records[4]["rejected"]["reason"]

    records[2]["event"]["sku"] = "good"
    records[3]["text"] = json.dumps(event(3))
    records[4]["event"]["type"] = "MY_BIRTHDAY"
    shell.write(path.name, *(records[line] for line in (2, 3, 4)))
    assert shell.masivo("import", path.name).code == 0
    assert without_stamp(shell.emulator) == [
        event(1),
        event(2, sku="good"),
        event(3),
        {**event(4), "type": "MY_BIRTHDAY"},
    ]


def test_rejected_events_are_nobody_elses(shell: Shell) -> None:
    """They are of customers: only the user can read the file, as wide as the mask may be."""
    before = os.umask(0)
    try:
        shell.write("f.jsonl", {**event(1), "type": "BIRTHDAY"})
        assert shell.masivo("import", "f.jsonl").code == 7
    finally:
        os.umask(before)
    mode = (shell.folder / "f.jsonl.rejected.jsonl").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_uncorrected_records_are_rejected_again(shell: Shell) -> None:
    """An uncorrected event is rejected again, for the same reason; its record stays as it was."""
    shell.write("f.jsonl", event(1), "{nonsense", {**event(3), "customer_id": ""})
    shell.write("g.csv", "customer_id,n:number", "c,1", "c,x", "c,1,2", 'c,"1"2')
    options = ["-d", "type=T", "--no-brand"]
    for name, more in (("f.jsonl", []), ("g.csv", options)):
        assert shell.masivo("import", name, *more).code == 7
        first = shell.read(f"{name}.rejected.jsonl")
        assert shell.masivo("import", f"{name}.rejected.jsonl").code == 7
        again = shell.read(f"{name}.rejected.jsonl.rejected.jsonl")
        for each in [*first, *again]:
            assert each.pop("rejected")["reason"]
        assert again == first
    assert shell.emulator.event_count == 2


def test_rejected_rows_carry_their_map(shell: Shell) -> None:
    """A row of a CSV file that made no event is corrected as a row, with its map and defaults."""
    shell.write("f.csv", "id,price", "c-1,abc", "c-2,2", "c-3,3,4")
    options = ["--map", "customer_id=id", "--map", "value=price:number", "-d", "type=T"]
    ended = shell.masivo("import", "f.csv", *options, "--brand", "b")
    assert ended.code == 7
    first, second = shell.read("f.csv.rejected.jsonl")
    assert "'abc' is not a number" in first["rejected"]["reason"]
    assert "'?'" in second["rejected"]["reason"]
    first["row"]["price"] = "1.5"
    del second["row"]["?"]
    shell.write("f.csv.rejected.jsonl", first, second)
    assert shell.masivo("import", "f.csv.rejected.jsonl").code == 0
    assert [(each["customer_id"], each["value"]) for each in shell.emulator.events] == [
        ("c-2", 2),
        ("c-1", 1.5),
        ("c-3", 3),
    ]
    assert {(each["type"], each["brand_id"]) for each in shell.emulator.events} == {("T", "b")}


def test_a_line_beyond_all_bounds(shell: Shell) -> None:
    """A line of many megabytes is rejected with its number, and does not fill the memory."""
    shell.write("f.jsonl", event(1), '{"a": "' + "x" * (9 << 20) + '"}', event(3))
    ended = shell.masivo("import", "f.jsonl")
    assert ended.code == 7
    assert numbers(shell.emulator) == [1, 3]
    (record,) = shell.read("f.jsonl.rejected.jsonl")
    assert record["rejected"]["line"] == 2
    assert "longer than 4 MiB" in record["rejected"]["reason"]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (['"c-2', *(["x" * 1000] * 5000)], 4196),
        (['"c-2', *["x"] * 4990, 'y,"z",'], 4996),
        (['"c-2', *["x"] * 4990, '"y"'], 4996),
        (['"c-2', "x", "", "y"], 8),
    ],
)
def test_a_quotation_mark_that_is_not_closed(shell: Shell, rows: list[str], found: int) -> None:
    """A CSV file in which a quotation mark takes up the rows behind it ends there, with the line in
    which it was opened; corrected, it is resumed, and also with the option that makes quotation
    marks text."""
    name = shell.write("f.csv", "customer_id,note", '"c-0","""two\nlines"""', "c-1,", *rows)
    options = ["-d", "type=T", "--no-brand"]
    for more in (["--dry-run"], []):
        ended = shell.masivo("import", name, *options, *more)
        assert ended.code == 2
        assert "that opens a value in line 5 is not closed" in ended.err
        assert f"(found in line {found})" in ended.err
        assert "--no-quote" in ended.err
    assert [each["customer_id"] for each in shell.emulator.events] == ["c-0", "c-1"]
    shell.write(name, "customer_id,note", '"c-0","""two\nlines"""', "c-1,", '"c-2",')
    assert shell.masivo("import", name, "--resume").code == 0
    shell.write("g.csv", "customer_id", "c-1", *rows[:2])
    assert shell.masivo("import", "g.csv", *options).code == 2
    assert shell.masivo("import", "g.csv", "--resume", "--no-quote").code == 0
    assert [each["customer_id"] for each in shell.emulator.events][2:] == ["c-2", "c-1", *rows[:2]]


def test_a_row_that_is_not_csv(shell: Shell) -> None:
    """A bad quotation mark within a line is the fault of that row alone, in our words."""
    shell.write("f.csv", "customer_id,note", 'c-1,"a" b', "c-2,x", 'c-3,"y')
    ended = shell.masivo("import", "f.csv", "-d", "type=T", "--no-brand", "--dry-run")
    assert "line 2: this is not CSV: text follows a closing quotation mark" in ended.out
    assert "line 4: this is not CSV: a quotation mark is not closed" in ended.out
    assert "1 event valid, 2 invalid" in ended.out


def test_a_file_of_rejected_events_is_not_overwritten(shell: Shell) -> None:
    """The rejected events of an earlier import are not added to, and not lost."""
    shell.write("f.jsonl", "{nonsense")
    path = shell.folder / shell.write("f.jsonl.rejected.jsonl", "mine")
    ended = shell.masivo("import", "f.jsonl")
    assert ended.code == 2
    assert "--rejected" in ended.err
    assert path.read_text() == "mine\n"
    assert shell.masivo("import", "f.jsonl", "--rejected", "other").code == 7
    assert path.read_text() == "mine\n"
    assert len(shell.read("other")) == 1


@pytest.mark.parametrize("options", [[], ["--rejected", "mine"]])
def test_standard_input_again_and_again(shell: Shell, options: list[str]) -> None:
    """A job that imports standard input goes on after a run with rejected events: they are added
    to those of earlier runs, and it says where. A line without an end that somebody wrote there
    stays one."""
    path = shell.folder / (options[-1] if options else "stdin.rejected.jsonl")
    for run in range(3):
        text = json.dumps(event(run)).encode() + b"\n{bad"
        ended = shell.masivo("import", "-", *options, stdin=text)
        assert ended.code == 7
        assert f"The rejected events are in {path}" in ended.err
        assert shell.emulator.event_count == run + 1
        assert len(path.read_bytes().splitlines()) == run + 1 + (run > 1)
        if run == 1:
            path.write_bytes(path.read_bytes() + b"a note")
    assert shell.masivo("import", "-", *options).code == 0


# ── Interrupting and resuming ────────────────────────────────────────────────────────────────


def test_network_failure(shell: Shell) -> None:
    """Without a server the import stops, counts nothing as done, and can be resumed later."""
    shell.write("f.jsonl", *(event(n) for n in range(500)))
    shell.emulator.fail(Fault(reset="after_reading"), route="events", number=range(3, 100))
    ended = shell.masivo("import", "f.jsonl", "--retries", "0")
    assert ended.code == 5
    assert "To resume: masivo import f.jsonl --resume" in ended.err
    assert "count twice" in ended.err
    assert numbers(shell.emulator) == list(range(200))
    shell.emulator.heal()
    ended = shell.masivo("import", "f.jsonl", "--resume", "--json")
    assert ended.code == 0
    assert (ended.json()["delivered"], ended.json()["complete"]) == (500, True)
    assert numbers(shell.emulator) == list(range(500))
    assert not (shell.folder / "f.jsonl.rejected.jsonl").exists()


def test_state_and_rejected_events_have_a_file_each(shell: Shell) -> None:
    """One file for both would lose the rejected events with the next state."""
    shell.write("f.jsonl", event(1), "bad")
    state = str(shell.folder / "s")
    for options in (["--state", "s", "--rejected", state], ["--rejected", "f.jsonl.masivo-import"]):
        ended = shell.masivo("import", "f.jsonl", *options)
        assert ended.code == 2
        assert "--state and --rejected both name" in ended.err
    assert shell.emulator.event_count == 0


def test_an_import_has_no_spool(shell: Shell) -> None:
    """The file is its store: with one from MASIVO_SPOOL, what it kept would arrive twice, from the
    spool and by --resume."""
    shell.write("f.jsonl", event(1), event(2))
    shell.emulator.fail(Fault(status=404), route="events", times=None)
    ended = shell.run("import", "f.jsonl", MASIVO_SPOOL="spool")
    assert ended.code == 6
    assert "kept on disk" not in ended.err
    shell.emulator.heal()
    assert shell.run("import", "f.jsonl", "--resume", MASIVO_SPOOL="spool").code == 0
    assert numbers(shell.emulator) == [1, 2]
    assert not (shell.folder / "spool").exists()


def test_the_command_to_resume_is_complete(shell: Shell) -> None:
    """It names the state, the address and the file of the key, where they were given, and can be
    pasted into a shell."""
    shell.write("an event.jsonl", event(1))
    (shell.folder / "key").write_text(shell.emulator.client_key)
    (shell.folder / "key").chmod(0o600)
    shell.emulator.fail(Fault(status=503), route="events", times=None)
    options = ["--state", "s", "--base-url", shell.emulator.url, "--key-file", "key"]
    ended = shell.masivo("import", "an event.jsonl", *options, "--retries", "0")
    command = f"masivo import 'an event.jsonl' {' '.join(options)} --resume"
    assert f"To resume: {command}" in ended.err
    shell.emulator.heal()
    assert shell.masivo(*shlex.split(command)[1:]).code == 0
    assert numbers(shell.emulator) == [1]


@pytest.mark.parametrize(
    ("status", "code"), [(401, 3), (404, 6), (429, 6), (503, 6), (403, 6), (302, 6)]
)
def test_what_is_no_events_fault(shell: Shell, status: int, code: int) -> None:
    """A response that no event is to blame for stops the import; no event counts as rejected."""
    shell.write("f.jsonl", *(event(n) for n in range(300)))
    shell.emulator.fail(Fault(status=status), route="events", times=None)
    ended = shell.masivo("import", "f.jsonl", "--retries", "0", "--json")
    assert ended.code == code
    result = ended.json()
    assert (result["delivered"], result["rejected"], result["complete"]) == (0, 0, False)
    shell.emulator.heal()
    assert shell.masivo("import", "f.jsonl", "--resume").code == 0
    assert numbers(shell.emulator) == list(range(300))


def test_refused_key(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a refused key nothing is sent, and the same file can be imported with a good one."""
    shell.write("f.jsonl", *(event(n) for n in range(300)))
    key = shell.emulator.client_key
    for wrong, code in (("wrong", 3), (shell.emulator.server_key, 4)):
        monkeypatch.setenv("MASIVO_API_KEY", wrong)
        ended = shell.masivo("import", "f.jsonl")
        assert ended.code == code
        assert "may then count twice" not in ended.err
    monkeypatch.setenv("MASIVO_API_KEY", key)
    assert shell.masivo("import", "f.jsonl").code == 0
    assert numbers(shell.emulator) == list(range(300))


def test_out_of_order(shell: Shell) -> None:
    """With several batches on their way, a failed one is sent again later, and it alone."""
    shell.write("f.jsonl", *(event(n, customer_id=f"c-{n // 10}") for n in range(200)))
    shell.emulator.fail(Fault(reset="after_reading"), route="events", number=2)
    options = ["--in-flight", "4", "--batch-size", "10"]
    ended = shell.masivo("import", "f.jsonl", *options, "--retries", "0")
    assert ended.code == 5
    assert 10 <= shell.emulator.event_count < 200
    assert shell.masivo("import", "f.jsonl", "--resume", *options).code == 0
    assert sorted(numbers(shell.emulator)) == list(range(200))


def test_imported_before(shell: Shell) -> None:
    """A file is not imported twice by accident."""
    shell.write("f.jsonl", event(1), "{nonsense")
    assert shell.masivo("import", "f.jsonl").code == 7
    ended = shell.masivo("import", "f.jsonl")
    assert ended.code == 2
    assert "imported before: 1 event delivered, 1 rejected, all of it" in ended.err
    assert shell.masivo("import", "f.jsonl", "--resume").out.startswith("All done: 1 event")
    assert shell.emulator.event_count == 1
    assert len(shell.read("f.jsonl.rejected.jsonl")) == 1
    assert shell.masivo("import", "f.jsonl", "--restart", "--rejected", "r").code == 7
    assert shell.emulator.event_count == 2


def test_what_was_added_since(shell: Shell) -> None:
    """Of a file that has grown, only what is new is sent."""
    shell.write("f.jsonl", event(1))
    assert shell.masivo("import", "f.jsonl").code == 0
    shell.write("f.jsonl", event(1), event(2))
    assert shell.masivo("import", "f.jsonl", "--resume").code == 0
    assert numbers(shell.emulator) == [1, 2]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_a_last_line_without_an_end(shell: Shell, ending: str, packed: bool, count: int) -> None:
    """A file whose last line has no newline is resumed after lines, or only the newline, were
    appended to it."""
    path = shell.folder / "f.jsonl"
    lines = [json.dumps(event(n)) for n in range(count)]
    for text in (
        ending.join(lines),
        ending.join([*lines, ""]),
        ending.join([*lines, json.dumps(event(count))]),
    ):
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
        assert shell.masivo("import", "f.jsonl", "--resume").code == 0
    assert numbers(shell.emulator) == list(range(count + 1))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "head", "last"),
    [
        ("f.jsonl", json.dumps(event(1)) + "\n", json.dumps(event(2))),
        ("f.csv", "brand_id,type,n:number,customer_id\nb,T,1,c\n", 'b,T,2,"c"'),
    ],
)
def test_a_last_line_that_is_being_written(
    shell: Shell, name: str, head: str, last: str, packed: bool
) -> None:
    """A last line without an end that is invalid may be incomplete: it is neither sent nor
    rejected. The import says so, and resumes with it."""
    path = shell.folder / name
    for text in (head + last[:-4], head + last[:-3]):
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
        ended = shell.masivo("import", name, "--resume", "--json")
        assert ended.code == 2
        said = f"line {text.count(chr(10)) + 1}, the last one, has no newline at its end"
        assert said in ended.err
        assert said in ended.json()["error"]["message"]
        assert (ended.json()["delivered"], ended.json()["rejected"]) == (1, 0)
    assert shell.masivo("import", name, "--dry-run").code == 7
    text = head + last + "\n" + last
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert shell.masivo("import", name, "--resume").code == 0
    assert numbers(shell.emulator) == [1, 2, 2]
    assert not (shell.folder / f"{name}.rejected.jsonl").exists()


def test_half_of_a_surrogate_pair(shell: Shell) -> None:
    """A text that was cut within an emoji, as JavaScript cuts texts, is rejected by name, and kept
    as it was."""
    shell.write("f.jsonl", event(1), {**event(2), "title": "cut \ud83d"}, event(3))
    ended = shell.masivo("import", "f.jsonl")
    assert ended.code == 7
    assert "line 2: this is not JSON: it has half of a surrogate pair" in ended.err
    assert numbers(shell.emulator) == [1, 3]
    assert r"cut \ud83d" in shell.read("f.jsonl.rejected.jsonl")[0]["text"]


@pytest.mark.parametrize("options", [[], ["--batch-size", "7"], ["--in-flight", "3"]])
def test_every_line_of_standard_input_that_was_read_is_kept(
    shell: Shell, options: list[str]
) -> None:
    """The one that was read and not sent, as the import ended, too: whoever continues with the next
    line loses none."""
    shell.emulator.fail(Fault(status=503), route="events", times=None)
    text = b"".join(json.dumps(event(n)).encode() + b"\n" for n in range(450))
    ended = shell.masivo("import", "-", "--retries", "0", *options, stdin=text)
    assert ended.code == 6
    kept = [each["event"]["n"] for each in shell.read("stdin.rejected.jsonl")]
    assert f"{len(kept)} lines of standard input were read" in ended.err
    assert kept == list(range(len(kept)))


def test_an_incomplete_end_of_standard_input(shell: Shell) -> None:
    """Nothing can follow it: it is rejected, and kept."""
    ended = shell.masivo("import", "-", stdin=json.dumps(event(1)).encode() + b'\n{"type"')
    assert ended.code == 7
    assert '"text":"{\\"type\\""' in (shell.folder / "stdin.rejected.jsonl").read_text()


@pytest.mark.parametrize("lines", [[event(1), event(9)], [event(9), event(2)], [event(1)], []])
def test_a_changed_file(shell: Shell, lines: list[dict[str, object]]) -> None:
    """A file that does not begin as it did is not resumed."""
    shell.write("f.jsonl", event(1), event(2))
    assert shell.masivo("import", "f.jsonl").code == 0
    shell.write("f.jsonl", *lines)
    ended = shell.masivo("import", "f.jsonl", "--resume")
    assert ended.code == 2
    assert "has changed" in ended.err
    assert shell.emulator.event_count == 2


def test_other_options_and_another_address(shell: Shell) -> None:
    """An import resumes as it was started: with its options, which need not be given again, and at
    its address."""
    shell.write("f.csv", "id", *("c" for _ in range(300)))
    options = ["--map", "customer_id=id", "-d", "type=T", "--no-brand"]
    shell.emulator.fail(Fault(status=503), route="events", number=range(2, 99))
    assert shell.masivo("import", "f.csv", *options, "--retries", "0").code == 6
    shell.emulator.heal()
    ended = shell.masivo("import", "f.csv", "--resume", "-d", "type=OTHER")
    assert ended.code == 2
    assert "leave these out" in ended.err
    ended = shell.masivo("import", "f.csv", "--resume", "--base-url", "http://127.0.0.1:9/other")
    assert ended.code == 2
    assert f"--base-url {shell.emulator.url}" in ended.err
    assert shell.masivo("import", "f.csv", "--resume").code == 0
    assert shell.emulator.event_count == 300
    assert {str(each["type"]) for each in shell.emulator.events} == {"T"}


def test_a_mistyped_address(shell: Shell) -> None:
    """An import that no server has accepted an event of resumes at another address, with the
    options of the first run."""
    shell.write("f.csv", "id", *("c" for _ in range(300)))
    options = ["--map", "customer_id=id", "-d", "type=T", "--no-brand", "--retries", "0"]
    mistyped = ["--base-url", "http://127.0.0.1:9/v1"]
    assert shell.masivo("import", "f.csv", *options, *mistyped).code == 5
    ended = shell.masivo("import", "f.csv", "--resume")
    assert (ended.code, shell.emulator.event_count) == (0, 300)
    assert {str(each["type"]) for each in shell.emulator.events} == {"T"}


def test_what_is_done_stays_done_from_run_to_run(shell: Shell) -> None:
    """Though what comes before it is not done yet: each run adds to what was done by those before
    it."""
    shell.write("f.jsonl", event(1), "bad")
    shell.emulator.fail(Fault(status=503), route="events", times=None)
    resume = ("import", "f.jsonl", "--retries", "0", "--resume")
    assert shell.masivo(*resume).code == 6
    shell.write("f.jsonl", event(1), "bad", "bad, too")
    assert shell.masivo(*resume).code == 6
    shell.emulator.heal()
    assert shell.masivo(*resume).code == 7
    assert numbers(shell.emulator) == [1]
    lines = [each["rejected"]["line"] for each in shell.read("f.jsonl.rejected.jsonl")]
    assert lines == [2, 3]


def test_only_one_at_a_time(shell: Shell) -> None:
    """Two imports of one file do not run side by side."""
    shell.write("f.jsonl", event(1))
    with (shell.folder / "f.jsonl").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ended = shell.masivo("import", "f.jsonl")
    assert ended.code == 2
    assert "another masivo import of f.jsonl is running" in ended.err


def test_standard_input_cannot_be_resumed(shell: Shell) -> None:
    """It is said before anything is read; what was read and not delivered is kept."""
    for option in ("--resume", "--restart"):
        ended = shell.masivo("import", "-", option)
        assert ended.code == 2
        assert "standard input cannot be resumed" in ended.err
    shell.emulator.fail(Fault(status=503), route="events", number=range(2, 99))
    text = b"".join(json.dumps(event(n)).encode() + b"\n" for n in range(150))
    ended = shell.masivo("import", "-", "--retries", "0", stdin=text)
    assert ended.code == 6
    assert "150 lines of standard input were read" in ended.err
    assert shell.emulator.event_count == 100
    kept = [each["rejected"]["status"] for each in shell.read("stdin.rejected.jsonl")]
    assert kept == [503] * 50
    shell.emulator.heal()
    assert shell.masivo("import", "stdin.rejected.jsonl").code == 0
    assert numbers(shell.emulator) == list(range(150))


def test_any_other_pipe(shell: Shell) -> None:
    """A pipe that a shell passes for ``<(…)`` is read like standard input. It has several readers
    if its user says so."""
    reading, writing = os.pipe()
    fcntl.flock(reading, fcntl.LOCK_EX)
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(json.dumps(event(1)).encode() + b"\n{bad\n")
    ended = shell.masivo("import", f"/dev/fd/{reading}")
    os.close(reading)
    assert ended.code == 7
    assert numbers(shell.emulator) == [1]
    assert [path.name for path in shell.folder.iterdir()] == ["stdin.rejected.jsonl"]


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version": 99}', b"\xff"])
def test_a_state_of_no_use(shell: Shell, content: bytes) -> None:
    """A state that cannot be read is an error, not a beginning anew."""
    shell.write("f.jsonl", event(1))
    (shell.folder / "f.jsonl.masivo-import").write_bytes(content)
    ended = shell.masivo("import", "f.jsonl", "--resume")
    assert ended.code == 2
    assert "delete it" in ended.err
    assert not shell.emulator.requests


@pytest.mark.parametrize("options", [[], ["--restart"]])
def test_a_state_that_is_no_file(shell: Shell, options: list[str]) -> None:
    """A device, a pipe or a directory is an error at once: nothing is read there, nothing takes its
    place, and nothing is sent."""
    shell.write("f.jsonl", event(1))
    os.mkfifo(shell.folder / "pipe")
    (shell.folder / "null").symlink_to("/dev/null")
    for name in ("null", "pipe", "."):
        with shell.start("import", "f.jsonl", "--state", name, *options) as process:
            _, err = process.communicate(timeout=20)
        assert process.returncode == 2
        assert err.decode() == f"error: {name} is not a regular file: name another with --state\n"
    assert not shell.emulator.requests


def test_a_name_that_is_not_utf_8(shell: Shell) -> None:
    """A file of any name is imported, with a name for the file of rejected events that is UTF-8."""
    name = os.fsdecode(b"caf\xe9.jsonl")
    shell.write(name, event(1), "{bad")
    ended = shell.masivo("import", name)
    assert ended.code == 2
    assert "is not UTF-8: name another file with --rejected" in ended.err
    assert not shell.emulator.requests
    assert shell.run("import", name, "--rejected", "r").code == 7
    assert len(shell.read("r")) == 1


def test_a_state_that_cannot_be_written(shell: Shell) -> None:
    """Before anything is sent it is known whether the state can be kept."""
    shell.write("f.jsonl", event(1))
    ended = shell.masivo("import", "f.jsonl", "--state", "no/such/folder")
    assert ended.code == 2
    assert "--state names another place" in ended.err
    assert not shell.emulator.requests
    ended = shell.masivo("import", "f.jsonl", "--rejected", "no/such/folder")
    assert ended.code == 2
    assert "--rejected" in ended.err
    assert not shell.emulator.requests
    assert shell.masivo("import", "f.jsonl", "--state", "other").code == 0
    assert (shell.folder / "other").exists()


@pytest.mark.full
def test_a_real_table(shell: Shell) -> None:
    """A published table of 32,283 rows is imported with a map of two columns; a dry run names each
    row whose time is too old or in another form. Its licence does not let us keep a copy."""
    package = "retentioneering==3.3.0"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", ".", package]
    if subprocess.run(command, capture_output=True, timeout=120, check=False).returncode:
        pytest.skip(f"{package} cannot be downloaded")
    (wheel,) = shell.folder.glob("*.whl")
    table = zipfile.ZipFile(wheel).read("retentioneering/datasets/data/simple-onlineshop.csv")
    (shell.folder / "shop.csv").write_bytes(table)
    command = ["import", "shop.csv", "--map", "customer_id=user_id", "--map", "type=event"]
    ended = shell.masivo(*command, "--no-brand", "--map", "issued_at=timestamp", "--dry-run")
    assert ended.out.splitlines()[-1] == "0 events valid, 32,283 invalid. Nothing was sent."
    assert shell.masivo(*command, "--no-brand", "--dry-run").code == 0
    ended = shell.masivo(*command, "--no-brand")
    assert ended.out == "All done: 32,283 events delivered, 0 rejected.\n"
    assert [f"{each['customer_id']},{each['type']}" for each in shell.emulator.events] == [
        row.rpartition(",")[0] for row in table.decode().splitlines()[1:]
    ]


def test_a_wrong_command_after_a_run_that_delivered_nothing(shell: Shell) -> None:
    """It changes nothing: neither the rejected events nor what ``--resume`` needs."""
    shell.write("f.csv", "who,what", "c-1,VISIT", ",VISIT")
    shell.emulator.reject = lambda _: "no"
    command = ["import", "f.csv", "--map", "customer_id=who", "--map", "type=what", "--no-brand"]
    assert shell.masivo(*command).code == 7
    left = {path: path.read_bytes() for path in shell.folder.iterdir()}
    assert len(left) == 3
    assert shell.masivo("import", "f.csv").code == 2
    assert {path: path.read_bytes() for path in shell.folder.iterdir()} == left
    assert shell.masivo("import", "f.csv", "--resume").code == 7


def test_corrected_rejected_events_are_kept(shell: Shell) -> None:
    """An import that begins anew removes the rejected events of the last run, but not a file that
    was edited since, of whatever size."""
    shell.write("f.jsonl", event(1))
    shell.emulator.reject = lambda _: "no"
    rejected = shell.folder / "f.jsonl.rejected.jsonl"
    for _ in range(2):
        assert shell.masivo("import", "f.jsonl").code == 7
    corrected = rejected.read_bytes().replace(b"c-1", b"c-2")
    rejected.write_bytes(corrected)
    ended = shell.masivo("import", "f.jsonl")
    assert ended.code == 2
    assert "exists already" in ended.err
    assert rejected.read_bytes() == corrected
