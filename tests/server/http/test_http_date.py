"""The `Date` of responses is made when one is sent: an idle server does not look at the clock for it."""

from __future__ import annotations

import pytest
import uvicorn

from active_call.server.http import protocols


def test_date_is_that_of_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 784_111_777.2
    monkeypatch.setattr(protocols.time, "time", lambda: now)
    settings = uvicorn.Config("nowhere:app", headers=[("X-Own", "1")], server_header=False, log_config=None)
    settings.encoded_headers = [(b"x-own", b"1")]
    state = protocols._State(settings)
    first = state.default_headers
    assert first == [(b"date", b"Sun, 06 Nov 1994 08:49:37 GMT"), (b"x-own", b"1")]
    now += 0.7
    assert state.default_headers is first
    now += 0.2
    assert state.default_headers[0] == (b"date", b"Sun, 06 Nov 1994 08:49:38 GMT")
