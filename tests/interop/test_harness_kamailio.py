"""The Kamailio harness between two SIPp: the whole dialog passes the proxy."""

from __future__ import annotations

from pathlib import Path

from peers.kamailio import Kamailio
from peers.sipp import Sipp


def test_dialog_through_a_record_routing_proxy_passes_ack_and_bye(tmp_path: Path) -> None:
    with Sipp("answers_until_bye", tmp_path / "called", timeout_s=20) as called:
        called.start()
        with (
            Kamailio(tmp_path / "proxy", target=f"127.0.0.1:{called.port}") as proxy,
            Sipp("caller_hangs_up", tmp_path / "caller", target=f"127.0.0.1:{proxy.port}", timeout_s=15) as caller,
        ):
            result = caller.result()
    assert (result.successful, result.failed) == (1, 0), result.errors + proxy.log
    assert proxy.passed == ["INVITE", "ACK", "BYE"]
