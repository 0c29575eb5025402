"""The same calls in active-call: a control process with the browsers' transports, and one media process. Only the legs.

Reads `{"offers", "speech"}`, says `{"answers", "media"}` (the media process's id); on every line, reports what was received since the
previous line.
"""

from __future__ import annotations

import asyncio

import aioice.ice
import numpy as np
import uvloop
from common import listen, say, speech_frames

from active_call.base.world import SystemClock, SystemRandomness
from active_call.contract.options import CallOption
from active_call.legs.events import LegAnswered, LegEnded, LegEvent, LegMedia, LegReady
from active_call.legs.webrtc.leg import BrowserSettings, WebRtcLeg
from active_call.media.link.messages import CallerAudio
from active_call.media.pool.pool import MediaPool

aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


class Call:
    """One call."""

    def __init__(self, pool: MediaPool, offer: str, index: int, speech: bytes) -> None:
        self.leg = WebRtcLeg(pool, BrowserSettings(), SystemRandomness(), offer, caller="", callee="", call_id=str(index), peer="")
        self._speech, self._index = speech, index
        self.n_frames, self.sdp = 0, ""
        self.leg.attach(self._take)

    def _take(self, event: LegEvent) -> None:
        match event:
            case LegAnswered(sdp):
                self.sdp = sdp
            case LegReady():
                stream = self.leg.stream
                assert stream is not None
                stream.listen(detect=False, forward_audio=True)
                stream.queue_audio("speech", self._speech, end=True)
            case LegMedia(CallerAudio(pcm=pcm)):
                self.n_frames += len(pcm) // 640
            case LegEnded(reason=reason):
                raise SystemExit(f"a call has ended: {reason}")


async def main() -> None:
    loop = asyncio.get_running_loop()
    task = listen()
    narrow = speech_frames(task["speech"]).reshape(-1)
    wide = np.repeat(narrow, 2)
    pool = MediaPool(n_workers=1, bind_ip="127.0.0.1", port_range=(34_000, 34_999), clock=SystemClock())
    await pool.start()
    calls = [Call(pool, offer, index, np.tile(wide, 4).astype("<i2").tobytes()) for index, offer in enumerate(task["offers"])]
    for call in calls:
        await call.leg.accept(CallOption())
    say({"answers": [call.sdp for call in calls], "media": pool.workers[0].pid})
    told = 0
    while True:
        await loop.run_in_executor(None, listen)
        heard = sum(call.n_frames for call in calls)
        say({"heard": heard - told})
        told = heard


uvloop.run(main())
