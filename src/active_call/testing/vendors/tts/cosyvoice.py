"""DashScope's CosyVoice on loopback: tasks on one connection.

Source: https://www.alibabacloud.com/help/en/model-studio/cosyvoice-websocket-api and …/cosyvoice-server-events. Like the vendor, the
simulator speaks each sentence once it is complete and the rest at the end of the task, and refuses: a wrong key (401), an account in
arrears (`task-failed`), text before `task-started`, a voice of another generation than the model, an unknown action, an unknown or reused
task id, a task without text for 23 s.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

from active_call.testing.vendors.wire.dashscope_tasks import TaskServer
from active_call.testing.vendors.wire.server import Request
from active_call.testing.vendors.wire.socket import VendorSocket, order_in
from active_call.testing.vendors.wire.speaking import MS_PER_CHAR, pieces_of, words_of

MODELS: Final = frozenset({"cosyvoice-v3-flash", "cosyvoice-v3-plus", "cosyvoice-v2", "cosyvoice-v1"})
RATES: Final = frozenset({8_000, 16_000, 22_050, 24_000, 44_100, 48_000})
IDLE_S: Final = 23.0
_SENTENCE: Final = re.compile(r"(?<=[.!?。！？])\s*(?=.|$)", re.DOTALL)
"""What separates two sentences."""


class CosyVoiceServer(TaskServer):
    """`/api-ws/v1/inference`. `spoken` holds each synthesised sentence, in order; `n_tasks` counts the tasks.

    `times_are_of_sentences`: word times are relative to the start of the sentence.
    """

    def __init__(self, *, times_are_of_sentences: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.times_are_of_sentences = times_are_of_sentences
        self.spoken: list[str] = []
        self.n_tasks = 0

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        task, said, rate_hz, used, n_chars, n_sentences = "", "", 16_000, set[str](), 0, 0
        while True:
            try:
                message = await socket.receive(IDLE_S if task else 60)
            except TimeoutError:
                self.complain("a task without text for 23 s")
                await self.fail(socket, task, "InvalidParameter", "request timeout after 23 seconds.")
                return
            order = order_in(message)
            header, payload = order.get("header", {}), order.get("payload", {})
            match header.get("action"):
                case "run-task" if not task and header.get("task_id") not in used and self._is_known(header, payload):
                    task, said, rate_hz = header["task_id"], "", payload["parameters"]["sample_rate"]
                    n_chars, n_sentences, self.n_tasks = 0, 0, self.n_tasks + 1
                    used.add(task)
                    if self.faults.quota:
                        await self.fail(socket, task, "Arrearage", "Access denied, please make sure your account is in good standing.")
                        return
                    await self.tell(socket, task, "task-started", {})
                case "continue-task" if task and header.get("task_id") == task and payload.get("input", {}).get("text"):
                    *complete, said = _SENTENCE.split(said + payload["input"]["text"])
                    for sentence in filter(str.strip, complete):
                        await self._say(socket, task, sentence, rate_hz, n_sentences, n_chars)
                        n_chars, n_sentences = n_chars + len(sentence), n_sentences + 1
                case "finish-task" if task and header.get("task_id") == task and payload.get("input") == {}:
                    if said.strip():
                        await self._say(socket, task, said, rate_hz, n_sentences, n_chars)
                    await self.tell(socket, task, "task-finished", {"output": {}, "usage": {"characters": n_chars + len(said)}})
                    task = ""
                case _:
                    self.complain(f"not an action that is possible now: {str(message)[:200]}")
                    await self.fail(socket, task, "InvalidParameter", "not an action that is possible now")
                    return

    def _is_known(self, header: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
        parameters = payload.get("parameters", {})
        model, voice = payload.get("model"), str(parameters.get("voice", ""))
        return (
            bool(header.get("task_id"))
            and header.get("streaming") == "duplex"
            and (payload.get("task_group"), payload.get("task"), payload.get("function")) == ("audio", "tts", "SpeechSynthesizer")
            and model in MODELS
            and payload.get("input") == {}
            and parameters.get("text_type") == "PlainText"
            and bool(voice)
            and not (voice.endswith("_v2") and model != "cosyvoice-v2")
            and parameters.get("format") == "pcm"
            and parameters.get("sample_rate") in RATES
            and 0.5 <= parameters.get("rate", 1.0) <= 2.0
            and 0 <= parameters.get("volume", 50) <= 100
        )

    async def _say(self, socket: VendorSocket, task: str, said: str, rate_hz: int, index: int, n_before: int) -> None:
        self.spoken.append(said)
        output: dict[str, Any] = {"sentence": {"index": index, "words": []}, "type": "sentence-begin", "original_text": said}
        await self.tell(socket, task, "result-generated", {"output": output})
        for piece in pieces_of(said, rate_hz):
            await self.tell(socket, task, "result-generated", {"output": {**output, "type": "sentence-synthesis"}})
            await socket.send(piece)
            await asyncio.sleep(0)
        from_ms = 0 if self.times_are_of_sentences else n_before * MS_PER_CHAR
        words = [
            {"text": word, "begin_index": place, "begin_time": from_ms + round(begin * 1000), "end_time": from_ms + round(end * 1000)}
            for place, (word, begin, end) in enumerate(words_of(said))
        ]
        await self.tell(
            socket, task, "result-generated", {"output": {"sentence": {"index": index, "words": words}, "type": "sentence-end"}}
        )
