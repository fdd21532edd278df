"""The record of the public interface: ``make api``.

``public_api.txt`` names everything that a user can rely on, with its signature. A change of it is
a change for users, so it can be recorded only together with a line in CHANGELOG.md.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import griffe

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RECORD", "current", "recorded", "unreleased"]

RECORD: Final = Path(__file__).with_name("public_api.txt")
CHANGELOG: Final = Path(__file__).parents[2] / "CHANGELOG.md"

MODULES: Final = (
    "masivo",
    "masivo.opentelemetry",
    "masivo.protocol",
    "masivo.emulator",
    "masivo.testing",
    "masivo.testing.conformance",
)
"""What is public is what these modules export."""

_DIGEST: Final = "# changelog: "


def current() -> list[str]:
    """The public interface of the code as it is, a line for each name."""
    package = griffe.load("masivo")
    lines: list[str] = []
    for path in MODULES:
        module = package if path == "masivo" else package[path.removeprefix("masivo.")]
        for name in sorted(map(str, module.exports or ())):
            exported = module.members[name]
            target = exported.final_target if isinstance(exported, griffe.Alias) else exported
            lines += _described(f"{path}.{name}", target)
    return lines


def _described(path: str, thing: griffe.Object) -> Iterator[str]:
    if isinstance(thing, griffe.Function):
        yield f"{path}{thing.signature()[len(thing.name) :]}"
    elif isinstance(thing, griffe.Attribute):
        value = f" = {thing.value}" if thing.value is not None else ""
        yield f"{path}: {thing.annotation}{value}"
    elif isinstance(thing, griffe.Class):
        bases = ", ".join(str(base) for base in thing.bases)
        yield f"class {path}({bases})"
        members = thing.all_members
        for name in sorted(members):
            member = members[name]
            target = member.final_target if isinstance(member, griffe.Alias) else member
            if _is_public(name) and not isinstance(target, griffe.Class):
                yield from _described(f"{path}.{name}", target)
    else:
        yield f"module {path}"


def _is_public(name: str) -> bool:
    return not name.startswith("_") or name in ("__init__", "__enter__", "__aenter__", "__await__")


def recorded() -> list[str]:
    """The public interface as it was last recorded."""
    return [line for line in _lines() if not line.startswith("#")]


def _lines() -> list[str]:
    return RECORD.read_text("utf-8").splitlines() if RECORD.exists() else []


def unreleased() -> str:
    """The digest of what CHANGELOG.md says of the next release, and of all before it."""
    return hashlib.sha256(CHANGELOG.read_bytes()).hexdigest()[:16]


def record() -> str | None:
    """Record the public interface; why not, if there is no changelog entry for the change."""
    now = current()
    if now == recorded():
        return None
    if f"{_DIGEST}{unreleased()}" in _lines():
        return (
            "the public interface has changed, and CHANGELOG.md has not: say under [Unreleased] "
            "what changes for users, then record it again"
        )
    head = ["# What users can rely on; `make api` writes it.", f"{_DIGEST}{unreleased()}"]
    RECORD.write_text("\n".join([*head, *now]) + "\n", "utf-8")
    return None


if __name__ == "__main__":
    sys.exit(record())
