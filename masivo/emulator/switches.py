"""The inspector's switches: faults that apply to every request of a route until switched off."""

import math
from dataclasses import dataclass
from typing import Any, Literal, Self, cast, get_args

from masivo.emulator.faults import Fault
from masivo.emulator.quota import DAY, USED_UP
from masivo.emulator.responses import Json

# Faults in place of the API's own response, by status or name; one at a time.
Misbehaviour = Literal["401", "429", "500", "reset", "quota"]
# The requests that get the fault.
Scope = Literal["all", "events", "authorize"]

# The longest latency and Retry-After, in seconds.
MAX_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Switches:
    """The state of all switches. Raises ValueError for an invalid value."""

    # Seconds before every response; 0: off.
    latency: float = 0.0
    # None: the API's own response.
    response: Misbehaviour | None = None
    # The Retry-After of the response "429", in seconds.
    retry_after: float = 5.0
    # Only batches (and single events), only authorizations, or every request.
    scope: Scope = "events"

    def __post_init__(self) -> None:
        for name in ("latency", "retry_after"):
            seconds = getattr(self, name)
            if type(seconds) not in (int, float) or not 0 <= seconds <= MAX_SECONDS:
                raise ValueError(f"{name} must be a number of seconds from 0 to {MAX_SECONDS:g}")
        if self.response is not None and self.response not in get_args(Misbehaviour):
            raise ValueError(f"response must be null or one of {', '.join(get_args(Misbehaviour))}")
        if self.scope not in get_args(Scope):
            raise ValueError(f"scope must be one of {', '.join(get_args(Scope))}")

    @classmethod
    def parse(cls, document: Json) -> Self:
        """Return the switches from a JSON object whose fields are those of this class.

        A missing field is off. Raises TypeError or ValueError for anything else.
        """
        if not isinstance(document, dict):
            raise TypeError("the body must be a JSON object")
        unknown = document.keys() - cls.__dataclass_fields__.keys()
        if unknown:
            raise ValueError(f"there is no switch {min(unknown)!r}")
        return cls(**cast("dict[str, Any]", document))

    def fault(self, route: str) -> Fault | None:
        """Return the fault for a request of this route, or None."""
        if not self._applies_to(route) or not (self.latency or self.response):
            return None
        match self.response:
            case None:
                return Fault(delay=self.latency)
            case "reset":
                return Fault(reset="after_reading", delay=self.latency)
            case "quota":
                return Fault(
                    status=429, headers=_QUOTA_HEADERS, body=_QUOTA_BODY, delay=self.latency
                )
            case "429":
                headers = {"Retry-After": str(math.ceil(self.retry_after))}
                return Fault(status=429, headers=headers, delay=self.latency)
            case status:
                return Fault(status=int(status), delay=self.latency)

    def _applies_to(self, route: str) -> bool:
        if self.scope == "authorize":
            return route == "authorize"
        return self.scope == "all" or route in ("events", "event")


NO_SWITCHES = Switches()

_QUOTA_BODY = {"error": "Too Many Requests", "details": USED_UP}
_QUOTA_HEADERS = {
    "X-RateLimit-Limit": "1000",
    "X-RateLimit-Remaining": "0",
    "X-RateLimit-Reset": f"{DAY:.0f}",
    "Retry-After": f"{DAY:.0f}",
}
