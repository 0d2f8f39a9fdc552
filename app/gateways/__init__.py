"""The kinds of gateways that we understand, by name. Outside ones come from the entry point group `acuse.gateways`."""

import logging
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points

from app.gateways import generic, kannel, smpp, twilio
from app.gateways.receipt import Adapter

log = logging.getLogger(__name__)

OURS: Mapping[str, Adapter] = {
    "generic": generic.ADAPTER,
    "kannel": kannel.ADAPTER,
    "smpp": smpp.ADAPTER,
    "twilio": twilio.ADAPTER,
}


def with_outside(ours: Mapping[str, Adapter], outside: Iterable[EntryPoint]) -> dict[str, Adapter]:
    """Our adapters and other packages'. A kind of ours cannot be replaced, and a broken plug-in costs only itself."""
    found = dict(ours)
    for entry in outside:
        adapter = _loaded(entry)
        if adapter is None:
            continue
        if adapter.kind in found:
            log.error("gateway.plugin_refused name=%s kind=%s reason=kind_is_taken", entry.name, adapter.kind)
        else:
            found[adapter.kind] = adapter
    return found


def _loaded(entry: EntryPoint) -> Adapter | None:
    try:
        adapter = entry.load()
    except Exception:  # whatever somebody else's module raises at import
        log.exception("gateway.plugin_failed name=%s", entry.name)
        return None
    if isinstance(adapter, Adapter):
        return adapter
    log.error("gateway.plugin_refused name=%s reason=not_an_adapter", entry.name)
    return None


GATEWAYS: dict[str, Adapter] = with_outside(OURS, entry_points(group="acuse.gateways"))
