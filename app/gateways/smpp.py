"""SMPP receipts posted as JSON by somebody's SMPP client. What they mean stands in smpp_deliver.py.

SMPP 3.4 appendix B and 5.0; https://developer.8x8.com/connect/docs/smpp-delivery-receipts (read 2026).

Over HTTP: POST one object, or an array of them:

    {"short_message_hex": "69643a…", "text": "id:…", "data_coding": 0, "esm_class": 4,
     "tlvs": {"receipted_message_id": "77", "message_state": 5, "network_error_code": "03001b"},
     "source_addr": "34600000000", "source_addr_ton": 1, "destination_addr": "Shop"}

`short_message_hex` comes before `text`; a user data header (esm_class 0x40) is taken off. A TLV goes by its name, its tag
("0x0427"), or both ("0x0427_message_state"); with `_hex` at the end its value is octets in hexadecimal. Keys not named here
are passed over.

A PDU of node-smpp, as JSON.stringify writes it, is read as well: `short_message: {"message": "id:…"}`, its TLVs beside it,
octets as `{"type": "Buffer", "data": [3, 0, 27]}` (https://github.com/farhadi/node-smpp#encoding, read 2026).

What a receipt is true without never costs it: where it cannot be read it is left out, and a warning says so.
"""

import re
from collections.abc import Mapping
from typing import cast

from app.gateways import smpp_text
from app.gateways.bodies import read_items
from app.gateways.receipt import Adapter, Callback, Gateway, Item, Unreadable
from app.gateways.smpp_deliver import RECEIPT, DeliverSm, SmppOptions, read
from app.gateways.smpp_udh import Piece
from app.gateways.texts import WORD_LENGTH, shown


def parse(callback: Callback, gateway: Gateway) -> list[Item]:
    options = cast(SmppOptions, gateway.options)
    return read_items(callback, lambda value, raw: _read_object(value, raw, options))


class _Fault(Exception):
    """What is wrong with one JSON object, as a sentence."""


def _read_object(value: object, raw: bytes, options: SmppOptions) -> Item:
    try:
        return read(_from_json(value, raw), options)
    except _Fault as fault:
        return Unreadable(reason=str(fault), raw=raw)


def _from_json(value: object, raw: bytes) -> DeliverSm:
    given = _object(value, "a receipt")
    content = _content(given)
    tlvs = _tlvs(given)
    warnings: list[str] = []
    message_id = tlvs.get("receipted_message_id")
    pdu = DeliverSm(
        short_message="" if content is None else content,
        message_payload=_text_or_octets(tlvs, "message_payload") or "",
        data_coding=_data_coding(given.get("data_coding"), warnings),
        esm_class=_esm_class(given.get("esm_class")),
        # A C string: some clients leave its NUL in.
        receipted_message_id=_id_text(message_id).strip("\x00 ") or None if message_id is not None else None,
        message_state=_state(tlvs.get("message_state"), warnings),
        network_error_code=_network_octets(tlvs.get("network_error_code")),
        source_addr=_address(given, "source_addr", warnings),
        source_addr_ton=_octet(given.get("source_addr_ton")),
        destination_addr=_address(given, "destination_addr", warnings),
        sar=_sar(tlvs),
        raw=raw,
        warnings=tuple(warnings),
    )
    if content is None and not tlvs:
        raise _Fault(f"nothing to read: none of {', '.join(_CONTENT)} and tlvs is there{_seen(given)}")
    return pdu


def _seen(given: Mapping[str, object]) -> str:
    names = [name for name in given if name not in _HEADER and _KEY.fullmatch(name)][:10]
    return f"; keys that are not known: {', '.join(names)}" if names else ""


#: Where the text may stand: the first of them that does counts.
_CONTENT = ("short_message_hex", "text", "short_message")
_HEADER = {"data_coding", "esm_class", "source_addr", "source_addr_ton", "destination_addr", "tlvs"}
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_TAGS = {
    "001e": "receipted_message_id",
    "0427": "message_state",
    "0423": "network_error_code",
    "0424": "message_payload",
    "020c": "sar_msg_ref_num",
    "020e": "sar_total_segments",
    "020f": "sar_segment_seqnum",
}
_NAMES = set(_TAGS.values())


def _content(given: Mapping[str, object]) -> bytes | str | None:
    """None where there is none at all."""
    octets = _octets(given, "short_message_hex")
    text = _text(given, "text")
    if octets or text:
        return octets or text
    found = given.get("short_message")
    if isinstance(found, dict) and _buffer(found) is None:
        found = found.get("message", found)
    if (buffer := _buffer(found)) is not None:
        return buffer
    if found is not None and not isinstance(found, str):
        raise _Fault("short_message must be a string, or an object with the key message")
    return next((each for each in (found, text, octets) if each is not None), None)


def _tlvs(given: Mapping[str, object]) -> dict[str, object]:
    """Those that mean something to us, by their plain names."""
    tlvs = given.get("tlvs")
    # An empty object is an empty array to PHP.
    found = {} if tlvs is None or tlvs == [] else _object(tlvs, "tlvs")
    read: dict[str, object] = {}
    for key, value in (*((name, given[name]) for name in _NAMES if name in given), *found.items()):
        if value is not None and (tlv := _tlv(key, value)) is not None:
            read[tlv[0]] = tlv[1]
    return read


