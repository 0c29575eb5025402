"""An MCP server behind a URL, written by hand, with sessions (2025-06-18), whose tools misbehave: each is named after what it does."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOOLS = ["ok", "garbage", "never", "huge", "status", "cut", "bomb"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyWebServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send(405, b"")

    def do_DELETE(self) -> None:
        self._send(200, b"")

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method, request_id = message.get("method"), message.get("id")
        if method == "initialize":
            session = uuid.uuid4().hex
            self.server.sessions.add(session)
            info = {"name": "faulty", "version": "1"}
            result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
            self._answer(request_id, result, session=session)
        elif method == "server/discover":
            self._error(request_id)
        elif self.headers.get("Mcp-Session-Id") not in self.server.sessions:
            self._send(404, b"")
        elif request_id is None:
            self._send(202, b"")
        elif method == "tools/list":
            self._answer(request_id, {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]})
        elif method == "tools/call":
            self._call(message["params"]["name"], request_id)
        else:
            self._error(request_id)

    def _call(self, name: str, request_id: object) -> None:
        self.server.n_called += 1
        match name:
            case "garbage":
                self._send(200, b"<html>\xff oops")
            case "never":
                self.server.stopped.wait(60)
            case "huge":
                self._answer(request_id, {"content": [{"type": "text", "text": "x" * 50_000_000}]})
            case "status":
                self._send(503, b"busy")
            case "cut":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
                self.close_connection = True
            case "bomb":
                self._send(200, b"\x1f\x8b", coding="gzip")
            case _:
                self._answer(request_id, {"content": [{"type": "text", "text": "fine"}]})

    def _answer(self, request_id: object, result: object, *, session: str = "") -> None:
        self._send(200, json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result}).encode(), session=session)

    def _error(self, request_id: object) -> None:
        self._send(200, json.dumps({"jsonrpc": "2.0", "id": request_id, "error": {"code": -32601, "message": "no such method"}}).encode())

    def _send(self, status: int, body: bytes, *, session: str = "", coding: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if session:
            self.send_header("Mcp-Session-Id", session)
        if coding:
            self.send_header("Content-Encoding", coding)
        self.end_headers()
        self.wfile.write(body)


class FaultyWebServer(ThreadingHTTPServer):
    """`sessions` may be cleared: so does a server that is started again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.sessions: set[str] = set()
        self.stopped = threading.Event()
        self.n_called = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/mcp"

    def handle_error(self, *_: Any) -> None:
        pass


@contextmanager
def faulty_web_server() -> Iterator[FaultyWebServer]:
    with FaultyWebServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.stopped.set()
            server.shutdown()
            thread.join()
            time.sleep(0)
