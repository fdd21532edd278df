"""Report what is in the shop's own tables: ``python manage.py backfill orders.csv``."""

import csv
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from masivo import Client, FailedEvent


def orders(path: str) -> Iterator[dict[str, str]]:
    """The rows, in the order of their numbers; with models,
    ``Order.objects.order_by("pk").iterator()``."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


class Command(BaseCommand):
    """Send an event for each order, and say what became of all of them."""

    help = "Report orders of the past."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the file, and the order to start with."""
        parser.add_argument("file")
        parser.add_argument("--after", type=int, default=0, help="skip orders up to this number")

    def handle(self, *_: Any, **options: Any) -> None:
        """Send batch after batch; the last line says how to continue."""
        failures: list[FailedEvent] = []
        sent = options["after"]
        with Client(brand_id=settings.SHOP_BRAND, on_error=failures.append) as client:
            for row, order in enumerate(orders(options["file"]), 1):
                number = int(order["number"])
                if number <= options["after"]:
                    continue
                client.send_analytics_event(
                    {
                        "type": "ORDER_IMPORTED",
                        "customer_id": order["customer"],
                        "platform": "import",
                        "metadata": {"order": number},
                    }
                )
                if row % 1000 == 0:  # wait for the outcome of all events so far
                    if client.flush().failed:
                        break
                    sent = number
                    self.stdout.write(f"{client.stats().delivered} delivered, up to {sent}")
        stats = client.stats()  # leaving the block has flushed the client
        self.stdout.write(f"{stats.delivered} delivered, {stats.failed} failed")
        if failures:
            raise CommandError(f"{failures[0].error}. Continue with --after {sent}")
