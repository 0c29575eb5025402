"""Descriptions as records and watchers get them."""

from __future__ import annotations

import pytest

from active_call.sdp.protection import without_keys

KEY = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"


@pytest.mark.parametrize(
    "line",
    [
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4",
        f"a=crypto:2 AEAD_AES_256_GCM inline:{KEY};inline:{KEY} FEC_ORDER=FEC_SRTP",
        f"a=key-mgmt:mikey {KEY}",
        f"k=base64:{KEY}",
        f"k=clear:{KEY}",
        f"a=crypto:  1  AES_CM_128_HMAC_SHA1_32  inline:{KEY}",
        f"a=crypto:x{KEY}",
        f"A=CRYPTO:1 AES inline:{KEY}",
        f" a=crypto:1 AES inline:{KEY}",
    ],
)
@pytest.mark.parametrize("end", ["\r\n", "\n", ""])
def test_keys_are_left_out_in_every_spelling(line: str, end: str) -> None:
    told = without_keys(f"v=0\r\nm=audio 1 RTP/SAVP 0\r\n{line}{end}")
    assert KEY not in told
    assert told.startswith("v=0\r\nm=audio 1 RTP/SAVP 0\r\n")


def test_everything_else_stays() -> None:
    text = "v=0\r\no=k=x 1 1 IN IP4 1.2.3.4\r\na=rtpmap:0 PCMU/8000\r\na=cryptography:no\r\n"
    assert without_keys(text) == text
