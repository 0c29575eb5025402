"""When Pipecat takes a turn: its SileroVADAnalyzer and its LocalSmartTurnAnalyzerV3 with their defaults, over recorded lines.

Reads `{"lines": [FILE.npy, …]}` (int16 samples at 8 kHz, from the beginning of the line), and says `{"decided": [seconds or null, …]}`:
when the end of the turn was first detected. The steps are those of its TurnAnalyzerUserTurnStopStrategy without a transcript to wait for:
when the voice detector reports silence (0.2 s of it) the model is asked; a turn that it judges incomplete ends after 3 s of silence. Time
is that of the sound: the model's own time is not counted.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from types import SimpleNamespace

import numpy as np
from loguru import logger
from pipecat.audio.turn.base_turn_analyzer import EndOfTurnState
from pipecat.audio.turn.smart_turn import base_smart_turn
from pipecat.audio.turn.smart_turn.local_smart_turn_v3 import LocalSmartTurnAnalyzerV3
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADState

RATE_HZ = 8000
FRAME = 160


async def decide(samples: np.ndarray, clock: SimpleNamespace) -> float | None:
    """When the turn ends first, in seconds of the line; None: never."""
    vad, analyzer = SileroVADAnalyzer(sample_rate=RATE_HZ), LocalSmartTurnAnalyzerV3(sample_rate=RATE_HZ)
    vad.set_sample_rate(RATE_HZ)
    analyzer.set_sample_rate(RATE_HZ)
    analyzer.update_vad_start_secs(vad.params.start_secs)
    is_speaking = False
    try:
        for first in range(0, len(samples) - FRAME, FRAME):
            clock.now = (first + FRAME) / RATE_HZ
            frame = samples[first : first + FRAME].tobytes()
            state = await vad.analyze_audio(frame)
            stops = is_speaking and state is VADState.QUIET
            is_speaking = state is VADState.SPEAKING or (is_speaking and state is VADState.STOPPING)
            if analyzer.append_audio(frame, is_speaking) is EndOfTurnState.COMPLETE:
                return float(clock.now)
            if stops and (await analyzer.analyze_end_of_turn())[0] is EndOfTurnState.COMPLETE:
                return float(clock.now)
    finally:
        await vad.cleanup()
        await analyzer.cleanup()
    return None


async def main() -> None:
    logger.remove()
    clock = SimpleNamespace(now=0.0)
    base_smart_turn.time = SimpleNamespace(monotonic=lambda: clock.now, perf_counter=time.perf_counter)
    lines = json.loads(sys.stdin.readline())["lines"]
    print(json.dumps({"decided": [await decide(np.load(line), clock) for line in lines]}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
