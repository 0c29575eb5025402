"""The common way by hand: per call a DatagramProtocol and a sending task under uvloop, libsrtp, audioop, soxr, one ONNX session.

Reads `{"peers", "keys", "speech"}`, says its ports, starts on the next line and reports its figures on the one after.
"""

from __future__ import annotations

import asyncio
import audioop  # in Python 3.13 from audioop-lts
import struct
import sys
from typing import Any

import numpy as np
import pylibsrtp
import soxr
import uvloop
from common import Silero, leave, listen, own_figures, say, silero_path, speech_frames

FRAME_S = 0.02


def session(key: str, kind: int) -> pylibsrtp.Session:
    profile = pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80
    return pylibsrtp.Session(pylibsrtp.Policy(key=bytes.fromhex(key), ssrc_type=kind, srtp_profile=profile))


class Call(asyncio.DatagramProtocol):
    """One call."""

    def __init__(self, index: int, peer: int, keys: tuple[str, str], frames: np.ndarray, model: str) -> None:
        self._peer = ("127.0.0.1", peer)
        self._ssrc = index + 1
        self._out = session(keys[0], pylibsrtp.Policy.SSRC_ANY_OUTBOUND)
        self._in = session(keys[1], pylibsrtp.Policy.SSRC_ANY_INBOUND)
        self._frames = [frame.tobytes() for frame in frames]
        self._next = index * 50
        self._resampler = soxr.ResampleStream(8000, 16000, 1, dtype="int16")
        self.silero = Silero(model)
        self.n_sent = self.n_received = 0
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, _: Any) -> None:
        packet = self._in.unprotect(data)
        _, kind, _, _, _ = struct.unpack_from("!BBHII", packet)
        if kind & 0x7F:
            return
        self.n_received += 1
        pcm = audioop.ulaw2lin(packet[12:], 2)
        self.silero.push(self._resampler.resample_chunk(np.frombuffer(pcm, np.int16)))

    async def send(self, n_calls: int) -> None:
        """Calls do not begin together, so they are spread over the 20 ms."""
        loop = asyncio.get_running_loop()
        due = loop.time() + FRAME_S * self._ssrc / n_calls
        while True:
            due += FRAME_S
            await asyncio.sleep(due - loop.time())
            payload = audioop.lin2ulaw(self._frames[(self._next + self.n_sent) % len(self._frames)], 2)
            header = struct.pack("!BBHII", 0x80, 0, self.n_sent & 0xFFFF, self.n_sent * 160 & 0xFFFFFFFF, self._ssrc)
            self.transport.sendto(self._out.protect(header + payload), self._peer)
            self.n_sent += 1


async def main() -> None:
    loop = asyncio.get_running_loop()
    task = listen()
    frames, model = speech_frames(task["speech"]), str(silero_path())
    calls = []
    for index, (peer, keys) in enumerate(zip(task["peers"], task["keys"], strict=True)):
        call = Call(index, peer, keys, frames, model)
        await loop.create_datagram_endpoint(lambda call=call: call, local_addr=("127.0.0.1", 0))
        calls.append(call)
    say({"ports": [call.transport.get_extra_info("sockname")[1] for call in calls]})
    await loop.run_in_executor(None, sys.stdin.readline)
    senders = [asyncio.create_task(call.send(len(calls))) for call in calls]
    await loop.run_in_executor(None, sys.stdin.readline)
    for sender in senders:
        sender.cancel()
    await asyncio.sleep(0.05)  # the callers still receive sent packets
    sums = {"sent": sum(call.n_sent for call in calls), "received": sum(call.n_received for call in calls)}
    say(sums | {"speech": sum(call.silero.n_speech for call in calls)} | own_figures())
    leave()


uvloop.run(main())
