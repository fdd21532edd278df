"""The loopback-only guard: it keeps clients from connecting to other machines in tests.

The test kit (``masivo.testing.plugin``) switches it on. Child processes inherit the environment
variable, which ``configure`` reads; in the process itself this flag applies as well, so that a test
that empties the environment does not lift the guard.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LOOPBACK_ONLY", "environ", "loopback_only"]

LOOPBACK_ONLY = "MASIVO_LOOPBACK_ONLY"
"""The environment variable with the same meaning for child processes and third-party drivers."""

loopback_only = False
"""True while the construction of a client for another host fails."""


def environ() -> Mapping[str, str]:
    """Return the environment from which clients are configured. In tests it names no spool: what is
    left there is not theirs to send."""
    if not loopback_only:
        return os.environ
    return {**os.environ, LOOPBACK_ONLY: "1", "MASIVO_SPOOL": ""}
