"""A certificate that expires is reported before and after, and renewing it ends the report."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from active_call.net.certificates import CertificateFiles, ServerCertificate, server_context
from active_call.server import certificate
from active_call.server.certificate import write_development_certificate
from active_call.server.certificate_watch import CHECK_S, PART, CertificateWatch, end_of
from active_call.store.troubles import Troubles
from active_call.testing.virtual_time import VirtualClock, run_virtually


class MovedClock(VirtualClock):
    """A clock whose date is moved."""

    by = timedelta()

    def utc_now(self) -> datetime:
        return super().utc_now() + self.by


def write(folder: Path, clock: MovedClock, monkeypatch: pytest.MonkeyPatch, days: int) -> Path:
    """A certificate that is good for `days` from the clock's date."""
    left = clock.utc_now() + timedelta(days=days) - datetime.now(clock.utc_now().tzinfo)
    monkeypatch.setattr(certificate, "VALID_DAYS", left / timedelta(days=1))
    for name in ("cert.pem", "key.pem"):
        (folder / name).unlink(missing_ok=True)
    write_development_certificate(folder / "cert.pem", folder / "key.pem", ["pbx.example"])
    return folder / "cert.pem"


def test_certificate_is_reported_before_and_after_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        clock = MovedClock(asyncio.get_running_loop())
        clock.by = datetime.now(clock.utc_now().tzinfo) - clock.utc_now()
        troubles = Troubles(clock)
        path = write(tmp_path, clock, monkeypatch, 20)
        task = asyncio.create_task(CertificateWatch(path, troubles, clock).run())

        async def later(days: float) -> list[str]:
            clock.by += timedelta(days=days)
            caplog.clear()
            await asyncio.sleep(3 * CHECK_S)
            return [record.message for record in caplog.records]

        assert await later(0) == []
        assert len(await later(7)) == 1
        assert await later(0) == []
        assert len(await later(1.5)) == 1
        assert await later(13) == ["degraded"]
        (trouble,) = troubles.current()
        assert trouble["part"] == PART and "has expired on" in trouble["reason"]
        path.write_text("half a certif", encoding="utf-8")
        assert await later(0) == []
        write(tmp_path, clock, monkeypatch, 90)
        assert await later(0) == ["works again"]
        task.cancel()

    with caplog.at_level(logging.WARNING):
        run_virtually(story())


def test_file_that_is_no_certificate_has_no_end(tmp_path: Path) -> None:
    assert end_of(tmp_path / "none.pem") is None


def test_files_that_cannot_be_used_are_logged_once_and_used_when_they_are_mended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = CertificateFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    other = tmp_path / "other"
    write_development_certificate(files.certificate, files.key, ["pbx.example"])
    write_development_certificate(other / "cert.pem", other / "key.pem", ["pbx.example"])
    served = ServerCertificate(server_context(files), files, logging.getLogger("test"))
    files.certificate.write_bytes((other / "cert.pem").read_bytes())  # the key does not belong to it
    assert [served.reload() for _ in range(3)] == [False] * 3
    (told,) = caplog.records
    assert "stays in use" in told.more  # type: ignore[attr-defined]
    files.key.write_bytes((other / "key.pem").read_bytes())
    assert [served.reload(), served.reload()] == [True, False]
