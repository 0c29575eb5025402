"""Check a playbook for `playbook check`: tags, templates, scenes, providers, sounds.

In: the text, and what this server has (`PlaybookResources`). Out: all findings by line: mistakes, and warnings about constructs that are
allowed but probably not intended. This module opens no file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping

from msgspec import Struct, field

from active_call.agent.collect.kinds import PLAIN_KINDS
from active_call.agent.playbook.findings import Findings
from active_call.agent.playbook.option_reading import nearest
from active_call.agent.playbook.parser import RawText, Reading, read_playbook
from active_call.agent.playbook.tag_check import Tag, check_tags
from active_call.agent.playbook.templates import find_mistake
from active_call.agent.playbook.value_check import check_values
from active_call.contract.options import NO_RECOGNISER

_HEADING = re.compile(r"^##(?!#)\s*(.*?)\s*#*\s*$")
_ALMOST_SCENE = re.compile(r"^\s{0,3}#{1,6}\s*scenes?\b(?!\s*:)\W*(.*?)\s*$", re.IGNORECASE)
_DEEP_SCENE = re.compile(r"^\s*(?:#{2,6}|\s+#)\s*scene\s*:\s*(.*?)\s*$", re.IGNORECASE)
_FENCE = re.compile(r"^\s*(```|~~~)")


MAX_MENTIONED = 500
"""With more scenes, their names are not looked for in each other's texts."""


class PlaybookResources(Struct, frozen=True):
    """What the server provides that a playbook may refer to."""

    environment: Mapping[str, str] | None
    """None: the author of the text may not read it."""
    providers: Mapping[str, Collection[str]] = field(default_factory=dict)
    """The known providers of `asr`, `tts` and `llm`. A section that is absent is not checked."""
    missing_sound: Callable[[str], str] = lambda _: ""
    """Returns why the sound of a file or URL cannot be played; empty if no reason is known."""
    key_sets: Collection[str] | None = None
    """The names of the key sets in the config file; None: unknown, so not checked."""


def check_playbook(text: str, *, file: str, resources: PlaybookResources) -> Reading:
    """Read `text` and find all mistakes and warnings; see `Reading.findings`."""
    reading = read_playbook(text, file=file, environment=resources.environment)
    findings = reading.findings
    if not reading.matter.lines and text.strip() and not findings.entries:
        findings.warn(1, "there is no front matter: speech, model and greeting use the server's defaults")
    _check_providers(reading, resources, findings)
    _check_keys(reading, resources, findings)
    check_values(reading.playbook, reading.matter.line_of, findings)
    _check_template(reading.playbook.greeting, reading.matter.line_of("greeting"), findings)
    sounds = list(_configured_sounds(reading))
    is_script = reading.playbook.script is not None
    greeting_line = reading.matter.line_of("greeting")
    tags: list[tuple[str, Tag]] = [("", tag) for tag in check_tags(reading.playbook.greeting, greeting_line, findings, is_script=is_script)]
    for raw in reading.texts:
        _check_headings(raw, findings)
        found = check_tags(raw.text, raw.text_line, findings, is_script=is_script)
        tags += [(raw.id, tag) for tag in found]
        for line, unit in _units(raw, is_script=is_script):
            _check_template(unit, line, findings)
    sounds += [(tag.line, tag.attributes["file"]) for _, tag in tags if tag.name == "play" and tag.attributes.get("file")]
    for line, sound in sounds:
        why = "" if "{{" in sound or "{%" in sound else resources.missing_sound(sound)
        if why:
            findings.error(line, f"the sound {sound!r} cannot be played: {why}")
    _check_gotos(reading, tags, findings)
    _check_collects(reading, tags, findings)
    _check_languages(reading, tags, findings)
    _check_reachable(reading, tags, findings)
    return reading


def _check_providers(reading: Reading, resources: PlaybookResources, findings: Findings) -> None:
    option, llm = reading.playbook.option, reading.playbook.llm
    named = {"asr": option.asr.provider if option.asr else None, "tts": option.tts.provider if option.tts else None, "llm": llm.provider}
    for section, provider in named.items():
        if provider is not None and not (section == "llm" and provider == "script"):
            also = {"llm": ("script",), "asr": (NO_RECOGNISER,)}.get(section, ())
            _check_provider(reading, resources, findings, f"{section}.provider", provider, also)
    fallbacks = {
        "asr": option.asr.fallback if option.asr else None,
        "tts": option.tts.fallback if option.tts else None,
        "llm": llm.fallback,
    }
    for section, names in fallbacks.items():
        for name in names or ():
            _check_provider(reading, resources, findings, f"{section}.fallback", name)


def _check_keys(reading: Reading, resources: PlaybookResources, findings: Findings) -> None:
    name, known = reading.playbook.option.keys, resources.key_sets
    if name is not None and known is not None and name not in known:
        names = sorted(known)
        also = f"(the config file has: {', '.join(names) or 'none'})"
        findings.error(reading.matter.line_of("keys"), f"keys: there is no key set {name!r}{nearest(name, names)} {also}")


def _check_provider(
    reading: Reading, resources: PlaybookResources, findings: Findings, key: str, provider: str, also: tuple[str, ...] = ()
) -> None:
    """`also`: names that are valid here without an adapter."""
    known = resources.providers.get(key.partition(".")[0])
    family, _, member = provider.lower().partition("/")
    if known is None or provider.lower() in (*known, *also) or (member and family in known):
        return
    every = sorted({*known, *also})
    suggestion = nearest(provider.lower(), every)
    findings.error(
        reading.matter.line_of(key), f"{key}: unknown provider {provider!r}{suggestion} (known here: {', '.join(every) or 'none'})"
    )


