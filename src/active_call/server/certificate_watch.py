"""Reports that the server's TLS certificate expires soon or has expired: the renewal may have failed, and nobody may look at `doctor`.

A path and the time enter; log lines and a fault in `/health` leave. Peers refuse an expired certificate and tell us little.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from active_call.base.world import Clock
from active_call.server.config.config import Config
from active_call.store.troubles import Troubles

log = logging.getLogger("active_call.server")

PART: Final = "certificate"
SOON: Final = timedelta(days=14)
"""certbot renews a month before the end."""
SAY_EVERY: Final = timedelta(days=1)
CHECK_S: Final = 60.0


def served_certificate(config: Config) -> Path | None:
    """The certificate that peers of this server see; None if it serves no TLS."""
    is_served = config.http_tls or config.tls_port or config.wss_port
    return Path(config.tls_cert_file) if config.tls_cert_file and is_served else None


class CertificateWatch:
    """Watches one file; None: there is none."""

    def __init__(self, path: Path | None, troubles: Troubles, clock: Clock) -> None:
        self._path = path
        self._troubles = troubles
        self._clock = clock
        self._said_at: datetime | None = None

    async def run(self) -> None:
        """Run until cancelled. A file that cannot be read is reported by those who use it."""
        while self._path is not None:
            await asyncio.sleep(CHECK_S)
            ends_at = await asyncio.to_thread(end_of, self._path)
            if ends_at is not None:
                self._report(self._path, ends_at)

    def _report(self, path: Path, ends_at: datetime) -> None:
        now, at = self._clock.utc_now(), f"{ends_at:%Y-%m-%d %H:%M} UTC"
        if now >= ends_at:
            self._troubles.note(PART, f"{path} has expired on {at}: TLS peers refuse it. Renew it; the server reads the new files")
            return
        self._troubles.clear(PART)
        if ends_at - now < SOON and (self._said_at is None or now - self._said_at >= SAY_EVERY):
            self._said_at = now
            log.warning(
                "TLS certificate expires soon; renew it, the server reads the new files", extra={"certificate": str(path), "at": at}
            )


def end_of(path: Path) -> datetime | None:
    """The end of the validity of the first certificate in `path`; None if it cannot be read. May block."""
    from cryptography import x509  # it is not needed for the start

    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None
