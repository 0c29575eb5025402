"""SRTP judged by a second implementation, written here from RFC 3711 over plain AES and HMAC and itself checked with the RFC's vectors."""

from __future__ import annotations

import hashlib
import hmac
import struct

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from active_call.rtp.packet import pack_header
from active_call.rtp.srtp import KEY_BYTES, SUITES, PacketMemory, SrtpSession, new_key

KEY_A = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6")
KEY_B = bytes(range(30))
TAG_BYTES = {"AES_CM_128_HMAC_SHA1_80": 10, "AES_CM_128_HMAC_SHA1_32": 4}


def keystream(key: bytes, iv: int, n_bytes: int) -> bytes:
    return Cipher(AES(key), CTR(iv.to_bytes(16, "big"))).encryptor().update(bytes(n_bytes))


def derive(master: bytes, label: int, n_bytes: int) -> bytes:
    """Section 4.3.1 with a key derivation rate of 0."""
    return keystream(master[:16], (int.from_bytes(master[16:], "big") ^ label << 48) << 16, n_bytes)


def cipher_iv(salt: bytes, ssrc: int, index: int) -> int:
    """Section 4.1.1."""
    return int.from_bytes(salt, "big") << 16 ^ ssrc << 64 ^ index << 16


def reference_protect(master: bytes, packet: bytes, roll_over: int, tag_bytes: int) -> bytes:
    sequence, ssrc = struct.unpack_from("!H", packet, 2)[0], struct.unpack_from("!I", packet, 8)[0]
    iv = cipher_iv(derive(master, 2, 14), ssrc, roll_over << 16 | sequence)
    body = bytes(a ^ b for a, b in zip(packet[12:], keystream(derive(master, 0, 16), iv, len(packet) - 12), strict=True))
    tag = hmac.new(derive(master, 1, 20), packet[:12] + body + roll_over.to_bytes(4, "big"), hashlib.sha1).digest()
    return packet[:12] + body + tag[:tag_bytes]


def reference_protect_rtcp(master: bytes, packet: bytes, index: int) -> bytes:
    ssrc = struct.unpack_from("!I", packet, 4)[0]
    iv = cipher_iv(derive(master, 5, 14), ssrc, index)
    body = bytes(a ^ b for a, b in zip(packet[8:], keystream(derive(master, 3, 16), iv, len(packet) - 8), strict=True))
    authenticated = packet[:8] + body + (1 << 31 | index).to_bytes(4, "big")
    return authenticated + hmac.new(derive(master, 4, 20), authenticated, hashlib.sha1).digest()[:10]


def rtp(sequence: int, ssrc: int = 0xCAFEBABE) -> bytes:
    return pack_header(0, False, sequence, sequence * 160, ssrc) + bytes(range(160))


