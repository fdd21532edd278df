"""A core without a driver, and a way to count instructions."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING, Any

from masivo.protocol import Engine, Request, Response, Secret, configure

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from masivo.protocol import Buffer, Delivery

__all__ = ["Core", "counted", "event", "instructions"]


def event(number: int, customers: int = 997) -> dict[str, Any]:
    """An event of about 320 bytes."""
    return {
        "type": "ADD_TO_CART",
        "customer_id": f"customer-{number % customers:06d}",
        "brand_id": "brand-main",
        "platform": "web",
        "product": {
            "sku": "85123A",
            "amount": 6,
            "value": 15.3,
            "discounted_value": 12.75,
            "tags": ["home", "kitchen"],
            "metadata": {"colour": "white", "country": "United Kingdom"},
        },
        "metadata": {"session": "f3b1c2d4e5", "page": "/p/85123A", "n": f"{number:08d}"},
    }


class Core:
    """An engine with one client, that has its token; time stands still."""

    def __init__(self, **settings: Any) -> None:
        configured = configure(
            Secret("a-key-for-tests"), environ={}, base_url="http://127.0.0.1", **settings
        )
        self.wakes = 0
        """How often the driver was woken."""
        self.polls = 0
        """How often it polled."""
        self.requests: list[Request] = []
        """What is on its way."""
        self.engine = Engine(
            configured.account,
            clock=lambda: 0.0,
            wall_clock=lambda: 1e9,
            random=random.Random(7),
            wake=self._wake,
        )
        self.buffer: Buffer = self.engine.attach(configured)
        self.buffer.token()
        self.poll()
        self.answer(b'{"data":"a-token-for-tests"}')
        self.poll()
        self.wakes = self.polls = 0

    def _wake(self) -> None:
        self.wakes += 1

    def send(self, number: int) -> Delivery:
        """Send the event of this number."""
        return self.buffer.send(event(number))

    def poll(self) -> None:
        """Poll, and keep what is to be sent."""
        self.polls += 1
        self.requests += self.engine.poll().requests

    def answer(self, body: bytes = b"{}") -> None:
        """Let the oldest request on its way succeed."""
        request = self.requests.pop(0)
        self.engine.hand_back(request.id, Response(200, {}, body))


def instructions(function: Callable[[], object]) -> int:
    """How many instructions a call executes, what it calls included: the second of two calls."""
    counted(function)
    return counted(function)


def counted(function: Callable[[], object]) -> int:
    """How many instructions of Python's virtual machine a call executes, what it calls included.

    From Python 3.12 on, code is counted in full from the second time that it is traced.
    """
    count = 0

    def trace(frame: FrameType, kind: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if kind == "opcode":
            count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count
