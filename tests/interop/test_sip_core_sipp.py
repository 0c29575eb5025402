"""The SIP core with SIPp as a caller that asks for everything: 100rel, session timers, a transfer."""

from __future__ import annotations

import time
from pathlib import Path

from endpoint_line import Line
from peers.sipp import Sipp

from active_call.sip.events import CallEnded, IncomingCall, TransferRequested

ANSWER = b"v=0\r\no=us 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"


def test_caller_that_requires_reliable_progress_refreshes_and_transfers_is_served(tmp_path: Path) -> None:
    line = Line()
    target = f"127.0.0.1:{line.address.port}"
    with Sipp("caller_requires_and_refers", tmp_path, target=target, timeout_s=15) as caller:
        caller.start()
        assert line.run_until(lambda: bool(line.of(IncomingCall)))
        call = line.of(IncomingCall)[0].call
        line.endpoint.ring(call, time.monotonic(), sdp=ANSWER)
        line.endpoint.answer(call, ANSWER, time.monotonic())
        assert line.run_until(lambda: bool(line.of(TransferRequested)))
        request = line.of(TransferRequested)[0]
        assert request.refer_to == "sip:+15550177@127.0.0.1"
        line.endpoint.respond(request.token, 202, "Accepted", time.monotonic())
        line.endpoint.notify_transfer(call, 200, "OK", time.monotonic(), final=True)
        assert line.run_until(lambda: bool(line.of(CallEnded)))
        assert line.of(CallEnded)[0].cause == "remote_bye"
        line.run_until(lambda: False, 0.3)
        result = caller.result()
    line.close()
    assert (result.successful, result.failed) == (1, 0), result.errors
