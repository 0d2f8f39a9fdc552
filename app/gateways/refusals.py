"""Why a signature was refused, and what would have to change for it to fit. Pure; only asked when it was refused."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from app.gateways.receipt import Adapter, Auth, Callback

#: Beyond so many the request's own headers name no more hosts that are tried.
_MOST_HOSTS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """`what` failed: a sentence. `fits`: the scheme and host under which the signature holds, by the request's own headers."""

    what: str
    fits: str | None = None

    @property
    def sentence(self) -> str:
        return f"{self.what} It would fit {self.fits}: set ACUSE_PUBLIC_URL to that." if self.fits else self.what


def why_refused(callback: Callback, adapter: Adapter, auth: Auth) -> Refusal:
    """Of a callback in auth mode `signature` whose signature `adapter` refused."""
    assert adapter.verify_signature is not None
    if adapter.signature_header is not None and not callback.headers.get(adapter.signature_header):
        return Refusal(what=f"The header {adapter.signature_header} is missing.")
    for base in _bases(callback):
        if adapter.verify_signature(replace(callback, url=base + _behind_host(callback.url)), auth):
            return Refusal(what=f"The signature does not fit {_base(callback.url)}.", fits=base)
    found = adapter.why_refused(callback, auth) if adapter.why_refused is not None else None
    return Refusal(
        what=found or "The signature is not made with one of this gateway's secrets, or not of this request."
    )


def _bases(callback: Callback) -> Iterator[str]:
    """Schemes and hosts that the request's own headers name, but for the one it was verified for."""
    headers = callback.headers
    named = [*headers.get("x-forwarded-host", "").split(","), headers.get("host", "")]
    hosts = list(dict.fromkeys(host.strip() for host in [*named, _host(callback.url)] if host.strip()))[:_MOST_HOSTS]
    port = headers.get("x-forwarded-port", "").partition(",")[0].strip()
    for host in hosts:
        for scheme in ("https", "http"):
            bare, colon, own = host.rpartition(":")
            ports = [host, *([f"{bare if colon and own.isdigit() else host}:{port}"] if port.isdigit() else [])]
            for each in dict.fromkeys(ports):
                if (base := f"{scheme}://{each}") != _base(callback.url):
                    yield base


def _base(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest[: _end_of_host(rest)]}"


def _host(url: str) -> str:
    return _base(url).partition("://")[2]


def _behind_host(url: str) -> str:
    rest = url.partition("://")[2]
    return rest[_end_of_host(rest) :]


def _end_of_host(rest: str) -> int:
    return min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
