"""SMPP receipts posted as JSON by somebody's SMPP client. What they mean stands in smpp_deliver.py.

SMPP 3.4 appendix B and 5.0; https://developer.8x8.com/connect/docs/smpp-delivery-receipts (read 2026).

Over HTTP: POST one object, or an array of them:

    {"short_message_hex": "69643a…", "text": "id:…", "data_coding": 0, "esm_class": 4,
     "tlvs": {"receipted_message_id": "77", "message_state": 5, "network_error_code": "03001b"},
     "source_addr": "34600000000", "source_addr_ton": 1, "destination_addr": "Shop"}

`short_message_hex` comes before `text`; a user data header (esm_class 0x40) is taken off. A TLV goes by its name, its tag
("0x0427"), or both ("0x0427_message_state"); with `_hex` at the end its value is octets in hexadecimal. Keys not named here
are passed over.
"""

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
    tlvs = dict(_tlv(name, tlv) for name, tlv in _object(given.get("tlvs"), "tlvs").items())
    message_id = tlvs.get("receipted_message_id")
    return DeliverSm(
        short_message=_octets(given, "short_message_hex") or _text(given, "text") or "",
        message_payload=_text_or_octets(tlvs, "message_payload") or "",
        data_coding=_octet(given, "data_coding", 0),
        esm_class=_octet(given, "esm_class", RECEIPT),
        # A C string: some clients leave its NUL in.
        receipted_message_id=_id_text(message_id).strip("\x00 ") or None if message_id is not None else None,
        message_state=_state(tlvs.get("message_state")),
        network_error_code=_network_octets(tlvs.get("network_error_code")),
        source_addr=_text(given, "source_addr"),
        source_addr_ton=_type_of_number(given.get("source_addr_ton")),
        destination_addr=_text(given, "destination_addr"),
        sar=_sar(tlvs),
        raw=raw,
    )


_TAGS = {
    "001e": "receipted_message_id",
    "0427": "message_state",
    "0423": "network_error_code",
    "0424": "message_payload",
    "020c": "sar_msg_ref_num",
    "020e": "sar_total_segments",
    "020f": "sar_segment_seqnum",
}


def _tlv(key: str, value: object) -> tuple[str, object]:
    """A TLV under its plain name, its value octets when the key says `_hex`. The tag counts, where there is one."""
    name = key.lower()
    if name.endswith("_hex"):
        name, value = name[:-4], _octets({key: value}, key)
    tag, _, rest = name.removeprefix("0x").partition("_")
    return _TAGS.get(tag, rest if name.startswith("0x") else name), value


def _object(value: object, name: str) -> Mapping[str, object]:
    if value is None and name == "tlvs":
        return {}
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
    try:
        return None if text is None else bytes.fromhex(text)
    except ValueError:
        raise _Fault(f"{shown(name, WORD_LENGTH)} is not hexadecimal") from None


def _text_or_octets(given: Mapping[str, object], name: str) -> bytes | str | None:
    value = given.get(name)
    return value if isinstance(value, bytes) else _text(given, name)


def _octet(given: Mapping[str, object], name: str, default: int) -> int:
    value = given.get(name, default)
    if type(value) is not int or not 0 <= value <= 255:
        raise _Fault(f"{name} must be a number from 0 to 255")
    return value


def _type_of_number(value: object) -> int | None:
    """None for what is none: it is never a reason to refuse what came."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 1:
        value = int(value)
    return value if type(value) is int else None


def _id_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if type(value) is int or isinstance(value, str):
        return str(value)
    raise _Fault("receipted_message_id must be a string")


def _state(value: object) -> int | None:
    if isinstance(value, bytes):
        value = int.from_bytes(value, "big") if len(value) == 1 else value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 3:
        value = int(value)
    if value is not None and (type(value) is not int or not 0 <= value <= 255):
        raise _Fault("message_state must be a number from 0 to 255")
    return value


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
    return value if isinstance(value, bytes) else _octets({"network_error_code": value}, "network_error_code")


ADAPTER = Adapter(
    kind="smpp",
    label="SMPP",
    source="SMPP 3.4 appendix B, SMPP 5.0 §4.7.15",
    methods=frozenset({"POST"}),
    parse=parse,
    options=SmppOptions,
    qualifications=smpp_text.QUALIFICATIONS,
)
