"""A call as Pipecat's pipeline for Twilio: FastAPI WebSocket, TwilioFrameSerializer with its resampler, SileroVADAnalyzer, paced output.

The parts of a bot (recognition, model, synthesis, context) are left out: a processor counts the sound for the recogniser, and speech is
queued a second at a time, as a synthesiser would do. Reads `{"speech", "port"}`, says `{"ready"}`, and reports its figures on the next
line.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvicorn
import uvloop
from common import FRAME_SAMPLES, PIECE_S, RATE_HZ, leave, listen, own_figures, say, speech_frames
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import Frame, InputAudioRawFrame, TTSAudioRawFrame, VADUserStartedSpeakingFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

PIECES_AHEAD = 3
HEARD_RATE_HZ = 16_000
counts = {"heard_samples": 0, "speech": 0}


class Listener(FrameProcessor):
    """In place of the recogniser."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            counts["heard_samples"] += len(frame.audio) // 2
            return
        if isinstance(frame, VADUserStartedSpeakingFrame) and direction == FrameDirection.DOWNSTREAM:
            counts["speech"] += 1
        await self.push_frame(frame, direction)


async def speak(worker: PipelineWorker, pieces: list[bytes], first: int) -> None:
    """Queue a second of speech every second."""
    due, number = asyncio.get_running_loop().time(), 0
    while True:
        while number < PIECES_AHEAD or asyncio.get_running_loop().time() >= due + (number - PIECES_AHEAD) * PIECE_S:
            frame = TTSAudioRawFrame(pieces[(first + number) % len(pieces)], sample_rate=RATE_HZ, num_channels=1)
            await worker.queue_frame(frame)
            number += 1
        await asyncio.sleep(0.05)


def build(pieces: list[bytes]) -> FastAPI:
    app = FastAPI()

    @app.websocket("/ws")
    async def call(websocket: WebSocket) -> None:
        await websocket.accept()
        messages = websocket.iter_text()
        await messages.__anext__()
        start = json.loads(await messages.__anext__())
        serializer = TwilioFrameSerializer(start["start"]["streamSid"], params=TwilioFrameSerializer.InputParams(auto_hang_up=False))
        params = FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=serializer)
        transport = FastAPIWebsocketTransport(websocket, params)
        pipeline = Pipeline([transport.input(), VADProcessor(vad_analyzer=SileroVADAnalyzer()), Listener(), transport.output()])
        rates = PipelineParams(audio_in_sample_rate=HEARD_RATE_HZ, audio_out_sample_rate=RATE_HZ)
        worker = PipelineWorker(pipeline, params=rates)
        speaking = asyncio.create_task(speak(worker, pieces, int(start["start"]["callSid"])))

        @transport.event_handler("on_client_disconnected")
        async def on_client_disconnected(*_: object) -> None:
            await worker.cancel()

        try:
            runner = WorkerRunner(handle_sigint=False)
            await runner.add_workers(worker)
            await runner.run()
        finally:
            speaking.cancel()

    return app


async def main() -> None:
    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    task = listen()
    samples = speech_frames(task["speech"]).ravel()
    size = RATE_HZ * PIECE_S
    pieces = [samples[at : at + size].tobytes() for at in range(0, len(samples) - size, size)]
    server = uvicorn.Server(uvicorn.Config(build(pieces), host="127.0.0.1", port=task["port"], log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not (server.started or serving.done()):
        await asyncio.sleep(0.05)
    say({"ready": True})
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.readline)
    heard = counts["heard_samples"] * RATE_HZ // HEARD_RATE_HZ // FRAME_SAMPLES
    say({"received": heard, "speech": counts["speech"]} | own_figures())
    await loop.run_in_executor(None, sys.stdin.readline)
    leave()


uvloop.run(main())
