"""The network_error_code TLV (0x0423): one octet for the type of network, two for its code (SMPP 3.4 §5.3.2.31)."""

from dataclasses import dataclass

_TYPES = {
    1: "ANSI-136",
    2: "IS-95",
    3: "GSM",
    4: "ANSI-136 cause",  # this and the following: 5.0
    5: "IS-95 cause",
    6: "ANSI-41",
    7: "SMPP",
    8: "message centre",
}


@dataclass(frozen=True, slots=True)
class NetworkError:
    """A mobile network's own error code. `type` is None where a centre sent three ASCII digits in place of octets."""

    type: int | None
    code: int

    @property
    def type_name(self) -> str | None:
        return _TYPES.get(self.type) if self.type is not None else None

    @property
    def label(self) -> str:
        """Short and stable, for the qualification's key: "GSM 27"."""
        return f"{self.type_name or f'network {self.type}'} {self.code}" if self.type is not None else str(self.code)

    def as_details(self) -> dict[str, int | str | None]:
        return {"type": self.type, "type_name": self.type_name, "code": self.code}


def network_error(octets: bytes) -> NetworkError | None:
    """None when it is not three octets."""
    if len(octets) != 3:
        return None
    # Kannel's smsc_smpp.c: some centres send the code as three ASCII digits. No type of network is 0x30 or above.
    if octets.isdigit():
        return NetworkError(None, int(octets))
    return NetworkError(octets[0], int.from_bytes(octets[1:], "big"))
