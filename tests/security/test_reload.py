"""SIGHUP reloads and hurts no call; a configuration that is broken is told, and the one before goes on."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "interop"))

from running_server import Server
from speechless_server import speechless_server
from test_log_reader_stops import PCMU, Caller, to_header

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

BOOK = "---\nllm: {provider: script}\ngreeting: Hello.\n---\n## *\nYes.\n"
TRUNK = '\n[[trunks]]\nname = "elsewhere"\nallow = ["192.0.2.0/24"]\n[admission]\nstrangers = "reject"\n'


def answer(server: Server, call_id: str) -> tuple[Caller, str]:
    caller = Caller(server.udp_port)
    caller.send("INVITE", call_id, "<sip:agent@127.0.0.1>", media=PCMU)
    return caller, caller.final(call_id, "INVITE", 5.0)


def reload(server: Server, words: str) -> None:
    n_before = server.log.count(words)
    server.process.send_signal(signal.SIGHUP)
    server.wait(lambda: server.log.count(words) > n_before, 15, words)


def test_hangup_signal_reloads_trunks_handlers_and_log_and_calls_go_on(tmp_path: Path) -> None:
    with speechless_server(tmp_path, {"main.md": BOOK, "other.md": BOOK.replace("Hello", "Other")}) as server:
        file = tmp_path / "active-call.toml"
        first = file.read_text()
        running, answered = answer(server, "running")
        assert answered.startswith("SIP/2.0 200")
        running.send("ACK", "running", to_header(answered))
        media = server.media_pids()

        file.write_text(first + TRUNK)
        reload(server, "configuration reloaded")
        refused, text = answer(server, "stranger")
        assert text.startswith("SIP/2.0 403"), text
        assert "elsewhere" in server.health()["trunks"]

        file.write_text(first.replace("main.md", "absent.md"))
        reload(server, "configuration not reloaded")
        assert "absent.md" in server.log
        still, text = answer(server, "still-refused")
        assert text.startswith("SIP/2.0 403"), text

        file.write_text("log_file = 'moved.log'\n" + first.replace('"main.md"', '"other.md"'))
        moved = tmp_path / "moved.log"
        server.process.send_signal(signal.SIGHUP)
        server.wait(lambda: moved.exists() and "configuration reloaded" in moved.read_text(), 15, "the log")
        other, text = answer(server, "other")
        assert text.startswith("SIP/2.0 200"), text
        other.send("ACK", "other", to_header(text))
        assert any(call["playbook"].endswith("other.md") for call in server.get("/list")["active_calls"])

        (tmp_path / "playbooks" / "other.md").write_text("---\nllm: [\n---\n")
        broken, text = answer(server, "broken-playbook")
        assert text.startswith("SIP/2.0 200"), "the previous version stays in use"
        server.wait(lambda: "the previous version stays in use" in moved.read_text(), 15, "the log, which a thread writes")

        assert server.media_pids() == media
        running.send("BYE", "running", to_header(answered), cseq=2)
        assert running.final("running", "BYE", 5.0).startswith("SIP/2.0 200")
        for caller in (running, refused, still, other, broken):
            caller.socket.close()
        assert server.process.poll() is None


def test_config_file_that_is_gone_opens_nothing(tmp_path: Path) -> None:
    """The defaults let everybody in: a file that is being replaced must not look like one that says nothing."""
    with speechless_server(tmp_path, BOOK) as server:
        file = tmp_path / "active-call.toml"
        file.write_text(file.read_text() + TRUNK)
        reload(server, "configuration reloaded")
        file.rename(tmp_path / "elsewhere.toml")
        reload(server, "configuration not reloaded")
        assert "there is no such file" in server.log
        caller, text = answer(server, "stranger")
        assert text.startswith("SIP/2.0 403"), text
        caller.socket.close()


def test_hangup_signal_while_it_starts_does_not_end_it(tmp_path: Path) -> None:
    with speechless_server(tmp_path, BOOK) as server:
        for _ in range(20):
            server.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert server.health()["status"] == "ok"
        for pid in server.media_pids():
            os.kill(pid, signal.SIGHUP)
        time.sleep(0.5)
        assert server.health()["status"] == "ok"
        assert all(worker["restarts"] == 0 for worker in server.health()["media"])
