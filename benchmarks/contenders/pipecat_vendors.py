"""Pipecat's bot for Twilio with Deepgram, OpenAI and Cartesia, its own services of each, pointed at the simulators.

Reads `{"port", "deepgram", "openai", "cartesia", "key"}`, says `{"ready"}` and serves `/ws` until it is stopped. Turns end by Pipecat's
silence strategy with its default settings, which is cheaper than its default strategy, a network that detects the end of a turn. One
process, uvloop, and otherwise its own defaults. `PIPECAT_LOG=DEBUG` writes what it does into its log. Imports nothing of active-call.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import uvicorn
import uvloop
from common import listen, say
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair, LLMUserAggregatorParams
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.services.cartesia.tts import CartesiaTTSService
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.turns.user_stop.speech_timeout_user_turn_stop_strategy import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

RATE_HZ = 8_000


def build(task: dict[str, Any]) -> FastAPI:
    app = FastAPI()
    key = task["key"]

    @app.websocket("/ws")
    async def call(websocket: WebSocket) -> None:
        await websocket.accept()
        messages = websocket.iter_text()
        await messages.__anext__()
        start = json.loads(await messages.__anext__())
        serializer = TwilioFrameSerializer(start["start"]["streamSid"], params=TwilioFrameSerializer.InputParams(auto_hang_up=False))
        params = FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True, serializer=serializer)
        transport = FastAPIWebsocketTransport(websocket, params)
        context = LLMContext([{"role": "system", "content": "You answer the telephone."}])
        turns = UserTurnStrategies(stop=[SpeechTimeoutUserTurnStopStrategy()])
        pair = LLMContextAggregatorPair(
            context, user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer(), user_turn_strategies=turns)
        )
        pipeline = Pipeline(
            [
                transport.input(),
                DeepgramSTTService(api_key=key, base_url=f"ws://127.0.0.1:{task['deepgram']}"),
                pair.user(),
                OpenAILLMService(
                    api_key=key,
                    base_url=f"http://127.0.0.1:{task['openai']}/v1",
                    settings=OpenAILLMService.Settings(model="gpt-4o-mini"),
                ),
                CartesiaTTSService(
                    api_key=key,
                    url=f"ws://127.0.0.1:{task['cartesia']}/tts/websocket",
                    settings=CartesiaTTSService.Settings(voice="f786b574-daa5-4673-aa0c-cbe3e8534c02"),
                ),
                transport.output(),
                pair.assistant(),
            ]
        )
        worker = PipelineWorker(pipeline, params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ))

        @transport.event_handler("on_client_disconnected")
        async def on_client_disconnected(*_: object) -> None:
            await worker.cancel()

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        await runner.run()

    return app


async def main() -> None:
    logger.remove()
    logger.add(sys.stderr, level=os.environ.get("PIPECAT_LOG", "WARNING"))
    task = listen()
    server = uvicorn.Server(uvicorn.Config(build(task), host="127.0.0.1", port=task["port"], log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not (server.started or serving.done()):
        await asyncio.sleep(0.05)
    say({"ready": True})
    await serving


uvloop.run(main())