def _tlv(key: str, value: object) -> tuple[str, object] | None:
    """A TLV under its plain name, its value octets when the key says `_hex`. The tag counts, where there is one."""
    name = key.lower()
    if name in _NAMES and not isinstance(value, dict):
        return name, value
    is_hex = name.endswith("_hex")
    if is_hex:
        name = name[:-4]
    tag, _, rest = name.removeprefix("0x").partition("_")
    name = _TAGS.get(tag, rest if name.startswith("0x") else name)
    if name not in _NAMES:
        return None
    if (buffer := _buffer(value)) is not None:
        return name, buffer
    if is_hex and name in ("receipted_message_id", "message_payload"):
        return name, _octets({key: value}, key)
    # For the others what is no hexadecimal stays as it is: it cannot be read, which is a warning.
    return name, (_from_hex(value) if is_hex and isinstance(value, str) else None) or value


def _buffer(value: object) -> bytes | None:
    """Octets as node.js writes them into JSON."""
    data = value.get("data") if isinstance(value, dict) and value.get("type") == "Buffer" else None
    if not isinstance(data, list) or not all(type(each) is int and 0 <= each <= 255 for each in data):
        return None
    return bytes(data)


def _object(value: object, name: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _Fault(f"{name} must be a JSON object")
    return value


def _text(given: Mapping[str, object], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise _Fault(f"{name} must be a string")
    return value


def _octets(given: Mapping[str, object], name: str) -> bytes | None:
    text = _text(given, name)
    octets = None if text is None else _from_hex(text)
    if text is not None and octets is None:
        raise _Fault(f"{shown(name, WORD_LENGTH)} is not hexadecimal")
    return octets


def _from_hex(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        return None


def _text_or_octets(given: Mapping[str, object], name: str) -> bytes | str | None:
    value = given.get(name)
    return value if isinstance(value, bytes) else _text(given, name)


def _octet(value: object) -> int | None:
    """0 to 255, also as text; None for all else."""
    if isinstance(value, str) and _OCTET.fullmatch(value):
        value = int(value, 16 if value[:2].lower() == "0x" else 10)
    return value if type(value) is int and 0 <= value <= 255 else None


_OCTET = re.compile(r"0[xX][0-9a-fA-F]{1,2}|[0-9]{1,3}")


def _data_coding(value: object, warnings: list[str]) -> int:
    found = 0 if value is None else _octet(value)
    if found is None:
        warnings.append("data_coding was not read: it must be a number from 0 to 255")
    return found or 0


def _esm_class(value: object) -> int:
    """Tells receipts from messages that phones wrote: not to be guessed."""
    found = RECEIPT if value is None else _octet(value)
    if found is None:
        raise _Fault("esm_class must be a number from 0 to 255")
    return found


def _id_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if type(value) is int or isinstance(value, str):
        return str(value)
    raise _Fault("receipted_message_id must be a string")


def _state(value: object, warnings: list[str]) -> int | None:
    """By its number, an octet, or the state's name."""
    if isinstance(value, bytes):
        found = value[0] if len(value) == 1 else None
    else:
        named = smpp_text.word(value) if isinstance(value, str) else None
        found = _NUMBERS[named] if named else _octet(value)
    if found is None and value is not None:
        warnings.append("message_state was not read: it must be a number from 0 to 255")
    return found


_NUMBERS = {word: number for number, word in smpp_text.STATES.items()}


def _sar(tlvs: Mapping[str, object]) -> Piece | None:
    """Which part of a long message it is. What is no number says nothing, and costs nothing: the text is there."""
    numbers = [_number(tlvs.get(name)) for name in ("sar_msg_ref_num", "sar_segment_seqnum", "sar_total_segments")]
    reference, part, parts = numbers
    return None if reference is None or part is None or parts is None else Piece(reference, part, parts)


def _number(value: object) -> int | None:
    if isinstance(value, bytes):
        return int.from_bytes(value, "big") if len(value) <= 4 else None
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) <= 5 else None
    return value if type(value) is int and 0 <= value < 65_536 else None


def _network_octets(value: object) -> bytes | None:
    """What is no octets is b"": less than the three that it must have."""
    if value is None or isinstance(value, bytes):
        return value
    return (_from_hex(value) if isinstance(value, str) else None) or b""


def _address(given: Mapping[str, object], name: str, warnings: list[str]) -> str | None:
    value = given.get(name)
    if value is None or isinstance(value, str):
        return value
    if type(value) is int and 0 <= value < 10**18:
        return str(value)
    warnings.append(f"{name} was not read: it must be a string")
    return None


ADAPTER = Adapter(
    kind="smpp",
    label="SMPP",
    source="SMPP 3.4 appendix B, SMPP 5.0 §4.7.15",
    methods=frozenset({"POST"}),
    parse=parse,
    options=SmppOptions,
    qualifications=smpp_text.QUALIFICATIONS,
)
