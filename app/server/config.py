"""Uvicorn's configuration with ours beside it, so that the server's processes get it, too."""

from typing import TYPE_CHECKING, Any

import uvicorn

from app.server.limits import Limits
from app.settings import Settings

if TYPE_CHECKING:
    from app.server.seats import Seats


class Config(uvicorn.Config):
    """`limits` are the protocol's; `seats` is made by the first connection of each process."""

    limits: Limits
    seats: "Seats | None" = None


def config_of(settings: Settings, app: str, *, factory: bool = True, **more: Any) -> Config:
    """How the service is served. Call `raise_descriptors` before: `limits` depends on it."""
    config = Config(
        app,
        factory=factory,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http="app.server.protocol:Protocol",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=10,
        timeout_worker_healthcheck=60,  # on a busy machine a process needs more than the usual 5 s to start
        **more,
    )
    config.limits = Limits.of(settings)
    return config
