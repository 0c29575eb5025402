"""The cost of single steps of the media tick: `python benchmarks/steps.py`. Prints microseconds per packet, frame or chunk, the best of
several.

Batched steps are divided by their batch. One BLAS thread, as in a media process.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from active_call.base.world import SystemRandomness
from active_call.bench.datagrams import ROW_BYTES
from active_call.bench.speech import speech
from active_call.codec import g711
from active_call.codec.libopus import OpusError
from active_call.codec.resample import Downsampler16to8, Upsampler8to16
from active_call.codec.stream import new_decoder, new_encoder
from active_call.media.detect.call_progress import ToneDetector
from active_call.media.detect.inband_dtmf import InbandDigits
from active_call.media.detect.silero import SileroBatch
from active_call.media.detect.speech import SpeechDetector, energy_voiced
from active_call.media.enhance.gain import GainControl
from active_call.media.enhance.noise_suppression import NoiseSuppressor
from active_call.media.send.ambience import Ambience
from active_call.rtp.jitter import JitterBuffer
from active_call.rtp.jitter_table import JitterTable
from active_call.rtp.packet import pack_header
from active_call.rtp.reception_table import ReceptionTable
from active_call.rtp.srtp import PacketMemory, SrtpSession, protect_all, unprotect_all
from active_call.rtp.srtp_suites import SUITES, new_key
from active_call.rtp.stream import ReceiveStream

BATCH = 64
N_PACKETS = 20_000
RUNS = 7

Step = tuple[str, str, Callable[[], float]]


def timed(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def per_item(n_items: int, prepare: Callable[[], Callable[[], object]]) -> Callable[[], float]:
    """Microseconds per item of what `prepare` returns, which does `n_items` at each call."""
    return lambda: min(timed(prepare()) for _ in range(RUNS)) / n_items * 1e6


def batched(action: Callable[[], object], batch: int = BATCH, repeat: int = 50) -> Callable[[], float]:
    def run() -> None:
        for _ in range(repeat):
            action()

    return per_item(batch * repeat, lambda: run)


def each(step: Callable[[Any], object], items: Sequence[Any]) -> Callable[[], float]:
    """Microseconds of `step`, given one of `items` after another."""
    return per_item(len(items), lambda: lambda: [step(item) for item in items])


def packets() -> list[bytes]:
    return [pack_header(0, False, n & 0xFFFF, n * 160, 1) + bytes(160) for n in range(N_PACKETS)]


def packet_steps() -> Iterator[Step]:
    plain = packets()
    keys = bytes(range(30)), bytes(range(1, 31))

    def protect() -> Callable[[], object]:
        session = SrtpSession(SUITES[0], *keys)
        return lambda: [session.protect(packet) for packet in plain]

    def unprotect() -> Callable[[], object]:
        sender, receiver = SrtpSession(SUITES[0], *keys), SrtpSession(SUITES[0], *keys[::-1])
        sealed = [sender.protect(packet) for packet in plain]
        return lambda: [receiver.unprotect(packet) for packet in sealed]

    def send() -> None:
        for n in range(N_PACKETS):
            pack_header(0, False, n & 0xFFFF, n * 160, 1)

    def receive() -> None:
        stream = ReceiveStream(1)
        for n in range(N_PACKETS):
            stream.receive(n & 0xFFFF, n * 160, n * 0.02)

    yield "pack_header", "packet", per_item(N_PACKETS, lambda: send)
    yield "ReceiveStream.receive", "packet", per_item(N_PACKETS, lambda: receive)
    yield "SRTP protect, copied", "packet", per_item(N_PACKETS, protect)
    yield "SRTP unprotect, copied", "packet", per_item(N_PACKETS, unprotect)
    for suite in SUITES:
        yield f"{suite}: protect in place", "packet", per_item(N_PACKETS, lambda suite=suite: protect_in_place(plain, suite)[0])
        yield f"{suite}: unprotect in place", "packet", per_item(N_PACKETS, lambda suite=suite: unprotect_in_place(plain, suite))


def protect_in_place(plain: list[bytes], suite: str, key: bytes = b"") -> tuple[Callable[[], object], PacketMemory]:
    """As in the tick: each packet is in its row and grows there."""
    memory = PacketMemory(N_PACKETS, ROW_BYTES)
    for row, packet in enumerate(plain):
        memory.view[row * ROW_BYTES : row * ROW_BYTES + len(packet)] = packet
    key = key or new_key(SystemRandomness(), suite)
    session = SrtpSession(suite, key, key)
    size = len(plain[0])
    contexts, (starts, lengths) = [session.sending] * N_PACKETS, zip(*memory.places, strict=True)

    def protect() -> None:
        memory.lengths[:] = size
        protect_all(contexts, starts, lengths)

    return protect, memory


def unprotect_in_place(plain: list[bytes], suite: str) -> Callable[[], object]:
    """As on reception: packets are decrypted where they were received."""
    key = new_key(SystemRandomness(), suite)
    seal, memory = protect_in_place(plain, suite, key)
    seal()
    session = SrtpSession(suite, key, key)
    size = len(plain[0]) + session.tag_bytes
    contexts, (starts, lengths) = [session.receiving] * N_PACKETS, zip(*memory.places, strict=True)

    def unprotect() -> None:
        memory.lengths[:] = size
        unprotect_all(contexts, starts, lengths)

    return unprotect


def intake_steps() -> Iterator[Step]:
    """400 streams together, as in the tick; the two halves of each tick are timed separately."""
    n_streams, n_ticks = 400, 100
    rows, payload = np.arange(n_streams), np.zeros((n_streams, 160), np.uint8)

    def run(part: int) -> float:
        table = JitterTable(n_streams)
        buffers = [JitterBuffer(table, row) for row in range(n_streams)]
        spent = [0.0, 0.0]
        for tick in range(n_ticks):
            numbers, stamps, now = np.full(n_streams, tick), np.full(n_streams, tick * 160), np.full(n_streams, tick * 0.02)
            begin = time.perf_counter()
            ahead = table.ahead(rows, numbers, stamps)
            if ahead[0] < 0:
                for buffer in buffers:
                    buffer.push(tick, tick * 160, bytes(160), tick * 0.02)
            else:
                table.push(rows, numbers, stamps, now)
                table.keep(rows, ahead, payload)
            middle = time.perf_counter()
            table.pop(rows)
            spent[0] += middle - begin
            spent[1] += time.perf_counter() - middle
        return spent[part] / n_streams / n_ticks * 1e6

    def count() -> float:
        table = ReceptionTable(n_streams)
        streams = [ReceiveStream(1, table=table, row=row) for row in range(n_streams)]
        for stream in streams:
            stream.receive(0, 0, 0.0)
        begin = time.perf_counter()
        for tick in range(1, n_ticks):
            numbers, stamps, now = np.full(n_streams, tick), np.full(n_streams, tick * 160), np.full(n_streams, tick * 0.02)
            if table.follows(rows, numbers).all():
                table.receive(rows, numbers, stamps, now)
        return (time.perf_counter() - begin) / n_streams / (n_ticks - 1) * 1e6

    yield "ReceptionTable.receive", "packet", lambda: min(count() for _ in range(RUNS))
    yield "JitterTable.push and keep", "packet", lambda: min(run(0) for _ in range(RUNS))
    yield "JitterTable.pop", "frame", lambda: min(run(1) for _ in range(RUNS))


def jitter_steps() -> Iterator[Step]:
    """Packets other than the next one: each by itself."""
    payload, n_streams, n_ticks = bytes(160), 400, 100

    def run(part: int) -> float:
        buffers = [JitterBuffer() for _ in range(n_streams)]
        spent = [0.0, 0.0]
        for tick in range(n_ticks):
            begin = time.perf_counter()
            for buffer in buffers:
                buffer.push(tick, tick * 160, payload, tick * 0.02)
            middle = time.perf_counter()
            for buffer in buffers:
                buffer.pop()
            spent[0] += middle - begin
            spent[1] += time.perf_counter() - middle
        return spent[part] / n_streams / n_ticks * 1e6

    yield "JitterBuffer.push", "packet", lambda: min(run(0) for _ in range(RUNS))
    yield "JitterBuffer.pop", "frame", lambda: min(run(1) for _ in range(RUNS))


def codec_steps() -> Iterator[Step]:
    """The codecs without look-up tables, one stream at a time: a frame of speech-like sound in each direction, and a concealed one."""
    frames = speech().frames[:100]
    for name in ("g722", "opus"):
        try:
            encoder, decoder = new_encoder(name), new_decoder(name)
        except OpusError:
            continue  # libopus is not installed
        wide = [np.repeat(frame, 2) for frame in frames]
        payloads = [encoder.encode(frame) for frame in wide]
        yield f"{name} encode", "frame", each(encoder.encode, wide)
        yield f"{name} decode", "frame", each(decoder.decode, payloads)
        yield f"{name} conceal", "frame", each(decoder.conceal, [320] * 20)


def sound_steps() -> Iterator[Step]:
    generator = np.random.default_rng(1)
    law, slots = generator.integers(0, 2, BATCH).astype(bool), np.arange(BATCH)
    payload = generator.integers(0, 256, (BATCH, 160), dtype=np.uint8)
    pcm, coded = np.empty((BATCH, 160), np.int16), np.empty((BATCH, 160), np.uint8)
    up, down = Upsampler8to16(BATCH), Downsampler16to8(BATCH)
    wide = generator.uniform(-0.5, 0.5, (BATCH, 320)).astype(np.float32)
    chunks = generator.normal(size=(BATCH, 512)).astype(np.float32) * np.float32(0.1)
    network, detector, arrivals = SileroBatch(BATCH), SpeechDetector(BATCH), np.zeros(BATCH)
    narrow_chunks, narrow = np.ascontiguousarray(chunks[:, ::2]), np.ascontiguousarray(wide[:, ::2])
    narrow_network, narrow_detector = SileroBatch(BATCH, 8000), SpeechDetector(BATCH, 8000)

    yield "G.711 decode", "frame", batched(lambda: g711.decode(payload, law, out=pcm))
    yield "G.711 encode", "frame", batched(lambda: g711.encode(pcm, law, out=coded))
    yield "8 to 16 kHz", "frame", batched(lambda: up.process_pcm(pcm, slots))
    yield "16 to 8 kHz", "frame", batched(lambda: down.process(wide, slots))
    yield "energy_voiced", "frame", batched(lambda: energy_voiced(pcm))
    yield "SileroBatch.infer, 8 kHz", "chunk", batched(lambda: narrow_network.infer(narrow_chunks, slots))
    yield "SileroBatch.infer, 16 kHz", "chunk", batched(lambda: network.infer(chunks, slots))
    yield "SpeechDetector.push, 8 kHz (all of it)", "frame", batched(lambda: narrow_detector.push(narrow, slots, arrivals), repeat=160)
    yield "SpeechDetector.push, 16 kHz", "frame", batched(lambda: detector.push(wide, slots, arrivals), repeat=160)


def listening_steps() -> Iterator[Step]:
    """Features that only some calls use: tones, enhancement, background sound. A frame is 20 ms."""
    generator = np.random.default_rng(1)
    slots = np.arange(BATCH)
    pcm = generator.normal(0, 3000, (BATCH, 160)).astype(np.int16)
    sound = generator.normal(0, 0.05, (BATCH, 160)).astype(np.float32)
    digits, tones, noise, gain = InbandDigits(BATCH), ToneDetector(BATCH), NoiseSuppressor(BATCH), GainControl(BATCH)
    for slot in slots.tolist():
        gain.reset(slot)
    ambience = Ambience(BATCH)
    with tempfile.NamedTemporaryFile() as file:
        file.write(pcm.tobytes())
        file.flush()
        for slot in slots.tolist():
            ambience.begin(slot, file.name, 0)
        while not ambience.is_ready:
            ambience.mix(pcm[:0], slots[:0])
    yield "InbandDigits.push", "frame", batched(lambda: digits.push(pcm, slots))
    yield "ToneDetector.push", "frame", batched(lambda: tones.push(pcm, slots))
    yield "NoiseSuppressor.process", "frame", batched(lambda: noise.process(sound, slots))
    yield "GainControl.process", "frame", batched(lambda: gain.process(sound, slots))
    yield "Ambience.mix", "frame", batched(lambda: ambience.mix(pcm, slots))


def main() -> None:
    single = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    if not single.items() <= os.environ.items():  # BLAS reads them when NumPy is loaded, so restart
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | single)
    print(f"{'step':46}{'us':>8}  per")
    for steps in (packet_steps, intake_steps, jitter_steps, codec_steps, sound_steps, listening_steps):
        for name, unit, measure in steps():
            print(f"{name:46}{measure():8.2f}  {unit}")


if __name__ == "__main__":
    main()
