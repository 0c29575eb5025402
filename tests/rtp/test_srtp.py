"""SRTP judged by a second implementation, written here from RFC 3711, 6188 and 7714 and itself checked with the RFCs' vectors."""

from __future__ import annotations

import gc
import hashlib
import hmac
import struct
import weakref

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from active_call.rtp.packet import pack_header
from active_call.rtp.srtp import MAX_TAG_BYTES, PacketMemory, SrtpSession, protect_all
from active_call.rtp.srtp_suites import SUITES, new_key

KEY_A = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6")
"""Master key and salt of RFC 3711 B.3."""
KEY_B = bytes(range(30))
SIZES = {  # key, salt, tag in bytes
    "AES_CM_128_HMAC_SHA1_80": (16, 14, 10),
    "AES_CM_128_HMAC_SHA1_32": (16, 14, 4),
    "AES_256_CM_HMAC_SHA1_80": (32, 14, 10),
    "AES_256_CM_HMAC_SHA1_32": (32, 14, 4),
    "AEAD_AES_128_GCM": (16, 12, 16),
    "AEAD_AES_256_GCM": (32, 12, 16),
}
DEFAULT = "AES_CM_128_HMAC_SHA1_80"


def keys(suite: str) -> tuple[bytes, bytes]:
    """A key for each direction."""
    size = sum(SIZES[suite][:2])
    return bytes((7 * n + 3) % 256 for n in range(size)), bytes(range(size))


def keystream(key: bytes, iv: int, n_bytes: int) -> bytes:
    return Cipher(AES(key), CTR(iv.to_bytes(16, "big"))).encryptor().update(bytes(n_bytes))


def derive(key: bytes, salt: bytes, label: int, n_bytes: int) -> bytes:
    """RFC 3711 section 4.3.1 with a key derivation rate of 0; a shorter salt is padded at its end (RFC 7714 section 11)."""
    return keystream(key, (int.from_bytes(salt.ljust(14, b"\0"), "big") ^ label << 48) << 16, n_bytes)


def cipher_iv(salt: bytes, ssrc: int, index: int) -> int:
    """RFC 3711 section 4.1.1."""
    return int.from_bytes(salt, "big") << 16 ^ ssrc << 64 ^ index << 16


def gcm_iv(salt: bytes, ssrc: int, index: int) -> bytes:
    """RFC 7714 sections 8.1 and 9.1."""
    return ((ssrc << 48 | index) ^ int.from_bytes(salt, "big")).to_bytes(12, "big")


def counter_mode(key: bytes, iv: int, data: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(data, keystream(key, iv, len(data)), strict=True))


class Reference:
    """One direction of SRTP under one master key."""

    def __init__(self, suite: str, master: bytes) -> None:
        self.n_key, self.n_salt, self.n_tag = SIZES[suite]
        self.master, self.salt = master[: self.n_key], master[self.n_key :]
        self.is_gcm = "GCM" in suite

    def derive(self, label: int, n_bytes: int) -> bytes:
        return derive(self.master, self.salt, label, n_bytes)

    def protect(self, packet: bytes, roll_over: int) -> bytes:
        sequence, ssrc = struct.unpack_from("!H", packet, 2)[0], struct.unpack_from("!I", packet, 8)[0]
        header, body, index = packet[:12], packet[12:], roll_over << 16 | sequence
        key, salt = self.derive(0, self.n_key), self.derive(2, self.n_salt)
        if self.is_gcm:
            return header + AESGCM(key).encrypt(gcm_iv(salt, ssrc, index), body, header)
        sealed = header + counter_mode(key, cipher_iv(salt, ssrc, index), body)
        return sealed + hmac.new(self.derive(1, 20), sealed + roll_over.to_bytes(4, "big"), hashlib.sha1).digest()[: self.n_tag]

    def protect_rtcp(self, packet: bytes, index: int) -> bytes:
        ssrc = struct.unpack_from("!I", packet, 4)[0]
        header, body, trailer = packet[:8], packet[8:], (1 << 31 | index).to_bytes(4, "big")
        key, salt = self.derive(3, self.n_key), self.derive(5, self.n_salt)
        if self.is_gcm:
            return header + AESGCM(key).encrypt(gcm_iv(salt, ssrc, index), body, header + trailer) + trailer
        sealed = header + counter_mode(key, cipher_iv(salt, ssrc, index), body) + trailer
        return sealed + hmac.new(self.derive(4, 20), sealed, hashlib.sha1).digest()[:10]

    def index_of_rtcp(self, sealed: bytes) -> int:
        end = len(sealed) - (0 if self.is_gcm else 10)
        return int.from_bytes(sealed[end - 4 : end], "big") & 0x7FFFFFFF


