"""Logs: stable dotted names and fields."""

import structlog

log = structlog.get_logger()
