"""The shared parts of DashScope's two servers on loopback: the handshake, and the events of a task.

Source: https://www.alibabacloud.com/help/en/model-studio/paraformer-server-events and …/cosyvoice-server-events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from active_call.testing.vendors.wire.server import Refused, Request, VendorServer
from active_call.testing.vendors.wire.socket import VendorSocket


class TaskServer(VendorServer):
    """`/api-ws/v1/inference`: tasks on one connection."""

    def check_handshake(self, request: Request) -> None:
        if request.path.rstrip("/") != "/api-ws/v1/inference":
            super().check_handshake(request)
        if self.faults.wrong_key or request.headers.get("authorization", "").lower() != f"bearer {self.key}":
            raise Refused(401, {"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "r"})

    async def tell(self, socket: VendorSocket, task: str, event: str, payload: Mapping[str, Any]) -> None:
        """Send an event of the task."""
        await socket.send_json({"header": {"task_id": task, "event": event, "attributes": {}}, "payload": payload})

    async def fail(self, socket: VendorSocket, task: str, code: str, reason: str) -> None:
        """Send `task-failed`, which ends the connection."""
        header = {"task_id": task, "event": "task-failed", "error_code": code, "error_message": reason, "attributes": {}}
        await socket.send_json({"header": header, "payload": {}})
        await socket.close(1007, code)
