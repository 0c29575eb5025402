"""STUN binding requests and responses (RFC 5389): the header of twenty bytes, and XOR-MAPPED-ADDRESS. Pure.

In: a transaction id, datagrams. Out: bytes, the mapped address. Parsers raise only ParseError. No authentication and no fingerprints: a
response contains only our address, and the 96 bits of the transaction id cannot be guessed.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from active_call.base.errors import ParseError
from active_call.sip.events import Address

MAGIC_COOKIE = 0x2112A442
TRANSACTION_ID_BYTES = 12
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_BINDING_REQUEST = 0x0001
_BINDING_SUCCESS = 0x0101
_MAPPED_ADDRESS = 0x0001
_XOR_MAPPED_ADDRESS = 0x0020
_FAMILY_BYTES = {0x01: 4, 0x02: 16}


def is_stun(data: bytes) -> bool:
    """Whether a datagram is STUN and not SIP (RFC 5389 §6): two zero bits, and the magic cookie."""
    return len(data) >= _HEADER.size and data[0] < 0x40 and data[4:8] == MAGIC_COOKIE.to_bytes(4)


def build_binding_request(transaction_id: bytes) -> bytes:
    """A request without attributes. `transaction_id` is 12 unpredictable bytes."""
    return _HEADER.pack(_BINDING_REQUEST, 0, MAGIC_COOKIE, transaction_id)


def parse_binding_response(data: bytes, transaction_id: bytes) -> Address:
    """The address that the server has seen. Raises ParseError for anything but a success response to that request."""
    if not is_stun(data):
        raise ParseError("STUN", expected="a header with the magic cookie")
    kind, length, _, found_id = _HEADER.unpack_from(data)
    if kind != _BINDING_SUCCESS or found_id != transaction_id:
        raise ParseError("STUN", expected="a success response to our request", found=f"type {kind:#06x}")
    if length % 4 or len(data) != _HEADER.size + length:
        raise ParseError("STUN length", expected=str(len(data) - _HEADER.size), found=str(length))
    attributes = _attributes(data)
    if _XOR_MAPPED_ADDRESS in attributes:
        mask = data[4:20]
        return _address(attributes[_XOR_MAPPED_ADDRESS], mask)
    if _MAPPED_ADDRESS in attributes:
        return _address(attributes[_MAPPED_ADDRESS], bytes(16))
    raise ParseError("STUN", expected="XOR-MAPPED-ADDRESS")


def _attributes(data: bytes) -> dict[int, bytes]:
    """Values by type; the first of each type (§15)."""
    found: dict[int, bytes] = {}
    at = _HEADER.size
    while at < len(data):
        if at + _ATTRIBUTE.size > len(data):
            raise ParseError("STUN attribute", expected="type and length")
        kind, length = _ATTRIBUTE.unpack_from(data, at)
        start = at + _ATTRIBUTE.size
        if start + length > len(data):
            raise ParseError("STUN attribute", expected=f"{length} bytes", found=str(len(data) - start))
        found.setdefault(kind, data[start : start + length])
        at = start + length + -length % 4
    return found


def _address(value: bytes, mask: bytes) -> Address:
    """§15.1, §15.2. `mask` is the cookie and the transaction id for the XOR form, zeros for the plain one."""
    size = _FAMILY_BYTES.get(value[1]) if len(value) >= 4 else None
    if size is None or len(value) != 4 + size:
        raise ParseError("STUN address", expected="an IPv4 or IPv6 address")
    port = int.from_bytes(value[2:4]) ^ int.from_bytes(mask[:2])
    raw = bytes(one ^ other for one, other in zip(value[4:], mask, strict=False))
    return Address(str(IPv4Address(raw) if size == 4 else IPv6Address(raw)), port)
