"""When LiveKit Agents takes a turn: its VAD, its turn detector v1-mini and its endpointing delays with their defaults, over recorded lines.

Reads `{"lines": [FILE.npy, …]}` (int16 samples at 8 kHz, from the beginning of the line), and says `{"decided": [seconds or null, …]}`:
when the end of the turn was first committed. Both models come in the wheel `livekit-local-inference`, which livekit-agents needs; their
licence allows their use with LiveKit Agents only. The steps are those of its AudioRecognition without a transcript to wait for: from 0.2 s
of silence on the model is asked; when the voice detector reports the end of speech (0.25 s of silence), the turn is committed 0.3 s after
the last speech if the model finds it likely, else 2.5 s after it, unless the caller speaks before. Time is that of the sound: the model's
own time is not counted.
"""

from __future__ import annotations

import asyncio
import json
import sys

import numpy as np
from livekit import rtc
from livekit.agents import vad
from livekit.agents.inference import VAD, TurnDetector
from livekit.agents.inference.eot.base import MIN_SILENCE_DURATION_MS
from livekit.agents.voice.turn import _STREAMING_ENDPOINTING_DEFAULTS

RATE_HZ = 8000
FRAME = 160
MIN_S, MAX_S = _STREAMING_ENDPOINTING_DEFAULTS["min_delay"], _STREAMING_ENDPOINTING_DEFAULTS["max_delay"]


async def decide(samples: np.ndarray, detector: TurnDetector) -> float | None:
    """When the turn is committed first, in seconds of the line; None: never."""
    voice = await voice_events(samples)
    stream = detector.stream()
    threshold = await stream.unlikely_threshold(None)
    pushed = 0
    is_speaking, probability, due = False, None, None
    try:
        for event in voice:
            now = event.timestamp
            if due is not None and now >= due:
                return due
            if event.type is vad.VADEventType.START_OF_SPEECH:
                is_speaking, probability, due = True, None, None
            elif event.type is vad.VADEventType.INFERENCE_DONE:
                if event.raw_accumulated_speech > 0:
                    probability = None
                elif is_speaking and probability is None and event.raw_accumulated_silence >= MIN_SILENCE_DURATION_MS / 1000:
                    pushed = push(stream, samples, pushed, int(now * RATE_HZ))
                    await asyncio.sleep(0.002)  # its task takes the sound in
                    probability = (await stream.predict()).end_of_turn_probability
            elif event.type is vad.VADEventType.END_OF_SPEECH:
                is_speaking = False
                delay = MAX_S if probability is not None and threshold is not None and probability < threshold else MIN_S
                due = max(now, now - event.silence_duration + delay)
    finally:
        await stream.aclose()
    return due


async def voice_events(samples: np.ndarray) -> list[vad.VADEvent]:
    """What its voice detector reports."""
    stream = VAD().stream()
    for first in range(0, len(samples) - FRAME, FRAME):
        stream.push_frame(frame_of(samples[first : first + FRAME]))
    stream.end_input()
    return [event async for event in stream]


def push(stream: object, samples: np.ndarray, first: int, until: int) -> int:
    """Give the turn detector the sound up to `until`."""
    while first + FRAME <= until:
        stream.push_audio(frame_of(samples[first : first + FRAME]))
        first += FRAME
    return first


def frame_of(samples: np.ndarray) -> rtc.AudioFrame:
    return rtc.AudioFrame(samples.astype(np.int16).tobytes(), RATE_HZ, 1, len(samples))


async def main() -> None:
    detector = TurnDetector(version="v1-mini")
    lines = json.loads(sys.stdin.readline())["lines"]
    print(json.dumps({"decided": [await decide(np.load(line), detector) for line in lines]}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
