"""Whether the clients of this process may reach other hosts than this machine.

The test kit (``masivo.testing.plugin``) forbids it. Children learn of that by the environment
variable, which ``configure`` heeds; in the process itself this flag holds too, so that a test
that empties the environment opens no hole.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LOOPBACK_ONLY", "environ", "loopback_only"]

LOOPBACK_ONLY = "MASIVO_LOOPBACK_ONLY"
"""The environment variable that says the same to children, and to drivers of one's own."""

loopback_only = False
"""Whether a client for another host is refused."""


def environ() -> Mapping[str, str]:
    """The environment that clients are configured from."""
    return {**os.environ, LOOPBACK_ONLY: "1"} if loopback_only else os.environ
