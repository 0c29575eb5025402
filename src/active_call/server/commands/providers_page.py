"""`docs/providers.md`, generated from the declarations of the adapters. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from active_call.providers.chat import ChatModelCapabilities
from active_call.providers.declaration import ProviderDeclaration
from active_call.providers.realtime_model import RealtimeCapabilities
from active_call.providers.shutdowns import shipped_shutdowns
from active_call.providers.speech_to_text import SpeechToTextCapabilities
from active_call.providers.text_to_speech import TextToSpeechCapabilities
from active_call.providers.usage.prices import ANY, HERE, shipped_prices

TITLES: Final = {
    "asr": "Speech to text (`asr.provider`)",
    "tts": "Text to speech (`tts.provider`)",
    "llm": "Language models (`llm.provider`)",
    "realtime": "Speech-to-speech models (`realtime.provider`)",
}
_HEAD: Final = """# Providers

This page is generated from the declarations of the adapters (`active-call providers --markdown`). `active-call providers` lists which of
them you can use on your machine, and what is missing for the others. A key comes from the option (`secretKey`; `llm.apiKey`), otherwise
from the environment or from `.env` next to the config file. It is sent only to its vendor. Options marked ⏱ trade response time for
something else. To add a provider, install a package with an entry point in the group `active_call.asr`, `.tts`, `.llm` or `.realtime`.
"""


def providers_page(declarations: Sequence[ProviderDeclaration]) -> str:
    """The whole page, in Markdown."""
    parts = [_HEAD]
    for kind, title in TITLES.items():
        of_kind = [one for one in declarations if one.kind == kind]
        parts.append(f"## {title}\n")
        parts.append("| provider | what | features | key |\n|---|---|---|---|")
        parts += [_row(one) for one in of_kind]
        parts.append("")
        parts += [_section(one) for one in of_kind]
    return "\n".join(parts).rstrip() + "\n"


def features_of(declaration: ProviderDeclaration) -> list[str]:
    """Its features, as text."""
    known: tuple[tuple[bool, str], ...]
    match declaration.capabilities:
        case SpeechToTextCapabilities() as can:
            known = (
                (can.partials, "partial texts"),
                (can.words, "word times"),
                (can.turn_events, "turn events"),
                (can.phrases, "expected words"),
                (not can.free_speech, "listed phrases only"),
            )
        case TextToSpeechCapabilities() as can:
            known = ((can.streaming_text, "streamed text"), (can.word_times, "word times"), (can.emotions, "emotions"))
        case ChatModelCapabilities() as can:
            known = ((can.tools, "tools"), (can.json, "JSON"), (can.usage, "token counts"))
        case RealtimeCapabilities() as can:
            known = (
                (can.tools, "tools"),
                (can.transcripts, "transcripts of both sides"),
                (can.truncates, "history without unheard words"),
            )
    return [word for has, word in known if has]


def _row(one: ProviderDeclaration) -> str:
    names = ", ".join(f"`{name}`" for name in one.names)
    keys = (" and " if one.needs_all_keys else " or ").join(f"`{key}`" for key in one.keys) or "none"
    return f"| {names} | {one.title} | {', '.join(features_of(one)) or '–'} | {keys} |"


def _section(one: ProviderDeclaration) -> str:
    lines = [f"### `{one.kind}.provider: {one.name}`\n"]
    facts = [f"{one.transport}", f"[documentation]({one.documentation})"]
    if one.prices:
        facts.append(f"[prices]({one.prices})")
    if one.key_page:
        address, _, where = one.key_page.partition(" ")
        facts.append(f"[keys]({address}){' ' + where if where else ''}")
    if one.base_url:
        facts.append(f"`{one.base_url}`")
    if one.package:
        facts.append(f"`pip install '{one.package}'`")
    lines.append(f"{one.title}: {', '.join(facts)}.{f' {one.notes}' if one.notes else ''}\n")
    if one.options:
        lines.append("| option | meaning | default |\n|---|---|---|")
        lines += [f"| `{o.name}`{' ⏱' if o.is_latency_knob else ''} | {o.meaning} | {o.default or 'by the vendor'} |" for o in one.options]
        lines.append("")
    if ends := _ends(one):
        lines.append(f"**The vendor ends**: {ends}.\n")
    if known := _known_prices(one):
        lines.append(f"[Known prices](cost.md#prices), US dollars: {known}.\n")
    return "\n".join(lines)


def _ends(one: ProviderDeclaration) -> str:
    """Its models that the vendor shuts down, by day and page."""
    rows = [row for row in shipped_shutdowns() if row.kind == one.kind and row.provider in one.names]
    by_day: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        what = "the whole service" if row.model == ANY else f"`{row.model}`"
        by_day.setdefault((row.date.isoformat(), row.replacement, row.source), []).append(what)
    return "; ".join(
        f"{', '.join(models)} on [{day}]({source}){f', recommended instead: {instead}' if instead else ''}"
        for (day, instead, source), models in by_day.items()
    )


def _known_prices(one: ProviderDeclaration) -> str:
    """Its prices in the shipped table, each model with its units."""
    by_model: dict[str, list[str]] = {}
    for row in shipped_prices().rows:
        if row.kind == one.kind and row.provider in one.names and row.source != HERE:
            by_model.setdefault(row.model, []).append(f"{'about ' if row.is_estimate else ''}{row.price:g} per {row.unit}")
    return "; ".join(f"{'all models' if model == ANY else f'`{model}`'} {', '.join(prices)}" for model, prices in by_model.items())
