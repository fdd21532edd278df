"""Advice for options that do not exist: other packages' names, and slips of the pen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["INSTEAD", "MEANT", "advice"]

MEANT: Final = {
    **dict.fromkeys(
        (
            *("key", "client_key", "token", "secret", "write_key", "project_api_key"),
            *("personal_api_key", "api_token"),
        ),
        "api_key",
    ),
    **dict.fromkeys(
        (
            *("url", "host", "api_host", "endpoint", "api_url", "server", "server_url"),
            *("api_endpoint", "data_plane_url"),
        ),
        "base_url",
    ),
    **dict.fromkeys(
        (
            *("flush_interval", "interval", "linger", "upload_interval", "batch_interval"),
            *("batch_timeout", "flush_timeout", "linger_ms", "flush_interval_millis"),
            "upload_interval_seconds",
        ),
        "max_wait",
    ),
    **dict.fromkeys(
        ("timeout_seconds", "request_timeout", "connect_timeout", "read_timeout", "http_timeout"),
        "timeout",
    ),
    **dict.fromkeys(
        (
            *("flush_at", "batch", "max_batch_size", "max_batch", "upload_size", "batch_events"),
            "flush_queue_size",
        ),
        "batch_size",
    ),
    **dict.fromkeys(
        (
            *("max_queue_size", "queue_size", "max_size", "maxsize", "buffer_size", "buffer"),
            *("queue", "max_events", "max_pending"),
        ),
        "max_queue",
    ),
    **dict.fromkeys(
        (
            *("retry", "retries", "backoff", "max_attempts", "attempts", "retry_attempts"),
            *("retry_policy", "flush_max_retries", "retry_limit"),
        ),
        "max_retries",
    ),
    **dict.fromkeys(
        (
            *("on_failure", "on_failed", "error_handler", "error_callback", "callback", "on_drop"),
            *("on_exception", "exception_handler"),
        ),
        "on_error",
    ),
    **dict.fromkeys(
        (
            *("before", "scrub", "filter", "processor", "sample_rate", "sample", "sampling"),
            *("middleware", "redact", "event_processor", "plugins"),
        ),
        "before_send",
    ),
    **dict.fromkeys(("on_event", "on_change", "hooks", "tracer"), "on_activity"),
    **dict.fromkeys(
        (
            *("workers", "max_workers", "concurrency", "threads", "thread", "parallelism"),
            "max_concurrency",
        ),
        "max_in_flight",
    ),
    **dict.fromkeys(
        (
            *("send", "dry_run", "test", "test_mode", "sandbox", "disable", "disabled"),
            *("opt_out", "offline"),
        ),
        "enabled",
    ),
    **dict.fromkeys(
        (
            *("persist", "persistence", "storage", "store", "queue_dir", "spool_dir", "spool_path"),
            *("storage_provider", "persistent"),
        ),
        "spool",
    ),
    **dict.fromkeys(("http", "client", "httpx_client"), "http_client"),
    "default_brand": "brand_id",
}
"""Names that other packages use for our options."""

INSTEAD: Final = {
    **dict.fromkeys(("debug", "verbose", "log_level"), "set MASIVO_LOG=debug in the environment"),
    **dict.fromkeys(("logger", "log"), "use logging.getLogger('masivo')"),
    **dict.fromkeys(("proxy", "proxies"), "set HTTPS_PROXY in the environment"),
    **dict.fromkeys(
        (
            *("verify", "verify_ssl", "ssl", "ssl_context", "cert", "ca", "ca_file", "ca_certs"),
            *("cafile", "ca_bundle", "ssl_verify"),
        ),
        "set SSL_CERT_FILE in the environment",
    ),
    **dict.fromkeys(
        ("headers", "user_agent", "session", "transport"), "pass an httpx client as http_client"
    ),
    **dict.fromkeys(
        ("gzip", "compress", "compression"), "pass api=masivo.Api(content_encoding='gzip')"
    ),
    **dict.fromkeys(("platform", "customer_id", "user_id"), "put it into each event"),
    **dict.fromkeys(
        ("super_properties", "default_properties", "properties", "context"),
        "put them into each event, in before_send",
    ),
    **dict.fromkeys(
        ("close_timeout", "shutdown_timeout", "drain_timeout", "exit_timeout"),
        "pass it to close(timeout)",
    ),
    **dict.fromkeys(
        ("env", "environment", "region", "server_zone"), "set base_url, or MASIVO_BASE_URL"
    ),
    **dict.fromkeys(
        ("atexit", "daemon"), "open clients deliver what they hold when the program ends"
    ),
    "loop": "an AsyncClient belongs to the loop of its first use",
    "server_key": "pass a CLIENT key as api_key",
    **dict.fromkeys(
        ("on_success", "on_delivered"), "call result() of the delivery, or set on_activity"
    ),
    **dict.fromkeys(("sync_mode", "sync"), "wait for the delivery, or call flush()"),
    **dict.fromkeys(
        ("config", "configuration", "options", "settings"),
        "pass each by its name, such as batch_size=50",
    ),
}
"""Options of other packages that have no counterpart here, and what to do instead."""


def advice(name: str, options: Sequence[str]) -> str:
    """The end of an error's text: the option that is meant, or what to do instead; empty if neither
    is known.

    Args:
        name: the option that does not exist.
        options: those that do.
    """
    from difflib import get_close_matches  # only a mistake pays for it

    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()  # batchSize
    if name in INSTEAD:
        return f"; {INSTEAD[name]}"
    close = [MEANT[name]] if name in MEANT else get_close_matches(name, options, 1, 0.75)
    return f"; did you mean {close[0]!r}?" if close else ""
