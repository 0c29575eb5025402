"""Virtual calls: what a test of a program can rely on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from active_call import App, Call, Heard, PlaybackFailed
from active_call.testing.virtual_call import Caller, Incoming, virtual_call, virtual_run

MENU = """---
llm: {provider: script}
greeting: Welcome to Green Garden.
---
## opening hours
We are open from nine to six.
## goodbye
Thank you for calling. <hangup/>
"""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def asks_for_the_hours(caller: Caller) -> None:
    await caller.hears("Welcome to Green Garden")
    await caller.says("opening hours please")
    await caller.hears("nine to six")
    await caller.says("goodbye")
    await caller.hears("Thank you for calling")


def test_playbook_file_takes_the_call(tmp_path: Path) -> None:
    (tmp_path / "menu.md").write_text(MENU, encoding="utf-8")
    assert virtual_call(Path("menu.md"), asks_for_the_hours).ended_by == "agent"


def test_playbook_with_a_model_says_the_scripted_replies(tmp_path: Path) -> None:
    (tmp_path / "shop.md").write_text(
        "---\ngreeting: Hello.\nllm: {provider: openai, apiKey: none}\n---\nYou sell roses.\n", encoding="utf-8"
    )

    async def caller(caller: Caller) -> None:
        await caller.hears("Hello.")
        await caller.says("Do you have roses?")
        await caller.hears("Red ones.")
        await caller.hangs_up()

    result = virtual_call(Path("shop.md"), caller, model=["Red ones."])
    assert len(result.prompts) == 1


def test_configured_playbook_takes_what_no_function_takes(tmp_path: Path) -> None:
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "playbooks" / "menu.md").write_text(MENU, encoding="utf-8")
    (tmp_path / "active-call.toml").write_text('[handler]\ntype = "playbook"\ndefault = "menu.md"\n', encoding="utf-8")
    app = App("active-call.toml")

    @app.incoming(callee="1800")
    async def take(call: Call) -> None:
        await call.reject(486)

    assert virtual_call(app, asks_for_the_hours).ended_by == "agent"
    assert virtual_call(app, Caller.is_over, callee="sip:1800@example.com").sip_code == 486


def test_what_a_script_or_the_work_raises_comes_out() -> None:
    app = App()

    @app.incoming()
    async def take(call: Call) -> None:
        await call.answer()
        await call.say("Hello.")

    async def work() -> None:
        raise ValueError("no database")

    async def other(callee: Caller) -> None:
        await callee.hears("never said", timeout_s=1)

    async def expects_too_much(caller: Caller) -> None:
        await caller.hears("Good evening")

    with pytest.raises(AssertionError, match="Good evening"):
        virtual_call(app, expects_too_much)
    with pytest.raises(ValueError, match="no database"):
        virtual_run(app, work())
    with pytest.raises(AssertionError, match="never said"):
        virtual_run(app, app.call("sip:b@example.com", lambda call: call.say("Hi, here is somebody.")), others={"sip:b@example.com": other})


def test_failure_of_the_program_comes_out_also_if_the_script_fails_with_it() -> None:
    async def take(call: Call) -> None:
        if call.direction == "inbound":
            await call.answer()
        raise ValueError("no database")

    async def caller(caller: Caller) -> None:
        await caller.hears("Hello")

    async def place() -> None:
        async with app:
            await (await app.call("sip:b@example.com", take)).wait_ended()

    app = App()
    with pytest.raises(ValueError, match="no database"):
        virtual_call(take, caller)
    with pytest.raises(ValueError, match="no database"):
        virtual_run(app, place(), others={"sip:b@example.com": Caller.is_over})
    assert virtual_run(app, place(), others={"sip:b@example.com": Caller.is_over}, may_fail=True).calls[0].ended_by == "agent"


def test_files_urls_and_tones_are_played_and_a_file_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config" / "sounds").mkdir(parents=True)
    (tmp_path / "config" / "sounds" / "welcome.wav").write_bytes(b"any")
    welcome = "config/sounds/welcome.wav"
    sources = [welcome, "https://example.com/a.mp3", "tone:beep"]
    heard: list[Heard] = []

    async def take(call: Call) -> None:
        await call.answer()
        heard.extend([await call.play(source) for source in sources])
        await call.hold(music=welcome)
        await call.unhold()
        with pytest.raises(PlaybackFailed, match=r"missing\.wav"):
            await call.play("missing.wav")

    result = virtual_call(take, Caller.is_over)
    assert result.played == (*sources, welcome)
    assert [one.duration_ms for one in heard] == [1000, 1000, 300]
    assert all(one.is_complete for one in heard)


def test_work_is_stopped_after_its_time_and_calls_end() -> None:
    app = App()

    async def listens(callee: Caller) -> None:
        await callee.hears("Hi.")
        await callee.is_over()

    async def work() -> None:
        async with app:
            call = await app.call("sip:b@example.com")
            await call.say("Hi.")
            await asyncio.sleep(10_000)

    result = virtual_run(app, work(), others={"sip:b@example.com": listens}, for_s=30)
    assert result.value is None
    assert [call.ended_by for call in result.calls] == ["system"]


def test_callers_who_speak_at_once_are_not_mixed_up() -> None:
    heard = {}

    async def take(call: Call) -> None:
        await call.answer()
        heard[call.caller] = await call.ask("Your name?")

    async def says_a_long_name(caller: Caller) -> None:
        await caller.hears("Your name?")
        await caller.says("Ada Augusta, Countess of Lovelace, of London")
        await caller.is_over()

    async def says_a_short_name(caller: Caller) -> None:
        await caller.hears("Your name?")
        await caller.says("Bob")
        await caller.is_over()

    virtual_run(take, callers=[Incoming(says_a_long_name, caller="sip:a@b"), Incoming(says_a_short_name, 0.3, caller="sip:b@b")])
    assert heard == {"sip:a@b": "Ada Augusta, Countess of Lovelace, of London", "sip:b@b": "Bob"}


def test_target_of_a_transfer_that_hears_no_text_is_told_where_the_text_is(tmp_path: Path) -> None:
    async def take(call: Call) -> None:
        await call.answer()
        await call.transfer("sip:desk@example.com", mode="warm", briefing="Anna is waiting.")

    async def desk(desk: Caller) -> None:
        await desk.hears("Anna", timeout_s=4)

    with pytest.raises(AssertionError, match=r"has not said 'Anna'.*the target of a transfer hears no text, see `spoken` of the result"):
        virtual_call(take, Caller.is_over, others={"sip:desk@example.com": desk})
