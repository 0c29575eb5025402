"""The HTTP API against a real registry whose calls have fake legs."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "calls"))

from calls_kit import Engines

from active_call.api.app import create_app
from active_call.api.services import ApiServices
from active_call.base.errors import ActiveCallError, LimitReached
from active_call.base.world import World
from active_call.call.dependencies import CallDependencies
from active_call.call.opening.registry import CallRegistry
from active_call.call.opening.routing import Playbooks
from active_call.contract.errors import ContractError
from active_call.contract.options import CallOption
from active_call.server.playbook_files import PlaybookError
from active_call.store.call_record import CallRecord
from active_call.store.database.records import DatabaseRecords
from active_call.store.database.url import parse_database_url
from active_call.store.troubles import Troubles
from active_call.testing.fakes.call import FakeLeg

PLAYBOOK = "---\nllm: {provider: script, greeting: Hello.}\n---\n# Scene: main\n## bye\nBye. <hangup/>\n"


@dataclass
class Placing:
    """Makes fake legs and remembers them."""

    legs: list[FakeLeg] = field(default_factory=list)
    options: list[CallOption] = field(default_factory=list)
    refusal: ActiveCallError | None = None

    def new_leg(self, option: CallOption) -> FakeLeg:
        if self.refusal is not None:
            raise self.refusal
        self.options.append(option)
        self.legs.append(FakeLeg(callee=option.callee or ""))
        return self.legs[-1]


@dataclass
class Api:
    http: httpx.AsyncClient
    registry: CallRegistry
    placing: Placing
    room: list[bool]
    records: DatabaseRecords


@asynccontextmanager
async def an_api(
    folder: Path,
    *,
    token: str | None = None,
    client: str = "127.0.0.1",
    explain: Callable[[dict[str, str]], dict[str, Any]] | None = None,
    more: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Api]:
    """The application over a real registry and real records. `more`: further fields of its services."""

    def find(name: str) -> Path:
        if not (folder / name).is_file():
            raise PlaybookError(name, 0, f"there is no playbook {name!r}")
        return folder / name

    records = DatabaseRecords(parse_database_url(f"sqlite:///{folder}/records.db"), folder / "cdr", World(), Troubles())
    await records.start()
    placing, room = Placing(), [True]
    async with httpx.AsyncClient() as outside:
        playbooks = Playbooks(find, environment or {})
        services = CallDependencies(world=World(), engines=Engines(), http=outside, records=records, playbooks=playbooks)  # type: ignore[arg-type]
        registry = CallRegistry(services, None, placing, lambda: room[0])  # type: ignore[arg-type]
        api = create_app(
            ApiServices(registry, playbooks, folder, records, lambda: {"status": "ok"}, "test", token, explain, **(more or {}))
        )
        transport = httpx.ASGITransport(api, client=(client, 1234))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            yield Api(http, registry, placing, room, records)
        await registry.drain(0)
    await records.close()


@pytest.mark.parametrize(
    ("query", "status", "part"),
    [
        ("ip=203.0.113.9&to=%2B1800&transport=tls&user_agent=x", 200, {"ip": "203.0.113.9", "to": "+1800", "transport": "tls"}),
        ("ip=nonsense", 400, {"error": "expected an IP address", "code": "bad_request"}),
        ("", 400, {"code": "bad_request"}),
    ],
)
def test_explain_hands_the_question_on_and_its_mistakes_back(tmp_path: Path, query: str, status: int, part: dict[str, str]) -> None:
    def answer(question: dict[str, str]) -> dict[str, Any]:
        if question["ip"] == "nonsense":
            raise ValueError("expected an IP address")
        return dict(question)

    async def go() -> None:
        async with an_api(tmp_path, explain=answer) as api:
            response = await api.http.get(f"/api/explain?{query}")
            assert response.status_code == status
            assert part.items() <= response.json().items()

    run(go())


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/api/playbooks/main.md", "GET, POST"), ("/list", "GET"), ("/call", "POST"), ("/api/playbooks", "GET")],
)
def test_refused_method_names_all_methods_of_its_path(tmp_path: Path, path: str, allowed: str) -> None:
    """RFC 9110 §10.2.1, also where each method is a route of its own."""

    async def go() -> None:
        async with an_api(tmp_path) as api:
            for method in ("OPTIONS", "PUT"):
                response = await api.http.request(method, path)
                assert (response.status_code, response.headers["Allow"]) == (405, allowed)
                assert response.json()["code"] == "method_not_allowed"

    run(go())


def test_explain_is_for_those_who_may_control_calls(tmp_path: Path) -> None:
    async def go() -> None:
        async with an_api(tmp_path, client="203.0.113.9", explain=dict) as api:
            assert (await api.http.get("/api/explain?ip=203.0.113.9")).status_code == 403

    run(go())


def test_trunk_that_is_busy_is_a_503_with_its_rule_and_when_to_come_again(tmp_path: Path) -> None:
    async def go() -> None:
        async with an_api(tmp_path) as api:
            api.placing.refusal = LimitReached("trunk t has 2 calls, of at most 2", rule="trunk_calls", retry_after_s=7)
            response = await api.http.post("/call", json={"callee": "sip:a@b", "content": PLAYBOOK})
            assert (response.status_code, response.headers["Retry-After"]) == (503, "7")
            assert response.json() == {"error": "trunk t has 2 calls, of at most 2", "code": "trunk_calls"}
            assert not api.registry.calls

    run(go())


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sales.md").write_text(PLAYBOOK, encoding="utf-8")
    return tmp_path


GUIDE_CALL = {
    "callee": "sip:+18005551234@yourdomain.pstn.twilio.com",
    "playbook": "sales.md",
    "sip": {"username": "active-call", "password": "strongpassword", "realm": "yourdomain.pstn.twilio.com", "enableSrtp": True},
}


def test_post_call_as_the_guide_prints_it_places_a_call(folder: Path) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            response = await api.http.post("/call", json=GUIDE_CALL)
            assert response.status_code == 202
            session_id = response.json()["session_id"]
            assert session_id.startswith("c.")
            (option,) = api.placing.options
            assert option.callee == GUIDE_CALL["callee"]
            assert option.sip is not None
            assert (option.sip.username, option.sip.realm, option.sip.enable_srtp) == ("active-call", "yourdomain.pstn.twilio.com", True)
            listed = (await api.http.get("/list")).json()["active_calls"]
            assert [call["id"] for call in listed] == [session_id]

    run(story())


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"callee": None}, 400, "callee"),
        ({"playbook": None}, 400, "playbook"),
        ({"playbook": "other.md"}, 404, "other.md"),
        ({"content": "---\nllm: {temperature: hot}\n---\nhi"}, 400, "temperature"),
        ({"sip": {"enableSrtp": "maybe"}}, 400, "sip.enableSrtp"),
        ({"option": {"vad": {"ratio": "high"}}}, 400, "option.vad.ratio"),
    ],
)
def test_post_call_with_a_mistake_names_it(folder: Path, change: dict[str, Any], status: int, words: str) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            body = {key: value for key, value in {**GUIDE_CALL, **change}.items() if value is not None}
            response = await api.http.post("/call", json=body)
            assert response.status_code == status
            assert words in response.text
            assert api.placing.legs == []

    run(story())


def test_post_call_when_full_or_draining_is_a_503(folder: Path) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            api.room[0] = False
            response = await api.http.post("/call", json=GUIDE_CALL)
            assert response.status_code == 503
            assert response.headers["retry-after"]
            assert (await api.http.get("/ready")).status_code == 503

    run(story())


def test_kill_command_and_unknown_ids(folder: Path) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            session_id = (await api.http.post("/call", json=GUIDE_CALL)).json()["session_id"]
            sent = await api.http.post(f"/command/{session_id}", json={"command": "dtmf", "digits": "1"})
            assert sent.json() == {"status": "sent", "id": session_id}
            wrong = await api.http.post(f"/command/{session_id}", json={"command": "dtfm"})
            assert (wrong.status_code, "dtmf" in wrong.text) == (400, True)
            assert (await api.http.get("/kill/nobody")).json() == {"status": "not_found", "id": "nobody"}
            assert (await api.http.post("/command/nobody", json={"command": "pause"})).json()["status"] == "not_found"
            assert (await api.http.get("/events/nobody")).status_code == 404
            assert (await api.http.get(f"/kill/{session_id}")).json() == {"status": "killed", "id": session_id}
            await _until(lambda: not api.registry.calls)
            (entry,) = (await api.http.get("/api/records")).json()
            assert entry["id"] == session_id
            record = (await api.http.get(f"/api/records/{session_id}")).json()
            assert (record["hangupBy"], record["hangupReason"]) == ("api", "killed")

    run(story())


def test_events_are_streamed_until_the_hangup(folder: Path) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            session_id = (await api.http.post("/call", json=GUIDE_CALL)).json()["session_id"]
            watching = asyncio.create_task(api.http.get(f"/events/{session_id}"))
            await asyncio.sleep(0.05)
            await api.http.delete(f"/call/{session_id}")
            lines = (await asyncio.wait_for(watching, 5)).text.splitlines()
            told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
            assert told[-1]["event"] == "hangup"
            assert {line for line in lines if line.startswith("event:")} == {"event: event", "event: command"}

    run(story())


def test_events_are_replayed_from_the_number_after_the_last_one_that_was_read(folder: Path) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            session_id = (await api.http.post("/call", json=GUIDE_CALL)).json()["session_id"]
            for digit in "12":
                await api.http.post(f"/command/{session_id}", json={"command": "custom", "data": {"digit": digit}})
            await asyncio.sleep(0.05)
            watching = asyncio.create_task(api.http.get(f"/events/{session_id}", headers={"Last-Event-ID": "1"}))
            await asyncio.sleep(0.05)
            await api.http.delete(f"/call/{session_id}")
            lines = (await asyncio.wait_for(watching, 5)).text.splitlines()
            ids = [int(line.removeprefix("id: ")) for line in lines if line.startswith("id: ")]
            assert ids == list(range(2, 2 + len(ids)))
            told = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
            assert told[-1]["event"] == "hangup"
            assert [event["data"]["digit"] for event in told if event.get("event") == "custom"][-1:] == ["2"]

    run(story())


def test_control_needs_the_token_or_this_machine(folder: Path) -> None:
    async def story() -> None:
        async with an_api(folder, client="203.0.113.9") as api:
            assert (await api.http.post("/call", json=GUIDE_CALL)).status_code == 403
            assert (await api.http.get("/health")).status_code == 200
        async with an_api(folder, token="secret", client="203.0.113.9") as api:
            assert (await api.http.get("/list")).status_code == 401
            assert (await api.http.get("/list", headers={"Authorization": "Bearer wrong"})).status_code == 401
            assert (await api.http.get("/list", headers={"Authorization": "Bearer secret"})).status_code == 200

    run(story())


@pytest.mark.parametrize("name", ["../evil.md", "..%2Fevil.md", "evil.txt", ".md/../../x.md"])
def test_playbook_names_do_not_leave_the_folder(folder: Path, name: str) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            response = await api.http.post(f"/api/playbooks/{name}", json={"content": PLAYBOOK})
            assert response.status_code in (400, 404, 405)
            if "%2F" in name:
                assert (response.status_code, response.json()["error"].partition(":")[0]) == (400, "Invalid filename")
                assert (await api.http.get(f"/api/playbooks/{name}")).status_code == 400
            assert not (folder.parent / "evil.md").exists()

    run(story())


def test_written_playbook_is_the_owners_alone_and_keeps_a_mode_that_it_had(folder: Path) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            (folder / "sales.md").chmod(0o640)
            for name, mode in (("new.md", 0o600), ("sales.md", 0o640)):
                assert (await api.http.post(f"/api/playbooks/{name}", json={"content": PLAYBOOK})).status_code == 200
                assert (folder / name).stat().st_mode & 0o777 == mode
            written = [api.http.post("/api/playbooks/new.md", json={"content": PLAYBOOK}) for _ in range(8)]
            assert {response.status_code for response in await asyncio.gather(*written)} == {200}
            assert not list(folder.glob("*.part")) and not list(folder.glob(".*.part"))

    run(story())


@pytest.mark.parametrize("name", ["%00.md", "a%00.md", "a" * 300 + ".md", "a" * 5000 + ".md", "loop.md"])
def test_name_that_no_file_can_have_is_a_400(folder: Path, name: str) -> None:
    async def story() -> None:
        (folder / "loop.md").symlink_to(folder / "loop.md")
        async with an_api(folder) as api:
            assert (await api.http.get(f"/api/playbooks/{name}")).status_code in (400, 404)
            if name != "loop.md":
                assert (await api.http.post(f"/api/playbooks/{name}", json={"content": PLAYBOOK})).status_code == 400

    run(story())


def test_what_only_looks_like_a_playbook_is_left_out_and_told(folder: Path) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            (folder / ".#sales.md").symlink_to("/nowhere/anna@host.1234")  # an editor's lock
            (folder / "old.md").mkdir()
            (folder / "latin.md").write_bytes("Grüß Gott".encode("latin-1"))
            names = [entry["name"] for entry in (await api.http.get("/api/playbooks")).json()]
            assert names == ["latin.md", "sales.md"]
            unreadable = await api.http.get("/api/playbooks/latin.md")
            assert (unreadable.status_code, unreadable.json()["code"]) == (409, "conflict")
            assert "not UTF-8" in unreadable.json()["error"]
            refused = await api.http.post("/api/playbooks/old.md", json={"content": PLAYBOOK})
            assert refused.status_code == 409
            assert str(folder) not in refused.text
            assert not list(folder.glob(".*.part"))

    run(story())


def test_playbooks_are_listed_read_and_only_written_when_they_parse(folder: Path) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            assert [entry["name"] for entry in (await api.http.get("/api/playbooks")).json()] == ["sales.md"]
            assert (await api.http.get("/api/playbooks/sales.md", headers={"Accept": "application/json"})).json()["content"] == PLAYBOOK
            assert (await api.http.get("/api/playbooks/sales.md")).text == PLAYBOOK
            bad = await api.http.post("/api/playbooks/new.md", json={"content": "---\nllm: [\n---\nx"})
            assert bad.status_code == 400
            assert "line" in bad.text or ":2" in bad.text or ":3" in bad.text
            assert (await api.http.post("/api/playbooks/new.md", json={"content": PLAYBOOK})).status_code == 200
            assert (folder / "new.md").read_text(encoding="utf-8") == PLAYBOOK

    run(story())


def test_openapi_page_describes_the_call_body(folder: Path) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            spec = (await api.http.get("/openapi.json")).json()
            body = spec["paths"]["/call"]["post"]["requestBody"]["content"]["application/json"]["schema"]
            assert body == {"$ref": "#/components/schemas/PlaceCall"}
            assert {"callee", "playbook", "sip", "vars"} <= set(spec["components"]["schemas"]["PlaceCall"]["properties"])
            page = await api.http.get("/")
            assert "active-call" in page.text

    run(story())


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def test_half_a_surrogate_in_a_body_is_refused_by_name_and_a_nul_costs_no_record(folder: Path) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            body = rb'{"callee": "sip:a@b.example", "playbook": "sales.md", "vars": {"x": "\ud83d"}}'
            refused = await api.http.post("/call", content=body, headers={"Content-Type": "application/json"})
            assert (refused.status_code, refused.json()["error"].partition(":")[0]) == (400, "vars.x")
            body = rb'{"callee": "sip:a@b.example", "playbook": "sales.md", "vars": {"nul": "a\u0000b"}}'
            placed = await api.http.post("/call", content=body, headers={"Content-Type": "application/json"})
            assert placed.status_code == 202, placed.text
            session_id = placed.json()["session_id"]
            await api.http.get(f"/kill/{session_id}")
            await _until(lambda: not api.registry.calls)
            record = (await api.http.get(f"/api/records/{session_id}")).json()
            assert record["variables"] == {"nul": "ab"}

    run(story())


def test_records_are_found_by_filters_and_pages(folder: Path) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            for number in range(5):
                placed = await api.http.post("/call", json={"callee": f"sip:{number}@b.example", "playbook": "sales.md"})
                await api.http.get(f"/kill/{placed.json()['session_id']}")
                await _until(lambda: not api.registry.calls)
            page = await api.http.get("/api/records", params={"limit": 2, "direction": "outbound"})
            assert page.headers["X-Total-Count"] == "5"
            found, link = page.json(), page.headers["Link"]
            while link:
                page = await api.http.get(link[1 : link.index(">")])
                found, link = [*found, *page.json()], page.headers.get("Link", "")
            assert [entry["callee"] for entry in found] == [f"sip:{number}@b.example" for number in reversed(range(5))]
            assert (await api.http.get("/api/records", params={"callee": "3@B"})).headers["X-Total-Count"] == "1"
            for query in ("from=yesterday", "to=0000-00-00", "cursor=xyz", "from=0001-01-01T00:00%2B23:00"):
                assert (await api.http.get(f"/api/records?{query}")).status_code == 400, query
            for number in (10**30, -1):
                far = base64.urlsafe_b64encode(f"2026-01-01T00:00:00+00:00 {number}".encode()).decode().rstrip("=")
                assert (await api.http.get(f"/api/records?cursor={far}")).status_code == 400, number
            for query in ("min_duration=nan", "limit=many", "q=" + "x" * 300, "status=anwsered", "direction=up"):
                assert (await api.http.get(f"/api/records?{query}")).status_code == 400, query
            assert (await api.http.get("/api/records?limit=-5&offset=-7")).status_code == 200

    run(story())


def test_call_with_an_id_that_no_url_can_hold_is_not_begun_at_any_door(folder: Path) -> None:
    """A socket's `?id=` comes here without the check of a request; it may be the Call-ID of a call that exists."""

    async def story() -> None:
        async with an_api(folder) as api:
            with pytest.raises(ContractError, match="id: expected"):
                api.registry.place(CallOption(callee="sip:a@b"), session_id="a/b")
            assert not api.registry.calls

    run(story())


