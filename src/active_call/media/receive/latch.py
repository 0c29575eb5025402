"""Which source a stream accepts and where it sends: the address that was signalled, or the one that packets come from.

Every packet is accepted or refused; the destination follows. Pure: it is told `now`. RFC 4961 (symmetric RTP).

Theory. Behind a NAT the signalled address is wrong and only the source of what arrives is right. But anyone can guess a port and send to
it, so an unknown source must first meet the conditions of the table. `source` is the address that is heard at present, and in the plain
case its `ssrc`; `candidate` is another address that would be heard.

| at present                   | packet from            | secured                             | plain                               |
|------------------------------|------------------------|-------------------------------------|-------------------------------------|
| no source                    | signalled address      | source at once                      | source at once                      |
| no source                    | another                | source at once (it holds the key)   | source after FIRST_PACKETS in a row |
| another source               | signalled address      | as any other                        | source at once                      |
| source, heard lately         | another                | after MOVE_PACKETS in a row         | never                               |
| source, silent for a while   | another                | source at once                      | after MOVE_PACKETS in a row         |
| source                       | the same, another SSRC | heard                               | heard once the old is silent        |

"A while" is SECURED_SILENT_S for who holds the key, and PLAIN_SILENT_S for who only has a port number to guess. "In a row": from one
address, with one SSRC, each sequence number the next, nothing accepted in between. Packets of a candidate are not played in the plain case,
and are in the secured one. Another SSRC at the same address has to wait for SSRC_SILENT_S without a packet of the old one, as packets with
a forged source address would else take over; after a new offer or answer it does not, since the peer's sender may have changed.
"""

from __future__ import annotations

from typing import Final

FIRST_PACKETS: Final = 3
MOVE_PACKETS: Final = 5
SECURED_SILENT_S: Final = 0.5
PLAIN_SILENT_S: Final = 2.0
"""A NAT that changes its port in mid-call costs so much sound; a pause of the peer does not let an unknown source in."""
SSRC_SILENT_S: Final = 0.1
"""Five packets."""

Address = tuple[str, int]


class Latch:
    """The source and the destination of one stream. `latching` false: sends to the signalled address whatever comes from where."""

    __slots__ = (
        "_candidate_ssrc",
        "_latching",
        "_next_sequence",
        "_run",
        "_signalled",
        "candidate",
        "destination",
        "heard_at",
        "source",
        "ssrc",
    )

    def __init__(self, signalled: Address, *, latching: bool) -> None:
        self.source: Address | None = None
        self.ssrc: int | None = None
        """Of the source; None: its next packet says."""
        self.destination = signalled
        self._signalled = signalled
        self._latching = latching
        self.heard_at = 0.0
        self.candidate: Address | None = None
        self._run = 0
        self._candidate_ssrc = -1
        self._next_sequence = -1

    @property
    def proves_destination(self) -> bool:
        """Whether the accepted packets prove the destination: they came from there."""
        return self.source is not None and self.source == self.destination

    def signal(self, address: Address, *, latching: bool) -> None:
        """Another offer/answer. The same address again keeps what was learnt; another one starts afresh."""
        self.ssrc = None
        if address == self._signalled and latching == self._latching:
            return
        self._signalled = address
        self._latching = latching
        self.destination = address
        self.source = None
        self._forget_candidate()

    def accept(self, address: Address, ssrc: int, sequence: int, now: float, *, secured: bool) -> bool:
        """Whether the packet is to be heard. Call it for packets only that are authentic (`secured`) or of an agreed type."""
        if address == self.source:
            return self._accept_source(ssrc, now, secured=secured)
        if self._is_acceptable(address, ssrc, sequence, now, secured=secured):
            self._move(address, ssrc, now)
            return True
        return secured

    def _accept_source(self, ssrc: int, now: float, *, secured: bool) -> bool:
        is_bound = self.ssrc is not None and not secured
        if is_bound and ssrc != self.ssrc and now - self.heard_at < SSRC_SILENT_S:
            return False
        self.ssrc = ssrc
        self.heard_at = now
        if self._run:
            self._forget_candidate()
        return True

    def _is_acceptable(self, address: Address, ssrc: int, sequence: int, now: float, *, secured: bool) -> bool:
        if self.source is None and (secured or address == self._signalled):
            return True
        if address == self._signalled and not secured:
            return True
        run = self._count_candidate(address, ssrc, sequence)
        if self.source is None:
            return run >= FIRST_PACKETS
        is_silent = now - self.heard_at >= (SECURED_SILENT_S if secured else PLAIN_SILENT_S)
        if secured:
            return is_silent or run >= MOVE_PACKETS
        return is_silent and run >= MOVE_PACKETS

    def _count_candidate(self, address: Address, ssrc: int, sequence: int) -> int:
        in_a_row = address == self.candidate and ssrc == self._candidate_ssrc and sequence == self._next_sequence
        self._run = self._run + 1 if in_a_row else 1
        self.candidate = address
        self._candidate_ssrc = ssrc
        self._next_sequence = (sequence + 1) & 0xFFFF
        return self._run

    def _move(self, address: Address, ssrc: int, now: float) -> None:
        self.source = address
        self.ssrc = ssrc
        self.heard_at = now
        if self._latching:
            self.destination = address
        self._forget_candidate()

    def _forget_candidate(self) -> None:
        self.candidate = None
        self._run = 0