def pair(suite: str) -> tuple[SrtpSession, Reference, Reference]:
    """A session of ours, what it must send, and its peer."""
    ours, theirs = keys(suite)
    return SrtpSession(suite, ours, theirs), Reference(suite, ours), Reference(suite, theirs)


def rtp(sequence: int, ssrc: int = 0xCAFEBABE) -> bytes:
    return pack_header(0, False, sequence, sequence * 160, ssrc) + bytes(range(160))


# -- the reference -----------------------------------------------------------------------------------------------------------------------


def test_reference_rfc3711_b2_keystream() -> None:
    key = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C")
    stream = keystream(key, cipher_iv(bytes.fromhex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD"), 0, 0), 0xFF02 * 16)
    assert stream[:48].hex() == "e03ead0935c95e80e166b16dd92b4eb4d23513162b02d0f72a43a2fe4a5f97ab41e95b3bb0a2e8dd477901e4fca894c0"
    assert stream[0xFEFF * 16 :].hex() == "ec8cdf7398607cb0f2d21675ea9ea1e4362b7c3c6773516318a077d7fc5073ae6a2cc3787889374fbeb4c81b17ba6c44"


def test_reference_rfc3711_b3_key_derivation() -> None:
    key, salt = KEY_A[:16], KEY_A[16:]
    assert derive(key, salt, 0, 16).hex() == "c61e7a93744f39ee10734afe3ff7a087"
    assert derive(key, salt, 2, 14).hex() == "30cbbc08863d8c85d49db34a9ae1"
    assert derive(key, salt, 1, 20).hex() == "cebe321f6ff7716b6fd4ab49af256a156d38baa4"


def test_reference_rfc6188_7_1_keystream_of_aes_256() -> None:
    key = bytes.fromhex("57f82fe3613fd170a85ec93c40b1f0922ec4cb0dc025b58272147cc438944a98")
    stream = keystream(key, cipher_iv(bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfd"), 0, 0), 0xFF02 * 16)
    assert stream[:48].hex() == "92bdd28a93c3f52511c677d08b5515a49da71b2378a854f67050756ded165bac63c4868b7096d88421b563b8c94c9a31"
    assert stream[0xFEFF * 16 :].hex() == "cea518c90fd91ced9cbb18c078a547113dbc4814f4da5f00a08772b63c6a046d6eb246913062a16891433e97dd01a57f"


def test_reference_rfc6188_7_4_key_derivation_of_aes_256() -> None:
    key = bytes.fromhex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6")
    salt = bytes.fromhex("3b04803de51ee7c96423ab5b78d2")
    assert derive(key, salt, 0, 32).hex() == "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4"
    assert derive(key, salt, 2, 14).hex() == "fa31791685ca444a9e07c6c64e93"
    assert derive(key, salt, 1, 20).hex() == "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"


GCM_SALT = bytes.fromhex("517569642070726f2071756f")
GCM_SEALED = {
    16: "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
    32: "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
}


@pytest.mark.parametrize("n_key", [16, 32])
def test_reference_rfc7714_16_gcm_encrypts_rtp(n_key: int) -> None:
    header = bytes.fromhex("8040f17b8041f8d35501a0b2")
    iv = gcm_iv(GCM_SALT, 0x5501A0B2, 0xF17B)
    assert iv.hex() == "51753c6580c2726f20718414"
    assert AESGCM(bytes(range(n_key))).encrypt(iv, b"Gallia est omnis divisa in partes tres", header).hex() == GCM_SEALED[n_key]


def test_reference_rfc7714_17_1_gcm_encrypts_rtcp() -> None:
    report = bytes.fromhex("81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61" + "deadbeef" * 5)
    iv = gcm_iv(GCM_SALT, 0x4D617273, 0x5D4)
    assert iv.hex() == "517524055203726f207170bb"
    assert AESGCM(bytes(range(16))).encrypt(iv, report[8:], report[:8] + bytes.fromhex("800005d4")).hex() == (
        "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade"
    )


# -- libsrtp against it ------------------------------------------------------------------------------------------------------------------


def test_suites_are_those_that_are_tested_here() -> None:
    assert set(SUITES) == set(SIZES)
    assert SUITES[:2] == ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32")
    assert max(tag for _, _, tag in SIZES.values()) == MAX_TAG_BYTES


def test_protect_rfc3711_b3_master_key_equals_the_reference() -> None:
    session, reference = SrtpSession(DEFAULT, KEY_A, KEY_B), Reference(DEFAULT, KEY_A)
    assert session.protect(rtp(1)) == reference.protect(rtp(1), 0)


@pytest.mark.parametrize("suite", SUITES)
def test_protect_equals_the_reference_over_a_roll_over(suite: str) -> None:
    session, reference, _ = pair(suite)
    for extended in range(0xFFF0, 0x10010):
        packet = rtp(extended & 0xFFFF)
        assert session.protect(packet) == reference.protect(packet, extended >> 16)


@pytest.mark.parametrize("suite", SUITES)
def test_protect_over_several_roll_overs_equals_the_reference(suite: str) -> None:
    session, reference, _ = pair(suite)
    for extended in range(0x7000, 0x37000, 0x1000):
        packet = rtp(extended & 0xFFFF)
        assert session.protect(packet) == reference.protect(packet, extended >> 16)


@pytest.mark.parametrize("suite", SUITES)
def test_unprotect_opens_what_the_reference_sealed(suite: str) -> None:
    session, _, peer = pair(suite)
    for extended in (0xFFFD, 0xFFFF, 0xFFFE, 0x10001, 0x10000):
        packet = rtp(extended & 0xFFFF)
        assert session.unprotect(peer.protect(packet, extended >> 16)) == packet
    assert (session.n_unauthentic, session.n_replayed) == (0, 0)


@pytest.mark.parametrize("suite", SUITES)
def test_protect_in_memory_equals_the_reference_and_leaves_the_neighbours(suite: str) -> None:
    (session, reference, _), memory = pair(suite), PacketMemory(3, 192)
    for extended in range(0xFFF0, 0x10010):
        packet = rtp(extended & 0xFFFF)
        memory.view[192:364] = packet
        session.protect_in(memory.places[1], len(packet))
        sealed = reference.protect(packet, extended >> 16)
        assert session.tag_bytes == SIZES[suite][2]
        assert memory.view[192 : 192 + len(sealed)] == sealed
        assert not any(memory.view[:192]) and not any(memory.view[384:])


@pytest.mark.parametrize("suite", SUITES)
def test_unprotect_in_memory_opens_what_is_right_and_leaves_the_rest_as_it_is(suite: str) -> None:
    (session, reference, peer), memory = pair(suite), PacketMemory(1, 2048)

    def receive(data: bytes) -> bytes | None:
        memory.view[: len(data)] = data
        size = session.unprotect_in(memory.places[0], len(data))
        return bytes(memory.view[:size]) if size >= 0 else None

    sealed = peer.protect(rtp(1), 0)
    assert receive(sealed) == rtp(1)
    assert receive(sealed) is None
    assert memory.view[: len(sealed)] == sealed
    assert (session.n_unauthentic, session.n_replayed) == (0, 1)
    strange = reference.protect(rtp(2), 0)
    for data in (strange, b"", b"\x80", bytes(11), b"\x80" + bytes(21), bytes(2000)):
        assert receive(data) is None
        if "GCM" not in suite:  # GCM deciphers before it has seen the tag
            assert memory.view[: len(data)] == data
    assert (session.n_unauthentic, session.n_replayed) == (6, 1)
    assert receive(peer.protect(rtp(2), 0)) == rtp(2)


@pytest.mark.parametrize("suite", SUITES)
def test_rtcp_equals_the_reference(suite: str) -> None:
    """80-bit tags with AES in counter mode, whatever RTP has (RFC 4568 section 6.2.2)."""
    session, reference, peer = pair(suite)
    report = bytes.fromhex("81c9000712345678") + bytes(24)
    for _ in range(3):
        sealed = session.protect_rtcp(report)
        assert sealed == reference.protect_rtcp(report, reference.index_of_rtcp(sealed))
    assert session.unprotect_rtcp(peer.protect_rtcp(report, 1)) == report
    assert session.unprotect_rtcp(peer.protect_rtcp(report, 1)) is None
    assert session.unprotect_rtcp(reference.protect_rtcp(report, 2)) is None
    assert (session.n_unauthentic, session.n_replayed) == (1, 1)


@pytest.mark.parametrize("suite", SUITES)
def test_unprotect_changed_bit_is_refused_and_counted(suite: str) -> None:
    session, _, peer = pair(suite)
    sealed = bytearray(peer.protect(rtp(1), 0))
    sealed[20] ^= 1
    assert session.unprotect(bytes(sealed)) is None
    assert (session.n_unauthentic, session.n_replayed) == (1, 0)


@pytest.mark.parametrize("data", [b"", b"\x80", bytes(11), b"\x80" + bytes(21), bytes(2000)])
@pytest.mark.parametrize("suite", SUITES)
def test_unprotect_garbage_is_refused(suite: str, data: bytes) -> None:
    session, _, _ = pair(suite)
    assert session.unprotect(data) is None
    assert session.unprotect_rtcp(data) is None
    assert session.n_unauthentic == 2


@pytest.mark.parametrize("suite", SUITES)
def test_unprotect_replay_is_refused_and_counted_apart(suite: str) -> None:
    session, _, peer = pair(suite)
    sealed = peer.protect(rtp(1), 0)
    assert session.unprotect(sealed) is not None
    assert session.unprotect(sealed) is None
    assert (session.n_unauthentic, session.n_replayed) == (0, 1)


@pytest.mark.parametrize("suite", SUITES)
def test_unprotect_new_ssrc_begins_with_its_own_roll_over_counter_and_window(suite: str) -> None:
    session, _, peer = pair(suite)
    for extended in (0xFFFF, 0x10000, 0x10001):
        assert session.unprotect(peer.protect(rtp(extended & 0xFFFF, 1), extended >> 16)) is not None
    assert session.unprotect(peer.protect(rtp(1, 2), 0)) is not None
    assert session.unprotect(peer.protect(rtp(2, 1), 1)) is not None


def test_unprotect_forged_packet_does_not_move_the_window() -> None:
    session, reference, peer = pair(DEFAULT)
    assert session.unprotect(peer.protect(rtp(10), 0)) is not None
    assert session.unprotect(reference.protect(rtp(30000), 0)) is None
    assert session.unprotect(peer.protect(rtp(11), 0)) is not None


@pytest.mark.parametrize("suite", SUITES)
def test_re_key_begins_with_a_counter_of_its_own_and_the_old_key_still_opens_what_was_on_its_way(suite: str) -> None:
    """Sequence numbers go on over a re-key; a new context has its own roll-over counter (RFC 3711 section 3.2.1)."""
    old, _, old_peer = pair(suite)
    assert old.unprotect(old_peer.protect(rtp(0xFFFF), 0)) is not None
    assert old.unprotect(old_peer.protect(rtp(0), 1)) is not None
    size = sum(SIZES[suite][:2])
    ours, theirs = bytes(size), bytes(reversed(range(size)))
    new, new_peer = SrtpSession(suite, ours, theirs), Reference(suite, theirs)
    assert new.unprotect(new_peer.protect(rtp(2), 0)) == rtp(2)
    assert new.unprotect(old_peer.protect(rtp(1), 1)) is None
    assert old.unprotect(old_peer.protect(rtp(1), 1)) == rtp(1)
    assert new.protect(rtp(3)) == Reference(suite, ours).protect(rtp(3), 0)


@pytest.mark.parametrize("suite", SUITES)
def test_session_wrong_key_size_raises_value_error(suite: str) -> None:
    ours, theirs = keys(suite)
    for wrong in (ours[:-1], ours + b"x", b""):
        with pytest.raises(ValueError, match=f"{len(ours)} bytes"):
            SrtpSession(suite, wrong, theirs)
        with pytest.raises(ValueError, match=f"{len(ours)} bytes"):
            SrtpSession(suite, ours, wrong)


def test_session_unknown_suite_raises_value_error() -> None:
    with pytest.raises(ValueError, match="suite"):
        SrtpSession("AES_192_CM_HMAC_SHA1_80", KEY_A, KEY_B)


@pytest.mark.parametrize("suite", SUITES)
def test_new_key_takes_a_whole_key_from_the_source(suite: str) -> None:
    class Source:
        def random_bytes(self, n_bytes: int) -> bytes:
            return bytes(n_bytes)

    assert new_key(Source(), suite) == bytes(sum(SIZES[suite][:2]))
    assert new_key(Source()) == bytes(30)


def test_context_keeps_what_it_needs_alive_when_its_session_is_gone() -> None:
    key, memory = bytes(range(30)), PacketMemory(1, 192)
    session = SrtpSession(SUITES[0], key, key)
    context, (start, length) = session.sending, memory.places[0]
    of_sender = weakref.ref(session._sender)
    del session
    gc.collect()
    memory.view[:172] = struct.pack("!BBHII", 0x80, 0, 1, 160, 7) + bytes(160)
    memory.lengths[0] = 172
    assert of_sender() is not None
    assert protect_all([context], [start], [length]) == [True]
    assert SrtpSession(SUITES[0], key, key).unprotect(bytes(memory.view[:182])) is not None
    del context
    gc.collect()
    assert of_sender() is None