def test_refused_place_has_a_record(folder: Path) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            api.placing.refusal = LimitReached("trunk t has 2 calls", rule="trunk_calls", retry_after_s=7)
            await api.http.post("/call", json={"callee": "sip:a@b", "playbook": "sales.md"})
            (entry,) = (await api.http.get("/api/records")).json()
            assert (entry["status"], entry["direction"], entry["callee"]) == ("rejected", "outbound", "sip:a@b")
            assert (entry["outcome"], entry["duration"], entry["durationS"]) == ("rejected", "0s", 0.0)

    run(story())


def test_list_of_calls_has_the_texts_that_clients_of_the_rust_program_read(folder: Path) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            began = datetime(2026, 3, 4, tzinfo=UTC)
            for name, status, seconds in (("c.1", "answered", 12.25), ("c.2", "failed", 0.0)):
                api.records.write(
                    CallRecord(
                        session_id=name, call_id="", direction="outbound", caller="", callee="sip:a@b", start_time=began, end_time=began,
                        status=status, duration_s=seconds,
                    )
                )  # fmt: skip
            await api.records.flush()
            listed = (await api.http.get("/api/records")).json()
            assert {entry["id"]: (entry["duration"], entry["status"]) for entry in listed} == {
                "c.1": ("12.25s", "completed"), "c.2": ("0s", "failed"),
            }  # fmt: skip
            for status in ("completed", "answered"):
                (entry,) = (await api.http.get(f"/api/records?status={status}")).json()
                assert (entry["id"], entry["durationS"], entry["outcome"]) == ("c.1", 12.25, "answered")
            assert (await api.http.get("/api/records/c.1")).json()["status"] == "answered"

    run(story())


def test_command_without_content_type_is_refused_as_in_the_rust_program(folder: Path) -> None:
    async def story() -> None:
        async with an_api(folder) as api:
            answer = await api.http.post("/command/nobody", content=b'{"command": "pause"}')
            assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")

    run(story())
