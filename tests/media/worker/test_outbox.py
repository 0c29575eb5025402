"""What is kept for a control process that does not read."""

from __future__ import annotations

from active_call.media.worker.outbox import WRITE_BYTES, Outbox


def drain(outbox: Outbox, portion: int) -> bytes:
    taken = b""
    while data := outbox.peek():
        taken += data[:portion]
        outbox.advance(min(portion, len(data)))
    return taken


def test_outbox_written_in_torn_portions_keeps_every_byte_in_order() -> None:
    outbox = Outbox()
    outbox.put(b"one")
    outbox.put_audio(b"sound" * 100_000)
    outbox.put(b"two")
    assert drain(outbox, 777) == b"one" + b"sound" * 100_000 + b"two"
    assert outbox.is_empty


def test_outbox_over_its_limit_drops_the_oldest_sound_and_no_event() -> None:
    outbox = Outbox(audio_limit_bytes=1000)
    for n in range(100):
        outbox.put(b"e%02d" % n)
        outbox.put_audio(b"a%02d" % n + bytes(47))
    kept = drain(outbox, 1 << 20)
    assert all(b"e%02d" % n in kept for n in range(100))
    assert b"a99" in kept
    assert b"a00" not in kept
    assert outbox.dropped_audio >= 80
    assert kept.count(bytes(47)) == 100 - outbox.dropped_audio


def test_outbox_takes_bounded_portions_so_that_the_rest_can_still_be_dropped() -> None:
    outbox = Outbox(audio_limit_bytes=4 * WRITE_BYTES)
    for _ in range(40):
        outbox.put_audio(bytes(WRITE_BYTES // 10))
    assert len(outbox.peek()) == WRITE_BYTES // 10 * 11
