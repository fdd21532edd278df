"""Types of options that are numbers, whose errors name what is expected."""

from __future__ import annotations

import click

__all__ = ["Seconds"]


class Seconds(click.FloatRange):
    """A number of seconds."""

    name = "number of seconds"