def _configured_sounds(reading: Reading) -> Iterator[tuple[int, str]]:
    option = reading.playbook.option
    if option.ambiance is not None and option.ambiance.path:
        yield reading.matter.line_of("ambiance.path"), option.ambiance.path
    if option.refer is not None and option.refer.moh:
        yield reading.matter.line_of("refer.moh"), option.refer.moh


def _check_template(text: str, first_line: int, findings: Findings) -> None:
    mistake = find_mistake(text)
    if mistake is not None:
        line, reason = mistake
        findings.error(first_line + line - 1, f"the template cannot be filled in: {reason}")


def _check_headings(raw: RawText, findings: Findings) -> None:
    """Report lines that look like scene headings but are not."""
    in_fence = False
    for offset, line in enumerate(raw.text.split("\n")):
        in_fence ^= bool(_FENCE.match(line))
        match = None if in_fence else _ALMOST_SCENE.match(line) or _DEEP_SCENE.match(line)
        if match is not None:
            name = match.group(1).strip(" #") or "NAME"
            findings.error(raw.text_line + offset, f"{line.strip()!r} is not a scene heading; expected `# Scene: {name}`")


def _units(raw: RawText, *, is_script: bool) -> Iterator[tuple[int, str]]:
    """The separately rendered parts of a text, each with its first line. In a script each answer is one."""
    if not is_script:
        yield raw.text_line, raw.text
        return
    first = raw.text_line
    lines: list[str] = []
    for offset, line in enumerate(raw.text.split("\n")):
        if _HEADING.match(line):
            yield first, "\n".join(lines)
            first, lines = raw.text_line + offset + 1, []
        else:
            lines.append(line)
    yield first, "\n".join(lines)


def _check_gotos(reading: Reading, tags: list[tuple[str, Tag]], findings: Findings) -> None:
    known = dict.fromkeys(scene.id for scene in reading.playbook.scenes)
    for _, tag in tags:
        if findings.has_enough_errors:
            return
        scene = tag.attributes.get("scene", "")
        if tag.name == "goto" and scene and "{{" not in scene and scene not in known:
            findings.error(tag.line, f"goto: there is no scene {scene!r}{nearest(scene, known)}")


def _check_collects(reading: Reading, tags: list[tuple[str, Tag]], findings: Findings) -> None:
    known = list(reading.playbook.dtmf_collectors)
    for _, tag in tags:
        if findings.has_enough_errors:
            return
        kind = tag.attributes.get("type", "") if tag.name == "collect" else ""
        if kind and "{{" not in kind and kind not in known and kind.lower() not in PLAIN_KINDS:
            also = f"known: {', '.join((*known, *PLAIN_KINDS))}"
            findings.error(tag.line, f"collect: there is no collector {kind!r}{nearest(kind, known)} ({also})")


def _check_languages(reading: Reading, tags: list[tuple[str, Tag]], findings: Findings) -> None:
    known = {code.lower().partition("-")[0] for code in reading.playbook.languages}
    for _, tag in tags:
        code = tag.attributes.get("code", "") if tag.name == "language" else ""
        if code and "{{" not in code and code.lower().partition("-")[0] not in known:
            findings.error(tag.line, f"language: {code!r} is not in `languages` of the front matter")


def _check_reachable(reading: Reading, tags: list[tuple[str, Tag]], findings: Findings) -> None:
    """Report unreachable scenes: no tag and no digit leads to them, and the texts for the model do not name them."""
    book = reading.playbook
    leads: dict[str, set[str]] = {scene.id: {action.scene for action in scene.dtmf.values() if action.scene} for scene in book.scenes}
    everywhere = {action.scene for action in book.dtmf.values() if action.scene}
    for scene_id, tag in tags:
        target = tag.attributes.get("scene", "") if tag.name == "goto" else ""
        if "{{" in target:
            return  # the target is decided during the call
        (leads.setdefault(scene_id, set()) if scene_id else everywhere).add(target)
    if book.script is None:
        if len(book.scenes) > MAX_MENTIONED:
            return
        _add_mentions(reading, leads, everywhere)
    reached = _closure(book.start.id, leads, everywhere)
    for scene in book.scenes:
        if scene.id not in reached:
            findings.warn(scene.line, f"nothing leads to the scene {scene.id!r}")


def _add_mentions(reading: Reading, leads: dict[str, set[str]], everywhere: set[str]) -> None:
    """Add the scenes that the model's texts name, because the model may go there."""
    general = f"{reading.playbook.llm.prompt}\n{reading.playbook.llm.tool_instructions or ''}"
    names = [scene.id for scene in reading.playbook.scenes if scene.id]
    everywhere |= {name for name in names if mentions(general, name)}
    for raw in reading.texts:
        mentioned = {name for name in names if name != raw.id and mentions(raw.text, name)}
        if raw.id:
            leads.setdefault(raw.id, set()).update(mentioned)
        else:
            everywhere |= mentioned


def mentions(text: str, name: str) -> bool:
    """Whether a text names a scene, so that a model that reads it may go there."""
    if name.lower() not in text.lower():
        return False
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None


def _closure(start: str, leads: Mapping[str, set[str]], everywhere: set[str]) -> set[str]:
    reached: set[str] = set()
    waiting = [start, *everywhere]
    while waiting:
        scene = waiting.pop()
        if scene not in reached:
            reached.add(scene)
            waiting.extend(leads.get(scene, ()))
    return reached
