"""The agent's built-in sentences and hints for a model, in English and Chinese.

Texts of the playbook take precedence: `llm.errorReply`, `llm.toolInstructions`, the `## *` and `## (silence)` entries of a script.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Wording(Struct, frozen=True):
    """The built-in sentences in one language."""

    failed: str
    """The model has failed or is too slow."""
    takes_longer: str
    """The answer takes long, but nothing has failed yet."""
    one_moment: str
    """A tool runs, and nothing was said about it."""
    here: str
    """The caller asks whether anybody is there while the answer is prepared."""
    listening: str
    """The caller asks whether anybody is there."""
    take_your_time: str
    """The caller asks the agent to wait."""
    not_understood: str
    not_heard: str
    """The recogniser was overloaded: ask the caller to repeat."""
    confirm: str
    """Confirmation before the call ends or is transferred on an uncertain match. `{{ phrase }}` is filled in."""
    still_there: str
    not_connected: str
    """A transfer has failed."""
    back: str
    """The caller is back after a conversation with somebody else."""
    has_failed: str
    """To the model: a transfer has failed. `{target}`, `{code}` and `{reason}` are filled in."""
    has_returned: str
    """To the model: the caller is back. `{target}` is filled in."""
    is_transferred: str
    """To the model: the peer has transferred the call to `{target}`."""
    silent: str
    """To the model: the caller says nothing."""
    continue_: str
    """To the model: the interruption was only noise."""
    new_scene: str
    """To the model: a scene has begun, and it speaks first."""
    tools: str
    """To the model: the tags that it may write."""
    enter: str
    """The default question of a collector. `{what}` is filled in."""
    enter_again: str
    entered: str
    """To the model, and in the transcript: the caller has entered something. `{what}` and `{value}` are filled in."""
    not_entered: str
    """To the model: the caller has not entered a valid value. `{what}` is filled in."""
    collectors: str
    """To the model: the collectors that it may use by tag. `{names}` is filled in."""
    repair: str
    """To the model: the caller has continued or corrected the last words."""
    summarise: str
    """To the model: how to summarise a conversation in order to continue it."""
    summaries: Mapping[str, str]
    """To the model: each kind of summary of an ended call."""
    summary_of_call: str
    """To the model, after a playbook's own instructions for a summary."""
    functions: str
    """To a model that calls the agent's actions as functions."""
    language: str
    """To the model: `{language}` is spoken from now on."""


_TAGS = """<hangup/> <refer to="sip:…"/> <goto scene="…"/> <play file="…"/> <set_var key="…" value="…"/>
<http url="…" method="GET"/> <message body="…"/>"""

ENGLISH = Wording(
    failed="I am sorry, something went wrong on my side. Could you say that again, please?",
    takes_longer="I am sorry, this takes a little longer. One moment, please.",
    one_moment="One moment, please.",
    here="Yes, I am here. One moment, please.",
    listening="Yes, I am listening.",
    take_your_time="Of course.",
    not_understood="Sorry, I did not catch that. Could you say it again?",
    confirm='Did you mean "{{ phrase }}"? Please say yes or no.',
    not_heard="Sorry, could you repeat that, please?",
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
    enter="Please enter {what}.",
    enter_again="That does not fit.",
    entered="[entered {what}: {value}]",
    not_entered="[The caller has not entered a valid {what}.]",
    collectors="""To ask the caller for one of the following, write <collect type="NAME" prompt="the question"/>: {names}.
It is asked and checked for you, by keypad or voice, and you are told it.""",
    repair="[The caller went on at once, or corrected the words before: read both together, and answer once.]",
    summarise="Summarise this telephone conversation in at most ten sentences, for the agent to go on with it. Keep names, numbers, "
    "wishes, promises, what was done and what is open. Write the summary alone.",
    summaries={
        "short": "Summarise this telephone call in one or two sentences. Write the summary alone.",
        "detailed": "Summarise this telephone call in detail: what the caller wanted, what was said and agreed, names, numbers and dates, "
        "what is open, and how the caller felt. Write the summary alone.",
        "intent": "What did the caller want in this telephone call? Answer in a few words, without anything else.",
        "json": 'Describe this telephone call as one JSON object with the keys "summary" (text), "intent" (a few words), "outcome" '
        '("resolved", "transferred", "unresolved" or "voicemail"), "sentiment" ("positive", "neutral" or "negative"), '
        '"entities" (an object of names, numbers and dates) and "followUp" (a list of texts). Write JSON alone.',
    },
    summary_of_call="The conversation follows. Write the answer alone.",
    functions="""You are on a telephone call: answer in short spoken sentences, without lists or Markdown.
To end or transfer the call, or to do anything else than speak, call the functions.
Say in the same reply what the caller is to hear first.""",
    language="Speak {language} from here on.",
)
CHINESE = Wording(
    failed="抱歉，我这边出了点问题，请您再说一遍好吗？",
    takes_longer="不好意思，还需要一点时间，请稍等。",
    one_moment="请稍等。",
    here="我在，请稍等。",
    listening="我在，请讲。",
    take_your_time="好的，您慢慢来。",
    not_understood="抱歉，我没有听清，请您再说一遍好吗？",
    confirm="您是说“{{ phrase }}”吗？请回答是或不是。",
    not_heard="不好意思，请您再说一遍。",
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
    enter="请输入{what}。",
    enter_again="输入不正确。",
    entered="[已输入 {what}：{value}]",
    not_entered="[来电者没有输入 {what}。]",
    collectors="""需要来电者提供以下信息时，请写 <collect type="名称" prompt="问题"/>：{names}。
系统会通过按键或语音收集并检查，然后告诉你。""",
    repair="[来电者紧接着补充或更正了刚才的话：请合在一起理解，并只回答一次。]",
    summarise="请用不超过十句话总结这段电话对话，供客服继续使用。保留姓名、号码、需求、承诺、已办和未办的事。只写总结。",
    summaries={
        "short": "请用一两句话总结这通电话。只写总结。",
        "detailed": "请详细总结这通电话：来电者的需求、说了什么、达成了什么、姓名号码日期、未决事项以及对方的情绪。只写总结。",
        "intent": "来电者在这通电话里想要什么？只用几个词回答。",
        "json": '请用一个 JSON 对象描述这通电话，键为 "summary"、"intent"、"outcome"（resolved, transferred, unresolved 或 voicemail）、'
        '"sentiment"（positive, neutral 或 negative）、"entities"（对象）、"followUp"（文本列表）。只写 JSON。',
    },
    summary_of_call="以下是通话内容。只写回答。",
    functions="""你正在通电话：请用简短的口语回答，不要用列表或 Markdown。
要挂断、转接或执行其他操作时，请调用函数；来电者应先听到的话写在同一条回答里。""",
    language="从现在起请说 {language}。",
)

_BY_LANGUAGE = {"en": ENGLISH, "zh": CHINESE}


def wording_for(language: str | None) -> Wording:
    """The sentences for a language tag such as `zh-CN`; English if the language is not supported."""
    return _BY_LANGUAGE.get((language or "en").replace("_", "-").split("-")[0].lower(), ENGLISH)
