"""Every knob: unit, default, reason. Read from the environment (`ACUSE_…`); unsafe values are refused at start."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import AnyHttpUrl, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from starlette.requests import HTTPConnection

#: Callers may try keys as fast as they like: one that people think up must at least be long.
SHORTEST_ADMIN_KEY = 16
#: A key of 256 random bits has 43 characters in base64 and 64 in hexadecimal; one of 128 bits has 32 there.
SHORTEST_SEAL_KEY = 32
#: Only what GSM-7 has in one septet, so that a short URL costs as many as it has characters.
_SHORT_HOST = re.compile(r"(?:[^=,]{1,20}=)?(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9.-]{1,253}|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?")
#: What browsers leave out of an origin.
_OWN_PORT = re.compile(r"http://.*:80|https://.*:443")


def guessable(secret: str) -> bool:
    """Whether a person may have thought it up: short, of few characters, or words. A random one is none of that."""
    words = re.fullmatch(r"[A-Za-z]+(?:[^A-Za-z0-9]+[A-Za-z]+)*[^A-Za-z0-9]*[0-9]{0,4}", secret)
    return len(secret) < 22 or len(set(secret)) < 10 or (words is not None and len(secret) < 40)


def wrong_database_url(url: str) -> str | None:
    """What is wrong with a database's URL, in a sentence that repeats nothing of it; None when it can be one."""
    if not re.match(r"postgres(?:ql)?(?:\+asyncpg)?://", url):
        return "A database's URL begins with `postgresql://`."
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        if "," in parts.netloc.rpartition("@")[2]:
            return "Several hosts are written `postgresql://user@/name?host=a,b&port=5432,5432&target_session_attrs=primary`."
        ports = [parts.port, *(int(port) for port in query.get("port", "").split(",") if port)]
    except ValueError:
        return "The host or port in the database's URL is none; a port is a number from 1 to 65535."
    if any(port is not None and not 0 < port < 65_536 for port in ports):
        return "The port in the database's URL is none; a port is a number from 1 to 65535."
    return None


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ACUSE_", extra="ignore", frozen=True)

    database_url: str | None = Field(
        None, description="PostgreSQL 15 or later. None: an embedded one in the data directory."
    )
    data_dir: Path = Field(Path("data"), description="Embedded database and spool. Must survive restarts.")
    host: str = Field("127.0.0.1", description="Address to listen on. Loopback until you decide otherwise.")
    port: int = Field(8000, ge=0, le=65535)
    admin_key: SecretStr | None = Field(None, description="When set, a key with this secret and scope `admin` exists.")
    seal_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Keys that secrets in the database are sealed with, newest first, comma-separated."
    )
    public_url: AnyHttpUrl | None = Field(
        None, description="Scheme and host by which providers reach this service; signatures are checked against it."
    )
    short_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Hosts of short URLs, comma-separated; `sender=host` for those of one sender."
    )
    private_links: bool = Field(
        False, description="Whether links to this machine or a private network may be sent: for trying out and demos."
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1",), description="Addresses or networks whose X-Forwarded-For and -Proto are believed."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins whose pages may call the API from a browser, comma-separated; `*`: all."
    )
    workers: int = Field(1, ge=1, le=64, description="Server processes; each also applies receipts.")

    max_connections: int = Field(
        5_000, ge=8, le=60_000, description="Open connections, a process; fewer where descriptors are fewer."
    )
    max_head_bytes: int = Field(
        65_536, ge=8_192, le=1_000_000, description="URL and headers of a request; beyond it 414 or 431."
    )
    max_headers: int = Field(150, ge=20, le=1_000, description="Headers of a request; beyond it 431.")
    head_seconds: float = Field(
        10.0, ge=0.2, le=600, description="A request's URL and headers must be whole after this; else 408."
    )
    body_seconds: float = Field(
        30.0, ge=0.2, le=600, description="In each such stretch a body must come on by so many bytes; else 408."
    )
    body_bytes_per_second: float = Field(100.0, ge=0, description="How many bytes, a second of the stretch.")
    send_seconds: float = Field(
        60.0, ge=0.2, le=3_600, description="Who reads nothing of an answer for so long is cut off."
    )
    idle_seconds: int = Field(75, ge=1, le=3_600, description="How long a connection is kept for another request.")

    key_requests_per_second: float = Field(
        1_000.0, gt=0, description="Of one API key, a process; ten seconds' worth at once. Beyond it 429."
    )
    failed_keys_per_second: float = Field(
        50.0,
        gt=0,
        description="Wrong API keys from one address (IPv6: /64), a process; 40 s' worth at once. Beyond it 429.",
    )

    max_callback_bytes: int = Field(
        1_000_000, ge=1_000, description="Larger callbacks get 413. The largest batches known are 100 receipts."
    )
    max_callback_items: int = Field(
        1_000,
        ge=1,
        le=100_000,
        description="Of one callback, parameters too; more: kept whole, 400.",
    )
    max_json_bytes: int = Field(1_000_000, ge=1_000, description="Larger bodies of ordinary API requests get 413.")
    max_row_bytes: int = Field(
        100_000, ge=1_000, description="One row of a bulk body; longer ones are refused as rows."
    )
    audience_max: int = Field(10_000_000, ge=1, description="Most targets of one delivery.")
    scheduled_prepare_hours: float = Field(
        24.0, ge=0.25, le=8_760, description="A start at a time prepares again what was prepared longer ago."
    )
    scheduled_latest_hours: float = Field(
        2.0, ge=0.25, le=8_760, description="A start at a time that could not be made for longer is not made by itself."
    )
    inbox_queue: int = Field(
        10_000, ge=1, description="Receipts waiting for the next group commit; beyond it: 503 with Retry-After."
    )
    inbox_batch: int = Field(2_000, ge=1, le=20_000, description="Most receipts in one group commit.")
    click_wait_ms: float = Field(
        20.0, ge=0, le=5_000, description="A redirect waits no longer than this for its click to be durable."
    )
    click_burst_network: int = Field(
        30,
        ge=1,
        description="Clicks a minute of one short URL from one network that get a row each; the rest are counted.",
    )
    click_burst_token: int = Field(300, ge=1, description="The same of one short URL from all networks together.")
    click_network_days: float = Field(
        30.0, ge=0, description="How long a click keeps the network it came from (IPv4 /24, IPv6 /48)."
    )
    raw_days: float = Field(
        90.0,
        ge=1,
        description="How long raw payloads are kept: of receipts, replies, and bodies that nobody could read.",
    )
    click_text_days: float = Field(
        365.0, gt=0, description="How long a click keeps what its visitor's browser said: agent and headers."
    )
    link_life_days: float = Field(365.0, gt=0, description="Short URLs lead somewhere for so long after the start.")
    link_kept_days: float = Field(
        30.0, gt=0, description="What fills personal links of messages given out so lately stands beside the spool."
    )
    link_file_max_bytes: int = Field(
        500_000_000,
        ge=1_000_000,
        description="Of the file beside the spool that redirects need while the database is away.",
    )
    commit_timeout_seconds: float = Field(
        1.5, gt=0, description="A commit slower than this counts as a database away. Telnyx gives up after 2 s."
    )
    spool_max_bytes: int = Field(
        2_000_000_000, ge=1_000_000, description="Of one process's spool; beyond it callbacks get 503 with Retry-After."
    )
    apply_batch: int = Field(2_000, ge=1, le=20_000, description="Most receipts applied in one transaction.")
    clock_seconds: float = Field(
        1.0, gt=0, description="How often the clock looks for messages without a receipt and finished deliveries."
    )
    default_validity_seconds: int = Field(
        302_400, ge=60, description="84 h: the longest time gateways usually keep trying."
    )
    quarantine_soft_errors: int = Field(5, ge=1, le=1_000, description="So many soft errors quarantine an address.")
    quarantine_interval_hours: float = Field(
        24.0, ge=0, description="A soft error counts when the last one counted is at least this old."
    )
    quarantine_forget_days: float = Field(10.0, gt=0, description="Errors are forgotten when the last one is older.")
    quarantine_forget_mailbox_days: float = Field(30.0, gt=0, description="The same after a full mailbox.")
    deleted_gateway_days: float = Field(
        90.0, ge=0, le=36_500, description="So long a deleted gateway goes on taking receipts."
    )
    api_connections: int = Field(4, ge=1, description="Database connections of the API's reads, a process.")
    log_json: bool = Field(False, description="Logs as JSON lines instead of text for people.")

    @field_validator("database_url")
    @classmethod
    def _is_one(cls, value: str | None) -> str | None:
        if value is not None and (wrong := wrong_database_url(value)):
            raise ValueError(wrong)
        return value

    @field_validator("admin_key")
    @classmethod
    def _hard_to_guess(cls, value: SecretStr | None) -> SecretStr | None:
        secret = "" if value is None else value.get_secret_value()
        if value is not None and (len(secret) < SHORTEST_ADMIN_KEY or not secret.isprintable() or " " in secret):
            raise ValueError(f"An admin key has at least {SHORTEST_ADMIN_KEY} printable characters and no spaces.")
        return value

    @field_validator("seal_keys")
    @classmethod
    def _are_long(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        secrets = [each.get_secret_value() for each in value]
        if any(len(each) < SHORTEST_SEAL_KEY or not each.isprintable() or " " in each for each in secrets):
            raise ValueError(
                f"A sealing key has at least {SHORTEST_SEAL_KEY} printable characters and no spaces: 32 random bytes in "
                "base64 or hexadecimal are best. Several are parted by commas, newest first."
            )
        return value

    @field_validator("short_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [entry for entry in value if not _SHORT_HOST.fullmatch(entry)]:
            raise ValueError(f"A host of short URLs is `host`, `host:port` or `sender=host`; this is none: {wrong[0]}")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [
            each for each in value if each != "*" and (not _ORIGIN.fullmatch(each) or _OWN_PORT.fullmatch(each))
        ]:
            raise ValueError(
                "An origin is scheme and host as browsers say them, such as `https://app.example` or "
                "`http://localhost:3000`, in small letters, without a path, and without the port that the scheme has "
                f"anyway; this is none: {wrong[0]}"
            )
        return value

    @field_validator("short_hosts", "trusted_proxies", "cors_origins", "seal_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @property
    def listened_url(self) -> str | None:
        """How this machine reaches the service; None where the port is not known yet."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}" if self.port else None


def public_base_of(connection: HTTPConnection) -> str | None:
    """ACUSE_PUBLIC_URL without a slash at its end."""
    found: str | None = connection.app.state.public_base
    return found


def settings_of(connection: HTTPConnection) -> Settings:
    """Those that this process was started with."""
    found: Settings = connection.app.state.settings
    return found
