"""Whatever a session and a call do: no exception, a deadline for every turn, one truncation an interruption, and no word too many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.effects import FromRealtime, Heard, Perform, ToolFinished, ToRealtime
from active_call.agent.playbook.parser import parse_playbook
from active_call.agent.realtime.conversation import RealtimeConversation
from active_call.agent.realtime.events import (
    AgentSound,
    AgentText,
    CallerBegan,
    CallerEnded,
    CallerText,
    FunctionCall,
    ItemDone,
    ResponseDone,
    SessionFailed,
    SessionOpened,
    TruncateItem,
)
from active_call.agent.realtime.spoken_item import SpokenItem
from active_call.agent.tools.registry import Tool, ToolRegistry
from active_call.contract import events
from searches import searching

PLAYBOOK = """---
llm: {provider: openai}
greeting: Good day.
followup: {timeout: 3000, max: 2}
---
# Scene: shop
<dtmf digit="1" action="goto" scene="news"/>
<dtmf digit="2" action="hangup"/>
The shop.
# Scene: news
The news.
"""
ITEMS = st.sampled_from(["i1", "i2", "i3"])
SESSION = st.one_of(
    st.sampled_from([SessionOpened(), CallerBegan(), CallerEnded(), CallerText("hello"), ResponseDone(), ResponseDone("500")]),
    st.builds(AgentSound, ITEMS, st.integers(0, 2000)),
    st.builds(AgentText, ITEMS, st.sampled_from(["one two ", "three. "])),
    st.builds(ItemDone, ITEMS),
    st.builds(FunctionCall, st.sampled_from(["c1", "c2"]), st.sampled_from(["look_up", "book", "cook"]), st.sampled_from(["", "{"])),
    st.just(SessionFailed("gone")),
)
CALL = st.one_of(
    st.sampled_from(
        [
            events.MediaReady(), events.Dtmf(digit="1"), events.Dtmf(digit="2"), events.Dtmf(digit="9"), events.Hold(on_hold=True),
            events.Hold(on_hold=False), events.Transfer(state="calling", target="x"),
            events.Transfer(state="failed", target="x", returned=True), events.Bridge(state="joined", target_session_id="y"),
            events.Bridge(state="parted", target_session_id="y"), events.Custom(data=1),
        ]
    ),
    st.builds(lambda p: events.TrackStart(play_id=p), ITEMS),
    st.builds(lambda p: events.TrackEnd(play_id=p), ITEMS),
    st.builds(lambda p, ms: events.Interruption(play_id=p, current=ms), ITEMS, st.integers(0, 3000)),
)  # fmt: skip
STEPS = st.one_of(
    st.builds(FromRealtime, SESSION),
    st.builds(Heard, CALL),
    st.builds(lambda i, error: ToolFinished(i, "done", error), st.sampled_from(["c1", "c2"]), st.sampled_from([None, "failed"])),
    st.sampled_from([0.1, 1.0, 12.0, 40.0]),
)


@pytest.mark.parametrize("strategy", ["vad", "none"])
@given(steps=st.lists(STEPS, max_size=40))
@searching(25)
def test_any_story_keeps_the_invariants(strategy, steps):
    text = PLAYBOOK.replace("llm:", f"interruption: {{strategy: {strategy}}}\nllm:")
    tools = ToolRegistry([Tool("look_up", timeout_s=5), Tool("book", cancellable=False, timeout_s=5)])
    conversation = RealtimeConversation(parse_playbook(text, file="p.md", environment={}), {}, {}, tools=tools)
    now, truncated = 0.0, []
    effects = conversation.start(now)
    for step in [*steps, 300.0]:
        if isinstance(step, float):
            effects = wait(conversation, now, step)
            now += step
        else:
            effects = conversation.handle(step, now)
        truncated += [e.order.item for e in effects if isinstance(e, ToRealtime) and isinstance(e.order, TruncateItem)]
        assert len(set(truncated)) == len(truncated), "an item is truncated twice"
        if conversation.state in ("listening", "thinking", "speaking"):
            assert conversation.next_timeout() is not None, "a turn without a deadline"
    assert conversation.state not in ("thinking", "speaking")
    conversation.close(None)
    assert conversation.state == "ended"
    assert conversation.next_timeout() is None
    assert not any(isinstance(effect, Perform) for effect in conversation.handle(FromRealtime(SessionFailed("x")), now))


def wait(conversation, now, seconds):
    effects, end = [], now + seconds
    for _ in range(100):
        due = conversation.next_timeout()
        if due is None or due > end:
            return effects
        now = max(now, due)
        effects += conversation.handle_timeout(now)
    raise AssertionError("the timers never come to rest")


@given(
    words=st.lists(st.text("ab", min_size=1, max_size=9), max_size=12),
    ms=st.integers(0, 5000),
    heard_ms=st.integers(0, 6000),
    whole=st.booleans(),
)
def test_heard_text_is_a_beginning_that_grows_with_time(words, ms, heard_ms, whole):
    item = SpokenItem("i", ms, " ".join(words), is_whole=whole)
    heard = item.heard_text(heard_ms).split()
    assert heard == words[: len(heard)]
    assert len(item.heard_text(heard_ms + 100).split()) >= len(heard)
    if heard_ms < ms:
        assert not words or len(heard) < len(words)
