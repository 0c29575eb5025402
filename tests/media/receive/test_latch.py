"""Whom to listen to, by the table of the module."""

from __future__ import annotations

from active_call.media.receive.latch import FIRST_PACKETS, MOVE_PACKETS, PLAIN_SILENT_S, SSRC_SILENT_S, Latch

SIGNALLED = ("192.0.2.1", 4000)
NAT = ("198.51.100.7", 61_000)
ATTACKER = ("203.0.113.9", 1234)


def plain(latch: Latch, address: tuple[str, int], sequence: int, now: float, ssrc: int = 1) -> bool:
    return latch.accept(address, ssrc, sequence, now, secured=False)


def test_plain_packets_from_the_signalled_address_are_heard_at_once() -> None:
    latch = Latch(SIGNALLED, latching=True)
    assert plain(latch, SIGNALLED, 1, 0.0)
    assert latch.destination == SIGNALLED


def test_plain_packets_from_behind_a_nat_are_followed_after_a_few_in_a_row() -> None:
    latch = Latch(SIGNALLED, latching=True)
    heard = [plain(latch, NAT, n, n * 0.02) for n in range(FIRST_PACKETS + 1)]
    assert heard == [False] * (FIRST_PACKETS - 1) + [True, True]
    assert latch.destination == NAT


def test_plain_packets_at_random_never_become_the_source() -> None:
    latch = Latch(SIGNALLED, latching=True)
    assert not any(plain(latch, ATTACKER, n * 7919 % 65536, n * 0.02) for n in range(50))
    assert latch.destination == SIGNALLED


def test_plain_attacker_during_a_call_is_never_heard() -> None:
    latch = Latch(SIGNALLED, latching=True)
    for n in range(200):
        assert plain(latch, SIGNALLED, n, n * 0.02)
        assert not plain(latch, ATTACKER, n, n * 0.02 + 0.001, ssrc=2)
    assert latch.destination == SIGNALLED


def test_plain_peer_that_moves_is_followed_when_the_old_source_is_silent() -> None:
    latch = Latch(SIGNALLED, latching=True)
    plain(latch, SIGNALLED, 0, 0.0)
    heard = [plain(latch, NAT, n, PLAIN_SILENT_S + n * 0.02) for n in range(MOVE_PACKETS)]
    assert heard == [False] * (MOVE_PACKETS - 1) + [True]
    assert latch.destination == NAT


def test_secured_packets_are_followed_at_once_and_all_heard() -> None:
    latch = Latch(SIGNALLED, latching=True)
    assert latch.accept(NAT, 1, 0, 0.0, secured=True)
    assert latch.destination == NAT
    assert latch.accept(SIGNALLED, 1, 1, 0.02, secured=True)
    assert latch.destination == NAT


def test_without_latching_the_destination_stays_the_signalled_one() -> None:
    latch = Latch(SIGNALLED, latching=False)
    for n in range(10):
        plain(latch, NAT, n, n * 0.02)
    assert latch.source == NAT
    assert latch.destination == SIGNALLED


def test_same_address_signalled_again_keeps_what_was_learnt_and_another_starts_afresh() -> None:
    latch = Latch(SIGNALLED, latching=True)
    for n in range(FIRST_PACKETS):
        plain(latch, NAT, n, n * 0.02)
    latch.signal(SIGNALLED, latching=True)
    assert latch.destination == NAT
    latch.signal(ATTACKER, latching=True)
    assert latch.destination == ATTACKER
    assert latch.source is None


def test_plain_signalled_address_wins_back_at_once_when_it_sends() -> None:
    latch = Latch(SIGNALLED, latching=True)
    for n in range(50):
        plain(latch, ATTACKER, n, n * 0.02, ssrc=2)
    assert latch.destination == ATTACKER
    assert plain(latch, SIGNALLED, 0, 1.0)
    assert latch.destination == SIGNALLED
    assert not any(plain(latch, ATTACKER, 50 + n, 1.001 + n * 0.02, ssrc=2) for n in range(50))


def test_plain_packet_with_the_source_address_and_another_ssrc_is_not_heard_while_the_source_sends() -> None:
    latch = Latch(SIGNALLED, latching=True)
    for n in range(200):
        assert plain(latch, SIGNALLED, n, n * 0.02)
        assert not any(plain(latch, SIGNALLED, 5 * n + k, n * 0.02 + 0.001, ssrc=2) for k in range(5))


def test_plain_source_that_changes_its_ssrc_is_heard_again_soon() -> None:
    latch = Latch(SIGNALLED, latching=True)
    plain(latch, SIGNALLED, 0, 0.0)
    heard = [plain(latch, SIGNALLED, n, (n + 1) * 0.02, ssrc=2) for n in range(10)]
    assert heard.index(True) * 0.02 <= SSRC_SILENT_S
    assert all(heard[heard.index(True) :])


def test_plain_source_may_change_its_ssrc_at_once_after_an_offer() -> None:
    latch = Latch(SIGNALLED, latching=True)
    plain(latch, SIGNALLED, 0, 0.0)
    latch.signal(SIGNALLED, latching=True)
    assert plain(latch, SIGNALLED, 1, 0.02, ssrc=2)


def test_plain_peer_that_pauses_is_not_replaced_by_a_stranger() -> None:
    latch = Latch(SIGNALLED, latching=True)
    for n in range(1000):
        now = n * 0.02
        if now % 1.9 < 0.5:  # half a second of every two
            assert plain(latch, SIGNALLED, n, now)
        assert not plain(latch, ATTACKER, n, now + 0.001, ssrc=2)


def test_packets_prove_the_destination_only_when_they_come_from_there() -> None:
    latch = Latch(SIGNALLED, latching=False)
    for n in range(10):
        plain(latch, NAT, n, n * 0.02)
    assert not latch.proves_destination
    assert plain(latch, SIGNALLED, 1, 1.0)
    assert latch.proves_destination
