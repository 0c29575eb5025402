"""What the console asks: records explained, playbooks viewed, live calls, settings with their origins, and the files of `/client.js`."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_app import PLAYBOOK, an_api

from active_call.agent.playbook.check import PlaybookResources
from active_call.api.console_data.explained import explain_record
from active_call.api.console_data.live_calls import live_calls_stream
from active_call.api.console_data.playbook_view import view_of
from active_call.legs.sip.registrations import Account, Registrations
from active_call.server.config.loading import load_config
from active_call.server.http.console_facts import HIDDEN, settings_of
from active_call.sip.events import RegistrationChanged

ANSWERED: dict[str, Any] = {
    "status": "answered",
    "direction": "inbound",
    "answerTime": "2026-01-01T00:00:00Z",
    "durationS": 61.0,
    "hangupReason": "hangup",
    "hangupBy": "caller",
    "playbook": "main.md",
    "turns": [{"speaker": "caller", "text": "hello"}],
    "media": {"packets_received": 3000, "packets_lost": 1, "jitter_ms": 2.0, "round_trip_ms": 20.0, "mos": 4.4},
}
ANSWERED_MS = int(datetime.fromisoformat(str(ANSWERED["answerTime"])).timestamp() * 1000)
QUALITY = [
    {"timestamp": ANSWERED_MS + 5_000, "received": 250, "mos": 4.4},
    {"timestamp": ANSWERED_MS + 10_000, "received": 100, "lost": 150, "mos": 2.0},
    {"timestamp": ANSWERED_MS + 15_000, "received": 0},
]
WAITS = [{"owner": "turn", "start": 0, "duration": 500}, {"owner": "model", "start": 500, "duration": 2500}]


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({}, "good", "The record shows no fault"),
        ({}, "note", "after 61 s ended by caller"),
        ({"hangupReason": "rtp_timeout", "hangupBy": "system"}, "problem", "no more sound came from the other side"),
        ({"status": "rejected", "direction": "outbound", "sipCode": 486, "answerTime": None}, "problem", "the callee is busy"),
        (
            {"status": "failed", "sipCode": 488, "error": "no codec", "answerTime": None},
            "problem",
            "no codec or encryption in common): no codec",
        ),
        ({"status": "rejected", "hangupReason": "cancelled", "hangupBy": "caller"}, "note", "gave up before"),
        ({"status": "crashed", "error": "the server ended"}, "problem", "The server died"),
        ({"media": {"packets_received": 900, "packets_lost": 100}}, "problem", "10% of the sound"),
        ({"media": {"packets_received": 0}}, "problem", "Not one packet"),
        ({"media": {"packets_received": 0, "problems": [{"problem": "nothing_received", "detail": "NAT"}]}}, "problem", "answer: NAT"),
        ({"media": {"mos": 2.5, "jitter_ms": 80.0, "round_trip_ms": 900.0, "packets_received": 9}}, "problem", "MOS 2.5"),
        ({"quality": QUALITY}, "problem", "poor once: estimated MOS 2.0 of 4.5 at worst, 10 s after the answer"),
        ({"quality": QUALITY * 2, "answerTime": None}, "problem", "poor in 2 of 4 stretches: estimated MOS 2.0 of 4.5 at worst."),
        (
            {"turns": [{"speaker": "agent", "latencyMs": 3000.0, "waits": WAITS}]},
            "problem",
            "Most of it (2500 ms) was spent on the language model",
        ),
        ({"turns": [{"speaker": "agent", "text": "a", "interrupted": True}]}, "note", "interrupted the agent 1 time"),
        ({"turns": [], "events": [{"event": "speaking"}]}, "problem", "no words were recognised"),
        ({"turns": []}, "note", "The caller said nothing"),
        ({"events": [{"event": "asrFinal", "text": "", "isLost": True}]}, "problem", "overloaded"),
        ({"events": [{"event": "error", "sender": "tts", "error": "401"}] * 3}, "problem", "tts: 401 (3 times)"),
        ({"transfers": [{"target": "sip:desk", "state": "failed", "code": 486}]}, "problem", "sip:desk: failed (486: the callee is busy)"),
        ({"recordingError": "disk full"}, "problem", "disk full"),
    ],
)
def test_record_is_explained_in_plain_words(change: dict[str, Any], level: str, words: str) -> None:
    remarks = explain_record({**ANSWERED, **change})
    assert any(remark.level == level and words in remark.text for remark in remarks), remarks
    assert any(remark.level == "good" for remark in remarks) != any(remark.level == "problem" for remark in remarks)


BOOK = """---
llm: {provider: openai}
dtmf: {"0": {action: goto, scene: desk}}
---
# Scene: start
Ask for the order number, then go to scene pay.
<dtmf digit="1" action="goto" scene="desk"/>
# Scene: pay
<goto scene="start"/> <goto scene="nowhere"/>
# Scene: desk
Be kind.
"""


def test_playbook_is_seen_with_its_mistakes_and_the_ways_between_its_scenes() -> None:
    view = view_of(BOOK, PlaybookResources({}, {"llm": ["openai"]}))
    assert not view["ok"]
    assert [(one["line"], one["level"]) for one in view["findings"]] == [(9, "error")]
    assert [scene["id"] for scene in view["scenes"]] == ["start", "pay", "desk"]
    edges = {(edge["from"], edge["to"]): edge["by"] for edge in view["edges"]}
    assert edges[("", "desk")] == "digit 0"
    assert edges[("start", "desk")] == "digit 1"
    assert edges[("start", "pay")] == "named"
    assert edges[("pay", "start")] == "goto"


@pytest.mark.parametrize("text", ["", "---\nllm: [\n---\n", "---\nllm: {temperature: hot}\n---\n# Scene: a\nhi", "\0", "---\n" * 50])
def test_playbook_that_cannot_be_read_is_findings_and_no_error(text: str) -> None:
    view = view_of(text, PlaybookResources({}))
    assert set(view) == {"ok", "findings", "scenes", "edges"}
    assert view["ok"] or view["findings"]


def test_routes_answer_and_are_for_those_who_may_control_calls(tmp_path: Path) -> None:
    async def go() -> None:
        async with an_api(tmp_path) as api:
            view = (await api.http.post("/api/console/playbook", json={"content": PLAYBOOK})).json()
            assert view["scenes"][0]["id"] == "main"
            assert (await api.http.post("/api/console/playbook", json={})).status_code == 400
            assert (await api.http.get("/api/console/settings")).json() == []
            assert (await api.http.get("/api/console/trunks")).json() == {"trunks": [], "accounts": [], "refusals": {}}
            assert (await api.http.get("/api/console/explain/none")).status_code == 404
        async with an_api(tmp_path, token="secret") as api:
            for path in ("settings", "trunks", "explain/x", "calls"):
                assert (await api.http.get(f"/api/console/{path}")).status_code == 401

    asyncio.run(go())


def test_stream_tells_the_live_calls_again_when_one_changes(tmp_path: Path) -> None:
    async def go() -> None:
        async with an_api(tmp_path) as api:
            stream = live_calls_stream(api.registry)
            assert told(await anext(stream)) == {"n": 0, "calls": []}
            wanted = {"callee": "sip:bob@example.com", "content": PLAYBOOK, "vars": {"order": 7}, "id": "c.1"}
            assert (await api.http.post("/call", json=wanted)).status_code == 202
            (call,) = told(await anext(stream))["calls"]
            assert (call["id"], call["callee"], call["direction"]) == ("c.1", "sip:bob@example.com", "outbound")
            assert call["variables"]["order"] == 7
            await api.http.delete("/call/c.1")
            while told(await anext(stream))["n"]:
                pass
            await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(go())


def told(data: bytes) -> dict[str, Any]:
    assert data.startswith(b"event: calls\ndata: ")
    return dict(json.loads(data.partition(b"data: ")[2]))


CONFIG = """
http_token = "${HTTP_TOKEN}"
udp_port = 5070
[recording]
enabled = true
[[trunks]]
name = "main"
server = "sip.example.com"
username = "me"
password = "very secret"
[tts]
provider = "openai"
secretKey = "sk-also-secret"
[callrecord]
type = "database"
url = "postgresql+asyncpg://me:also-secret@db/records"
[[sip_registrations]]
username = "desk"
password = "third secret"
server = "pbx.example.com"
"""


def test_settings_tell_where_they_come_from_and_hide_secrets(tmp_path: Path) -> None:
    file = tmp_path / "active-call.toml"
    file.write_text(CONFIG, encoding="utf-8")
    config = load_config(file, {"http_addr": "127.0.0.1:9"}, {"HTTP_TOKEN": "secret-of-env"})
    told = {row["key"]: (row["value"], row["origin"]) for row in settings_of(config)}
    assert told["udp_port"] == ("5070", f"{file}:3")
    assert told["http_addr"] == ("127.0.0.1:9", "command line")
    assert told["http_token"] == (HIDDEN, f"{file}:2 (${{HTTP_TOKEN}})")
    assert told["recording.enabled"] == ("true", f"{file}:5")
    assert told["trunks[0].server"] == ("sip.example.com", f"{file}:8")
    assert told["trunks[0].password"][0] == told["sip_registrations[0].password"][0] == HIDDEN
    assert told["tts.secret_key"] == (HIDDEN, f"{file}:13")
    assert told["rtp_start_port"] == ("12000", "default")
    assert "secret" not in " ".join(value for value, _ in told.values())


def test_settings_hide_secrets_within_urls_and_arguments(tmp_path: Path) -> None:
    file = tmp_path / "active-call.toml"
    file.write_text(
        """
