"""DashScope's realtime recognition on loopback: tasks on one connection.

Source: https://www.alibabacloud.com/help/en/model-studio/paraformer-client-events and …/paraformer-server-events. Like the vendor, the
simulator refuses: a wrong key (401), an account in arrears (`task-failed`), sound before `task-started`, an unknown action or model, an
unknown task id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from active_call.testing.vendors.wire.dashscope_tasks import TaskServer
from active_call.testing.vendors.wire.hearing import Hearing
from active_call.testing.vendors.wire.server import Request
from active_call.testing.vendors.wire.socket import VendorSocket, order_in

MODELS: Final = frozenset({"paraformer-realtime-v2", "paraformer-realtime-8k-v2", "fun-asr-realtime"})
SILENCE_S: Final = 0.8


class DashScopeServer(TaskServer):
    """`/api-ws/v1/inference`."""

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        hearing: Hearing | None = None
        task, n_words = "", 0
        while True:
            message = await socket.receive()
            if isinstance(message, bytes):
                if hearing is None:
                    self.complain("sound before task-started")
                    await self.fail(socket, task, "CLIENT_ERROR", "no task is running")
                    return
                if hearing.feed(message):
                    await self._report(socket, task, hearing, is_end=False)
                if hearing.words and hearing.silence_s >= SILENCE_S:
                    await self._report(socket, task, hearing, is_end=True)
                    n_words += len(hearing.take())
                continue
            order = order_in(message)
            header, payload = order.get("header", {}), order.get("payload", {})
            match header.get("action"):
                case "run-task" if hearing is None and self._is_known(header, payload):
                    task = header["task_id"]
                    if self.faults.quota:
                        await self.fail(socket, task, "Arrearage", "Access denied, please make sure your account is in good standing.")
                        return
                    hearing = Hearing(payload["parameters"]["sample_rate"], n_words=n_words)
                    await self.tell(socket, task, "task-started", {})
                case "finish-task" if hearing is not None and header.get("task_id") == task:
                    if words := hearing.take():
                        hearing.words = list(words)
                        await self._report(socket, task, hearing, is_end=True)
                        n_words += len(words)
                    hearing = None
                    await self.tell(socket, task, "task-finished", {"output": {}, "usage": None})
                case _:
                    self.complain(f"not an action that is possible now: {message[:200]}")
                    await self.fail(socket, task, "InvalidParameter", "not an action that is possible now")
                    return

    def _is_known(self, header: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
        parameters = payload.get("parameters", {})
        return (
            bool(header.get("task_id"))
            and header.get("streaming") == "duplex"
            and (payload.get("task_group"), payload.get("task"), payload.get("function")) == ("audio", "asr", "recognition")
            and payload.get("model") in MODELS
            and payload.get("input") == {}
            and parameters.get("format") == "pcm"
            and isinstance(parameters.get("sample_rate"), int)
        )

    async def _report(self, socket: VendorSocket, task: str, hearing: Hearing, *, is_end: bool) -> None:
        words = hearing.words
        sentence = {
            "begin_time": round(words[0].start_s * 1000),
            "end_time": round(words[-1].end_s * 1000) if is_end else None,
            "text": hearing.text,
            "heartbeat": False,
            "sentence_end": is_end,
            "words": [
                {
                    "begin_time": round(word.start_s * 1000),
                    "end_time": round(word.end_s * 1000),
                    "text": word.text,
                    "punctuation": "",
                }
                for word in words
            ],
        }
        await self.tell(socket, task, "result-generated", {"output": {"sentence": sentence}, "usage": None})
