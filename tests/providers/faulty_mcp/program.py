"""An MCP server over stdio, written by hand, whose tools misbehave: each tool is named after what it does when it is called."""

import json
import os
import signal
import sys
import time

TOOLS = ["ok", "garbage", "never", "flood", "huge", "killed", "stop", "leave", "close_output", "tell_key"]


def send(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def answer(request_id: object, result: object) -> None:
    send({"jsonrpc": "2.0", "id": request_id, "result": result})


def result_of(text: str) -> dict[str, object]:
    return {"content": [{"type": "text", "text": text}], "isError": False}


def call(name: str, request_id: object) -> None:
    match name:
        case "garbage":
            sys.stdout.buffer.write(b"Traceback: \xff\xfe\n[1, 2\nnull\n{}\n\n")
            sys.stdout.flush()
            answer(request_id, result_of("after garbage"))
        case "never":
            pass
        case "flood":
            for n in range(20_000):
                sys.stderr.write(f"warning {n}: " + "x" * 200 + "\n")
            sys.stderr.flush()
            answer(request_id, result_of("flooded"))
        case "huge":
            answer(request_id, result_of("x" * 100_000_000))
        case "killed":
            sys.stderr.write("out of memory\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "leave":
            sys.exit(3)
        case "tell_key":
            sys.stderr.write(f"my key is {os.environ['SHOP_KEY']}\n")
            sys.stderr.flush()
            answer(request_id, result_of("told"))
        case "close_output":
            os.close(1)
            time.sleep(60)
        case _:
            answer(request_id, result_of("fine"))


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        request_id = message.get("id")
        match message.get("method"):
            case "initialize":
                info = {"name": "faulty", "version": "1"}
                answer(request_id, {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info})
            case "tools/list":
                answer(request_id, {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]})
            case "tools/call":
                call(message["params"]["name"], request_id)
            case _ if request_id is not None:
                send({"jsonrpc": "2.0", "id": request_id, "error": {"code": -32601, "message": "no such method"}})


if __name__ == "__main__":
    main()
