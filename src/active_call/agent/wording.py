"""The agent's own sentences and its hints for a model, in English and Chinese.

A playbook's own words always win: `llm.errorReply`, `llm.toolInstructions`, the `## *` and `## (silence)` entries of a script.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wording:
    """The agent's own sentences in one language."""

    failed: str
    """The model is gone or too slow."""
    not_understood: str
    confirm: str
    """Before the call ends or is transferred on words that may not have meant it. `{{ phrase }}` is filled in."""
    still_there: str
    not_connected: str
    """A transfer has failed."""
    back: str
    """The caller is back from a conversation with somebody else."""
    has_failed: str
    """To the model: a transfer has failed. `{target}`, `{code}` and `{reason}` are filled in."""
    has_returned: str
    """To the model: the caller is back. `{target}` is filled in."""
    is_transferred: str
    """To the model: the peer has transferred the call to `{target}`."""
    silent: str
    """To the model: the caller says nothing."""
    continue_: str
    """To the model: the interruption was only a noise."""
    new_scene: str
    """To the model: a scene has begun and it is the one to speak."""
    tools: str
    """To the model: the tags that it may write."""


_TAGS = """<hangup/> <refer to="sip:…"/> <goto scene="…"/> <play file="…"/> <set_var key="…" value="…"/>
<http url="…" method="GET"/> <message body="…"/>"""

ENGLISH = Wording(
    failed="I am sorry, something went wrong on my side. Could you say that again, please?",
    not_understood="Sorry, I did not catch that. Could you say it again?",
    confirm='Did you mean "{{ phrase }}"? Please say yes or no.',
    still_there="Are you still there?",
    not_connected="I am sorry, I could not connect you.",
    back="You are back with me. Is there anything else I can do for you?",
    has_failed="[The transfer to {target} has failed: {reason} ({code}). The caller is back with you. Say so, and go on.]",
    has_returned="[The caller has spoken with {target} and is back with you. Speak first.]",
    is_transferred="[You have been transferred to {target}: somebody else is on the line now. Speak first.]",
    silent="[The caller has said nothing for a while.]",
    continue_="[You were interrupted by a noise. Continue exactly where you stopped.]",
    new_scene="[A new part of the conversation begins. Speak first.]",
    tools=f"""You are on a telephone call: answer in short spoken sentences, without lists or Markdown.
You may write these tags into your answer. They are carried out when you reach them and are never spoken:
{_TAGS}
<hangup/> ends the call after what you said before it, <refer/> transfers it, <goto/> changes the scene;
the answer to <http/> comes back to you.""",
)
CHINESE = Wording(
    failed="抱歉，我这边出了点问题，请您再说一遍好吗？",
    not_understood="抱歉，我没有听清，请您再说一遍好吗？",
    confirm="您是说“{{ phrase }}”吗？请回答是或不是。",
    still_there="您还在吗？",
    not_connected="抱歉，电话没有接通。",
    back="您已回到我这里，还有什么可以帮您？",
    has_failed="[转接到 {target} 失败：{reason}（{code}）。来电者已回到你这里，请告知并继续对话。]",
    has_returned="[来电者已与 {target} 通话结束，现在回到你这里，请你先说。]",
    is_transferred="[对方已把你转接到 {target}，现在是另一个人在线上，请你先说。]",
    silent="[来电者一直没有说话。]",
    continue_="[刚才只是噪音打断了你。请从中断的地方继续说。]",
    new_scene="[对话进入新的部分，请你先说。]",
    tools=f"""你正在通电话：请用简短的口语回答，不要用列表或 Markdown。
你可以在回答中写入以下标签，写到时即执行，不会被读出：
{_TAGS}
<hangup/> 在说完之前的话后挂断，<refer/> 转接，<goto/> 切换场景；<http/> 的结果会返回给你。""",
)

_BY_LANGUAGE = {"en": ENGLISH, "zh": CHINESE}


def wording_for(language: str | None) -> Wording:
    """The sentences for a language tag such as `zh-CN`; English when the language is not known."""
    return _BY_LANGUAGE.get((language or "en").replace("_", "-").split("-")[0].lower(), ENGLISH)