[handler]
type = "webhook"
urls = ["https://hooks.example/${HOOK_TOKEN}/in", "https://a.example/in"]
[mcp.shop]
command = "shop-mcp"
args = ["--api-key", "secret-argument"]
[mcp.web]
url = "https://mcp.example/sse?key=secret-query#x"
""",
        encoding="utf-8",
    )
    told = {row["key"]: row["value"] for row in settings_of(load_config(file, {}, {"HOOK_TOKEN": "secret-path"}))}
    assert "secret" not in " ".join(told.values())
    assert told["handler.urls"] == told["mcp.shop.args"] == HIDDEN and told["mcp.shop.command"] == "shop-mcp"
    assert told["mcp.web.url"] == f"https://mcp.example/sse?{HIDDEN}#x"


def test_client_and_console_are_served_with_their_parts_and_nothing_else(tmp_path: Path) -> None:
    async def go() -> None:
        async with an_api(tmp_path) as api:
            for path, kind in (
                ("/", "text/html"),
                ("/client.js", "text/javascript"),
                ("/client/call.js", "text/javascript"),
                ("/client.d.ts", "text/plain"),
                ("/console/vendor/htm/standalone.module.js", "text/javascript"),
            ):
                response = await api.http.get(path)
                assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, kind), path
            for path in (
                "/console/../app.py",
                "/console/%2e%2e/app.py",
                "/client/../console_page.py",
                "/console/",
                "/client/x.js",
                "/console/vendor",
            ):
                assert (await api.http.get(path)).status_code == 404, path

    asyncio.run(go())


def test_last_refusal_of_an_account_is_told_after_it_is_registered_again() -> None:
    class Gateway:
        def run(self, action: Any) -> None: ...

        def own_address_for(self, host: str) -> str:
            return "192.0.2.1"

    account = Account("desk", "desk", "secret", None, "pbx.example.com")
    registrations = Registrations(Gateway(), (account,))  # type: ignore[arg-type]
    registrations.start()
    registrations.handle(RegistrationChanged("desk", "failed", 403, "Forbidden"))
    assert registrations.states["desk"] == "failed 403 Forbidden"
    registrations.handle(RegistrationChanged("desk", "registered", 200, "OK"))
    assert (registrations.states["desk"], registrations.last_refusals["desk"]) == ("registered", "403 Forbidden")
