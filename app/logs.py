"""Logs: stable dotted names and fields; text for people, or JSON lines.

No address is ever logged on purpose. In case one slips in, inside the message of somebody else's exception say, every
text is masked on its way out, tracebacks and uvicorn's own lines included. Ids of ours are ints, and stay.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor

log = structlog.get_logger()

#: What could be a phone number: `+`, `00` or `%2B` before 7–15 digits, or 9–15 digits that stand alone. Times and
#: hexadecimal ids do not look like that; a percent escape counts as a border (`to%3D600123000`).
_PHONE = re.compile(
    r"""(?: \+ | %2[bB] | (?<![0-9A-Za-z])00 ) \d{7,15} (?!\d)
      | (?: (?<![0-9A-Za-z]) | (?<=%[0-9A-Fa-f]{2}) ) \d{9,15} (?![0-9A-Za-z])""",
    re.VERBOSE,
)
MASK = "•••"
_UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


def mask_phones(text: str) -> str:
    """`text` without anything that looks like a phone number."""
    return _PHONE.sub(MASK, text)


def masked(value: Any) -> Any:
    """`value` with every text in it masked: containers are copied, everything else stays what it is."""
    if isinstance(value, str):
        return mask_phones(value)
    if isinstance(value, bytes):
        return mask_phones(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping):
        return {name: masked(inner) for name, inner in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [masked(inner) for inner in value]
    return value


def configure(*, json: bool, level: int = logging.INFO) -> None:
    """Sends everything, structlog's and the standard library's, through one handler to standard error."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_COMMON,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(json=json))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _UVICORN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"  # its lines hold whole URLs, and a callback's URL holds addresses
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def formatter(*, json: bool) -> logging.Formatter:
    """The last steps of every line. Tracebacks are plain text before they are masked, and never show locals."""
    shown: Sequence[Processor] = (
        [structlog.processors.JSONRenderer(serializer=_json)]
        if json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_COMMON,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _masked_event,
            *shown,
        ],
    )


def _json(event: Any, **options: Any) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode("utf-8", "replace")


def _masked_event(logger: Any, name: str, event: EventDict) -> MutableMapping[str, Any]:
    return {field: masked(value) if field != "timestamp" else value for field, value in event.items()}


def _plain_values(logger: Any, name: str, event: EventDict) -> MutableMapping[str, Any]:
    """Exceptions given as fields become text here, where they can be masked."""
    return {field: str(v) if isinstance(v, BaseException) and field != "exc_info" else v for field, v in event.items()}


_COMMON: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    _plain_values,
]
