"""The performance of a scenario by a driver, and the report of it."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .adapter import LIMIT
from .clock import VirtualClock
from .disk import MemoryDisk
from .run import Run
from .server import Server
from .watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from .adapter import Adapter, Capability
    from .scenario import Scenario

__all__ = ["Report", "perform"]

_FORMS: Final[dict[Capability, str]] = {
    "background": "pumped",
    "parallel": "one request at a time",
    "storage": "work on stores by the suite",
}
_logger: Final = logging.getLogger("masivo")


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a scenario that ran to its end."""

    scenario: Scenario
    driver: str
    capabilities: frozenset[Capability]
    """The driver's capabilities."""
    transcript: tuple[str, ...]
    """Every step and outcome, then every request, byte for byte."""
    polls: tuple[float, ...]
    """The times at which engines were polled, in virtual seconds: the wake-ups."""

    @property
    def lacked(self) -> frozenset[Capability]:
        """The capabilities that the scenario needs and the driver lacks."""
        return self.scenario.needs - self.capabilities

    @property
    def form(self) -> str:
        """The form in which it ran: ``in full``; if the driver lacks a capability, ``pumped``,
        ``one request at a time``, ``work on stores by the suite``, or several of these."""
        return ", ".join(_FORMS[each] for each in sorted(self.lacked)) or "in full"


class _Warnings(logging.Handler):
    """Collects the logger's lines."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        self._lines.append(record.getMessage())


class _Everything(logging.Handler):
    """Collects the lines of all loggers, tracebacks included."""

    def __init__(self, logged: list[tuple[str, str]]) -> None:
        super().__init__()
        self._logged = logged

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 (of the code that logs)
            self.handleError(record)
        else:
            self._logged.append((f"{record.name} at {record.levelname}", line))


def perform(
    scenario: Scenario,
    make_adapter: Callable[[VirtualClock], Adapter],
    *,
    limit: float = LIMIT,
) -> Report:
    """Run a scenario with a driver.

    Args:
        scenario: what to run.
        make_adapter: the driver's Adapter class, or a function that makes one.
        limit: real seconds after which something counts as missing.

    Raises:
        NonconformityError: the driver does not do what the scenario says.
    """
    clock = VirtualClock()
    with ExitStack() as stack:
        watch = stack.enter_context(Watch(clock))
        server = stack.enter_context(Server(clock, watch, MemoryDisk()))
        adapter = stack.enter_context(make_adapter(clock))
        watch.carries_out = not adapter.storage
        run = Run(adapter, watch, server, limit)
        root = logging.getLogger()
        stack.callback(root.setLevel, root.level)  # `Run.log_everything` changes it
        for logger, handler in (_logger, _Warnings(run.warnings)), (root, _Everything(run.logged)):
            logger.addHandler(handler)
            stack.callback(logger.removeHandler, handler)
        try:
            scenario.script(run)
            transcript = run.finish()
        except BaseException as error:
            error.add_note(
                f"driver {adapter.name}, scenario {scenario.name}: {scenario.rule} "
                f"See {scenario.guarantee}"
            )
            run.leave()
            raise
        return Report(
            scenario, adapter.name, adapter.capabilities, transcript, tuple(watch.poll_times)
        )