def test_reference_rfc3711_b2_keystream() -> None:
    key = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C")
    stream = keystream(key, cipher_iv(bytes.fromhex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"), 0, 0), 0xFF02 * 16)
    assert stream[:48].hex() == "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab41e95b3bb0a2e8dd477901e4fca894c0"
    assert stream[0xFEFF * 16 :].hex() == "ec8cdf7398607cb0f2d21675ea9ea1e4362b7c3c6773516318a077d7fc5073ae6a2cc3787889374fbeb4c81b17ba6c44"


def test_reference_rfc3711_b3_key_derivation() -> None:
    assert derive(KEY_A, 0, 16).hex() == "c61e7a93744f39ee10734afe3ff7a087"
    assert derive(KEY_A, 2, 14).hex() == "30cbbc08863d8c85d49db34a9ae1"
    assert derive(KEY_A, 1, 20).hex() == "cebe321f6ff7716b6fd4ab49af256a156d38baa4"


@pytest.mark.parametrize("suite", SUITES)
def test_protect_equals_the_reference_over_a_roll_over(suite: str) -> None:
    session = SrtpSession(suite, KEY_A, KEY_B)
    for extended in range(0xFFF0, 0x10010):
        packet = rtp(extended & 0xFFFF)
        assert session.protect(packet) == reference_protect(KEY_A, packet, extended >> 16, TAG_BYTES[suite])


@pytest.mark.parametrize("suite", SUITES)
def test_unprotect_opens_what_the_reference_sealed(suite: str) -> None:
    session = SrtpSession(suite, KEY_A, KEY_B)
    for extended in (0xFFFD, 0xFFFF, 0xFFFE, 0x10001, 0x10000):
        packet = rtp(extended & 0xFFFF)
        assert session.unprotect(reference_protect(KEY_B, packet, extended >> 16, TAG_BYTES[suite])) == packet
    assert (session.n_unauthentic, session.n_replayed) == (0, 0)


@pytest.mark.parametrize("suite", SUITES)
def test_protect_in_memory_equals_the_reference_and_leaves_the_neighbours(suite: str) -> None:
    session, memory = SrtpSession(suite, KEY_A, KEY_B), PacketMemory(3, 192)
    for extended in range(0xFFF0, 0x10010):
        packet = rtp(extended & 0xFFFF)
        memory.view[192:364] = packet
        session.protect_in(memory.places[1], len(packet))
        sealed = reference_protect(KEY_A, packet, extended >> 16, TAG_BYTES[suite])
        assert session.tag_bytes == TAG_BYTES[suite]
        assert memory.view[192 : 192 + len(sealed)] == sealed
        assert not any(memory.view[:192]) and not any(memory.view[384:])


@pytest.mark.parametrize("suite", SUITES)
def test_unprotect_in_memory_opens_what_is_right_and_leaves_the_rest_as_it_is(suite: str) -> None:
    session, memory = SrtpSession(suite, KEY_A, KEY_B), PacketMemory(1, 2048)

    def receive(data: bytes) -> bytes | None:
        memory.view[: len(data)] = data
        size = session.unprotect_in(memory.places[0], len(data))
        return bytes(memory.view[:size]) if size >= 0 else None

    sealed = reference_protect(KEY_B, rtp(1), 0, TAG_BYTES[suite])
    assert receive(sealed) == rtp(1)
    assert receive(sealed) is None
    assert memory.view[: len(sealed)] == sealed
    assert (session.n_unauthentic, session.n_replayed) == (0, 1)
    strange = reference_protect(KEY_A, rtp(2), 0, TAG_BYTES[suite])
    for data in (strange, b"", b"\x80", bytes(11), b"\x80" + bytes(21), bytes(2000)):
        assert receive(data) is None
        assert memory.view[: len(data)] == data
    assert (session.n_unauthentic, session.n_replayed) == (6, 1)
    assert receive(reference_protect(KEY_B, rtp(2), 0, TAG_BYTES[suite])) == rtp(2)


@pytest.mark.parametrize("suite", SUITES)
def test_rtcp_equals_the_reference_with_80_bit_tags_in_both_suites(suite: str) -> None:
    session = SrtpSession(suite, KEY_A, KEY_B)
    report = bytes.fromhex("81c9000712345678") + bytes(24)
    for _ in range(3):
        sealed = session.protect_rtcp(report)
        assert sealed == reference_protect_rtcp(KEY_A, report, int.from_bytes(sealed[-14:-10], "big") & 0x7FFFFFFF)
    assert session.unprotect_rtcp(reference_protect_rtcp(KEY_B, report, 1)) == report
    assert session.unprotect_rtcp(reference_protect_rtcp(KEY_A, report, 2)) is None


def test_unprotect_changed_bit_is_refused_and_counted() -> None:
    session = SrtpSession(SUITES[0], KEY_A, KEY_B)
    sealed = bytearray(reference_protect(KEY_B, rtp(1), 0, 10))
    sealed[20] ^= 1
    assert session.unprotect(bytes(sealed)) is None
    assert (session.n_unauthentic, session.n_replayed) == (1, 0)


@pytest.mark.parametrize("data", [b"", b"\x80", bytes(11), b"\x80" + bytes(21), bytes(2000)])
def test_unprotect_garbage_is_refused(data: bytes) -> None:
    session = SrtpSession(SUITES[0], KEY_A, KEY_B)
    assert session.unprotect(data) is None
    assert session.unprotect_rtcp(data) is None
    assert session.n_unauthentic == 2


def test_unprotect_replay_is_refused_and_counted_apart() -> None:
    session = SrtpSession(SUITES[0], KEY_A, KEY_B)
    sealed = reference_protect(KEY_B, rtp(1), 0, 10)
    assert session.unprotect(sealed) is not None
    assert session.unprotect(sealed) is None
    assert (session.n_unauthentic, session.n_replayed) == (0, 1)


def test_unprotect_new_ssrc_begins_with_its_own_roll_over_counter_and_window() -> None:
    session = SrtpSession(SUITES[0], KEY_A, KEY_B)
    for extended in (0xFFFF, 0x10000, 0x10001):
        assert session.unprotect(reference_protect(KEY_B, rtp(extended & 0xFFFF, 1), extended >> 16, 10)) is not None
    assert session.unprotect(reference_protect(KEY_B, rtp(1, 2), 0, 10)) is not None
    assert session.unprotect(reference_protect(KEY_B, rtp(2, 1), 1, 10)) is not None


def test_unprotect_forged_packet_does_not_move_the_window() -> None:
    session = SrtpSession(SUITES[0], KEY_A, KEY_B)
    assert session.unprotect(reference_protect(KEY_B, rtp(10), 0, 10)) is not None
    assert session.unprotect(reference_protect(KEY_A, rtp(30000), 0, 10)) is None
    assert session.unprotect(reference_protect(KEY_B, rtp(11), 0, 10)) is not None


def test_session_wrong_suite_or_key_size_raises_value_error() -> None:
    with pytest.raises(ValueError, match="suite"):
        SrtpSession("AES_256_CM_HMAC_SHA1_80", KEY_A, KEY_B)
    with pytest.raises(ValueError, match="30 bytes"):
        SrtpSession(SUITES[0], KEY_A[:29], KEY_B)


def test_new_key_takes_a_whole_key_from_the_source() -> None:
    class Source:
        def random_bytes(self, n_bytes: int) -> bytes:
            return bytes(n_bytes)

    assert new_key(Source()) == bytes(KEY_BYTES)
