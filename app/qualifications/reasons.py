"""The fixed list of reasons, with the field's usual codes: what makes a failure or an exclusion."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Reason(StrEnum):
    NOT_DEFINED = "not_defined"
    USER_UNKNOWN = "user_unknown"
    INVALID_DOMAIN = "invalid_domain"
    UNREACHABLE = "unreachable"
    ACCOUNT_DISABLED = "account_disabled"
    MAILBOX_FULL = "mailbox_full"
    NOT_CONNECTED = "not_connected"
    ADDRESS_NOT_SPECIFIED = "address_not_specified"
    DENYLISTED = "denylisted"
    QUARANTINED = "quarantined"
    DOUBLE = "double"
    EXCLUDED_BY_RULE = "excluded_by_rule"
    EXCLUDED_BY_ARBITRATION = "excluded_by_arbitration"
    INVALID_ADDRESS = "invalid_address"
    SIZE_LIMITED = "size_limited"
    REFUSED = "refused"
    ERROR_IGNORED = "error_ignored"
    CONTROL_GROUP = "control_group"


CODES: Mapping[Reason, int] = MappingProxyType(
    {
        Reason.NOT_DEFINED: 0,
        Reason.USER_UNKNOWN: 1,
        Reason.INVALID_DOMAIN: 2,
        Reason.UNREACHABLE: 3,
        Reason.ACCOUNT_DISABLED: 4,
        Reason.MAILBOX_FULL: 5,
        Reason.NOT_CONNECTED: 6,
        Reason.ADDRESS_NOT_SPECIFIED: 7,
        Reason.DENYLISTED: 8,
        Reason.QUARANTINED: 9,
        Reason.DOUBLE: 10,
        Reason.EXCLUDED_BY_RULE: 11,
        Reason.EXCLUDED_BY_ARBITRATION: 12,
        Reason.INVALID_ADDRESS: 14,
        Reason.SIZE_LIMITED: 17,
        Reason.REFUSED: 20,
        Reason.ERROR_IGNORED: 25,
        Reason.CONTROL_GROUP: 127,
    }
)
