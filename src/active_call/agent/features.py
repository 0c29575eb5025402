"""The features of `llm.features` and the text that they add to a model's instructions, in English and Chinese.

http_tool             how to request a web server by tag and in JSON
voice_emotion         moods of the voice, as tags around words
emotion_resonance     moods that respond to the caller's feelings
intent_clarification  one short question if the intent is unclear
context_repair        words that follow the caller's last ones closely are combined with them (see `repair_hint`)
rolling_summary       a summary of the older parts of a long conversation (see `summary`); adds no instruction
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

HTTP_TOOL = "http_tool"
VOICE_EMOTION = "voice_emotion"
EMOTION_RESONANCE = "emotion_resonance"
INTENT_CLARIFICATION = "intent_clarification"
CONTEXT_REPAIR = "context_repair"
ROLLING_SUMMARY = "rolling_summary"
FEATURES = (HTTP_TOOL, VOICE_EMOTION, EMOTION_RESONANCE, INTENT_CLARIFICATION, CONTEXT_REPAIR, ROLLING_SUMMARY)

_ENGLISH: Mapping[str, str] = {
    HTTP_TOOL: """To ask a web server, write <http url="…" method="GET"/> or <http url="…" method="POST" body="…"/>, or answer with
{"text": "…", "tools": [{"name": "http", "url": "…", "method": "POST", "headers": {}, "body": "…"}]}. The answer comes back to you as
`HTTP Response: …`; say nothing about it before it is there.""",
    VOICE_EMOTION: """Mark the mood of your voice where it matters: [happy]…[/happy]. Moods: happy, sad, calm, excited, surprised, serious,
apologetic, sympathetic, friendly. The marks are not spoken. Use them sparingly, around whole sentences.""",
    EMOTION_RESONANCE: """Notice how the caller feels by the words: anger, worry, haste, joy. Answer the feeling first, in half a sentence,
then the matter. To an angry caller speak [calm]calmly[/calm]; share a caller's joy; do not name the feeling.""",
    INTENT_CLARIFICATION: """When it is not clear what the caller wants, or it could be two things, ask one short question that tells them
apart before you act. Before something that cannot be undone, say what you are about to do and wait for a yes.""",
    CONTEXT_REPAIR: """Speech recognition makes mistakes and cuts sentences. When words make no sense, take the likeliest meaning in this
conversation; when the caller corrects something ("no, Tuesday"), change that alone and keep the rest.""",
}
_CHINESE: Mapping[str, str] = {
    HTTP_TOOL: """需要请求网络服务时，请写 <http url="…" method="GET"/> 或 <http url="…" method="POST" body="…"/>，或回答
{"text": "…", "tools": [{"name": "http", "url": "…", "method": "POST", "headers": {}, "body": "…"}]}。
结果会以 `HTTP Response: …` 返回；返回前不要谈论结果。""",
    VOICE_EMOTION: """在需要时标注语气，例如 [happy]…[/happy]。
可用：happy, sad, calm, excited, surprised, serious, apologetic, sympathetic, friendly。
标记不会被读出，请少用，并包住整句。""",
    EMOTION_RESONANCE: """从话语中体会来电者的情绪（生气、担心、着急、高兴）。先用半句话回应情绪，再谈事情；
对方生气时请用 [calm]平静[/calm] 的语气；不要直接点明情绪。""",
    INTENT_CLARIFICATION: "如果不清楚来电者要什么，或有两种可能，先问一个简短的问题再行动。做无法撤销的事之前，先说明并等待确认。",
    CONTEXT_REPAIR: "语音识别会出错或截断句子。听不通时按对话取最可能的意思；对方更正时（“不，是周二”），只改那一处，其余保留。",
}  # fmt: skip


def instructions(features: Sequence[str], language: str | None) -> str:
    """The text added to a model's instructions."""
    texts = _CHINESE if (language or "").lower().startswith("zh") else _ENGLISH
    return "\n".join(texts[feature] for feature in features if feature in texts)
