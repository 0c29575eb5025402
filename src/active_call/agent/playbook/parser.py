"""Read a playbook: Markdown with YAML front matter (protocol §8).

In: the file's text and the environment. Out: a `Playbook`, or a PlaybookError with the line and, for a misspelt key, the most similar known
one. This module opens no files. Templates are interpreted when they are rendered.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from active_call.agent.features import FEATURES
from active_call.agent.markup import TAG_BODY, line_at, parse_attributes
from active_call.agent.playbook.findings import Findings
from active_call.agent.playbook.front_matter import FrontMatter, read_front_matter, snake
from active_call.agent.playbook.option_reading import kind_of, nearest, read_group, refuse_unknown_keys
from active_call.agent.playbook.scenes import (
    DtmfAction,
    FollowupOption,
    HttpOption,
    InterruptionOption,
    LlmOption,
    Playbook,
    PosthookOption,
    Scene,
)
from active_call.agent.playbook.tool_sections import ToolSections
from active_call.agent.playbook.urls import urls_in
from active_call.agent.script import Entries, Script, split_script
from active_call.contract import wire
from active_call.contract.options import CallOption

T = TypeVar("T")

THINKING = ("auto", "prefilled")
STRATEGIES = ("none", "vad", "asr", "both")
DTMF_ACTIONS = ("goto", "transfer", "hangup")
DTMF_KEYS = ("action", "scene", "target", "to")
MAX_FOLLOWUPS = 100
"""How many `<followup/>` of a scene are read, of which the last one counts."""
MAX_KEYS = 200
"""Keys of the front matter on the first level; there are about 60 known ones."""

_OPTION_KEYS = tuple(f.name for f in msgspec.structs.fields(CallOption) if f.name not in ("caller", "callee", "offer"))
_OPTION_GROUPS = frozenset(f.name for f in msgspec.structs.fields(CallOption) if wire.struct_in(f.type) is not None)
_AGENT_KEYS = (
    "greeting",
    "llm",
    "interruption",
    "followup",
    "dtmf",
    "dtmf_collectors",
    "posthook",
    "bye_headers",
    "http",
    "tools",
    "mcp",
    "knowledge",
    "languages",
)
_SCENE = re.compile(r"^#\s*scene\s*:\s*(.*?)\s*#*\s*$", re.IGNORECASE)
_FENCE = re.compile(r"^\s*(```|~~~)")
_DTMF_TAG = re.compile(rf"<dtmf\b({TAG_BODY})>", re.IGNORECASE)
_FOLLOWUP_TAG = re.compile(rf"<followup\b({TAG_BODY})>", re.IGNORECASE)
_PLAY_TAG = re.compile(rf"<play\b({TAG_BODY})>", re.IGNORECASE)
_GOTO_TAG = re.compile(rf"<goto\b({TAG_BODY})>", re.IGNORECASE)


def parse_playbook(text: str, *, file: str, environment: Mapping[str, str] | None, is_file: bool = True) -> Playbook:
    """Read the playbook `text`. `file`: its name in errors. Raises PlaybookError for the first mistake.

    `environment`: values for `${VAR}`; None if the text may not read it, because its author is not the operator.

    `is_file`: it is a file of the operator. A text received over HTTP may not start programs or read folders.
    """
    reading = read_playbook(text, file=file, environment=environment, is_file=is_file)
    error = reading.findings.first_error
    if error is not None:
        raise error
    return replace(reading.playbook, warnings=reading.findings.warnings, source=text)


def read_playbook(text: str, *, file: str, environment: Mapping[str, str] | None, is_file: bool = True) -> Reading:
    """Read the playbook `text` completely and collect mistakes. Raises nothing."""
    findings = Findings(file)
    head, body, body_line = _part(text.removeprefix("\ufeff").replace("\r\n", "\n"), findings)
    matter = read_front_matter(head, first_line=2, environment=environment, findings=findings)
    if not body.strip() and not matter.data and not findings.entries:
        findings.error(0, "the playbook is empty")
    return _Parser(file, matter, findings, is_file=is_file).read(body, body_line)


def _part(text: str, findings: Findings) -> tuple[str, str, int]:
    """Front matter, body, and the body's first line number."""
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        return "", text, 1
    for index in range(1, len(lines)):
        if lines[index].rstrip() in ("---", "..."):
            return "\n".join(lines[1:index]), "\n".join(lines[index + 1 :]), index + 2
    findings.error(1, "the front matter that begins here has no closing line `---`")
    return "", "", len(lines)


class Reading(Struct, frozen=True):
    """A playbook as read, with all findings. `texts` are its parts as written in the file."""

    playbook: Playbook
    findings: Findings
    texts: tuple[RawText, ...]
    matter: FrontMatter


@dataclass(slots=True)
class RawText:
    """A scene as written in the file. The text before the first scene has an empty `id`."""

    id: str
    line: int
    """The line of its heading."""
    text_line: int
    """The line after the heading."""
    text: str


class _Parser:
    """Reads one file once."""

    def __init__(self, file: str, matter: FrontMatter, findings: Findings, *, is_file: bool) -> None:
        self._file = file
        self._is_file = is_file
        self._matter = matter
        self._findings = findings
        self._data = self._known_keys()

    def read(self, body: str, body_line: int) -> Reading:
        """Read the whole file."""
        prompt, raw_scenes = self._split_scenes(_blank_comments(body), body_line)
        known = dict.fromkeys(scene.id for scene in raw_scenes)
        llm = self._llm()
        option = self._call_option()
        scenes, script = self._scenes(prompt, body_line, raw_scenes, is_script=llm.provider == "script")
        sections = ToolSections(self._data, self._line_of, self._findings, self._is_file)
        book = Playbook(
            file=self._file,
            scenes=scenes,
            option=option,
            prompt="" if script else prompt.strip(),
            greeting=self._text("greeting") or llm.greeting,
            llm=llm,
            interruption=self._interruption(),
            followup=self._group("followup", FollowupOption),
            dtmf=self._global_dtmf(known),
            dtmf_collectors=sections.collectors(self._mapping("dtmf_collectors")),
            posthook=self._group("posthook", PosthookOption),
            http=self._group("http", HttpOption) or HttpOption(),
            tools=sections.tools(llm),
            mcp=sections.mcp(llm),
            knowledge=sections.knowledge(),
            languages=sections.languages(),
            urls=urls_in((_blank_comments(body), llm.prompt, self._text("greeting"), llm.greeting)),
            hangup_headers=self._hangup_headers(option),
            script=script,
        )
        before = RawText("", body_line, body_line, prompt)
        return Reading(book, self._findings, (before, *raw_scenes) if prompt.strip() else tuple(raw_scenes), self._matter)

    # -- front matter --------------------------------------------------------------------------------------------------------------------

    def _known_keys(self) -> dict[str, Any]:
        known = (*_OPTION_KEYS, *_AGENT_KEYS)
        data: dict[str, Any] = {}
        if len(self._matter.data) > MAX_KEYS:
            self._findings.error(1, f"the front matter has {len(self._matter.data)} keys; expected at most {MAX_KEYS}")
        for key, value in islice(self._matter.data.items(), MAX_KEYS):
            name = {"follow_up": "followup"}.get(snake(str(key)), snake(str(key)))
            if name not in known:
                self._findings.error(self._matter.line_of(str(key)), f"unknown key {key!r}{nearest(name, known)}")
                continue
            data[name] = value
        return data

    def _group(self, key: str, cls: type[T], data: Any = None, path: str = "") -> T | None:
        data = self._data.get(key) if data is None else data
        if data is None:
            return None
        path = path or key
        if not isinstance(data, dict):
            self._error(path, f"{path}: expected `key: value` lines, found {kind_of(data)}")
            return None
        return read_group(data, cls, path, self._line_of, self._findings)

    def _line_of(self, path: str) -> int:
        """The line of a dotted path. `followUp` is an alias of `followup`."""
        is_other = path.startswith("followup") and not self._has("followup")
        return self._matter.line_of("follow_up" + path[8:] if is_other else path)

    def _call_option(self) -> CallOption:
        data = {key: self._data[key] for key in _OPTION_KEYS if key in self._data}
        if isinstance(data.get("sip"), dict):  # `bye_headers` is a separate field of `Playbook`
            data["sip"] = {key: value for key, value in data["sip"].items() if snake(str(key)) != "bye_headers"}
        if data.get("extra") is None:
            data.pop("extra", None)
        for key in [key for key in data if key in _OPTION_GROUPS and not isinstance(data[key], dict | None)]:
            such = f"; write `{key}: {{provider: {data[key]}}}`" if key in ("asr", "tts") and isinstance(data[key], str) else ""
            self._error(key, f"{key}: expected `key: value` lines, found {kind_of(data.pop(key))}{such}")
        return read_group(data, CallOption, "", self._line_of, self._findings) or CallOption()

    def _llm(self) -> LlmOption:
        found = self._group("llm", LlmOption) or LlmOption()
        for feature in found.features:
            if feature not in FEATURES:
                place = self._matter.line_of("llm.features")
                self._findings.warn(
                    place, f"llm.features: unknown {feature!r}{nearest(feature, FEATURES, as_written=True)} (known: {', '.join(FEATURES)})"
                )
        if found.thinking is not None and found.thinking not in THINKING:
            reason = f"unknown value {found.thinking!r}{nearest(found.thinking, THINKING)} (known: {', '.join(THINKING)})"
            self._error("llm.thinking", f"llm.thinking: {reason}")
        return found

    def _interruption(self) -> InterruptionOption:
        found = self._group("interruption", InterruptionOption) or InterruptionOption()
        if found.resume_at not in ("sample", "word"):
            self._error("interruption.resumeAt", f"interruption.resumeAt: unknown value {found.resume_at!r} (known: sample, word)")
        if found.strategy not in STRATEGIES:
            reason = f"unknown strategy {found.strategy!r}{nearest(found.strategy, STRATEGIES)} (known: {', '.join(STRATEGIES)})"
            self._error("interruption.strategy", f"interruption.strategy: {reason}")
        return found

    def _global_dtmf(self, scenes: Collection[str]) -> dict[str, DtmfAction]:
        actions: dict[str, DtmfAction] = {}
        for digit, entry in self._mapping("dtmf").items():
            path = f"dtmf.{digit}"
            if not isinstance(entry, dict):
                self._error(path, f"{path}: expected {{action: …}}, found {kind_of(entry)}")
                continue
            refuse_unknown_keys(entry, DTMF_KEYS, path, self._matter.line_of(path), self._findings)
            attributes = {snake(str(key)): "" if value is None else str(value) for key, value in entry.items()}
            action = self._dtmf_action({**attributes, "digit": str(digit)}, self._matter.line_of(path), scenes)
            if action is not None:
                actions[str(digit).upper()] = action
        return actions

    def _hangup_headers(self, option: CallOption) -> dict[str, str]:
        headers = dict(option.sip.hangup_headers) if option.sip else {}
        sip = self._data.get("sip")
        places: list[tuple[str, Any]] = [("bye_headers", self._data.get("bye_headers"))]
        if isinstance(sip, dict):
            places += [("sip.bye_headers", value) for key, value in sip.items() if snake(str(key)) == "bye_headers"]
        for place, entries in places:
            if entries is not None and not isinstance(entries, list):
                self._error(place, f"{place}: expected a list of {{name, value}}")
                continue
            for entry in entries or ():
                if not isinstance(entry, dict) or "name" not in entry:
                    self._error(place, f"{place}: expected a list of {{name, value}}")
                    continue
                refuse_unknown_keys(entry, ("name", "value"), place, self._matter.line_of(place), self._findings)
                headers[str(entry["name"])] = str(entry.get("value", ""))
        return headers

    def _mapping(self, key: str) -> dict[Any, Any]:
        data = self._data.get(key)
        if data is not None and not isinstance(data, dict):
            self._error(key, f"{key}: expected `key: value` lines, found {kind_of(data)}")
            return {}
        return data or {}

    def _text(self, key: str) -> str:
        value = self._data.get(key)
        if isinstance(value, (dict, list)):
            self._error(key, f"{key}: expected text")
            return ""
        return "" if value is None else str(value)

    def _has(self, key: str) -> bool:
        return any(str(name) == key for name in self._matter.data)

    def _error(self, path: str, reason: str) -> None:
        self._findings.error(self._matter.line_of(path), reason)

    # -- body ----------------------------------------------------------------------------------------------------------------------------

    def _split_scenes(self, body: str, body_line: int) -> tuple[str, list[RawText]]:
        """The text before the first scene, and the scenes. A body without scene headings is one scene `main`."""
        before: list[str] = []
        scenes: list[tuple[RawText, list[str]]] = []
        lines_of: dict[str, int] = {}
        in_fence = False
        for offset, line in enumerate(body.split("\n")):
            in_fence ^= bool(_FENCE.match(line))
            heading = None if in_fence else _SCENE.match(line)
            if heading is None:
                (scenes[-1][1] if scenes else before).append(line)
                continue
            here = body_line + offset
            scene_id = heading.group(1)
            if not scene_id:
                self._findings.error(here, "`# Scene:` must be followed by the scene's name")
            elif (earlier := lines_of.setdefault(scene_id, here)) != here:
                self._findings.error(here, f"the scene {scene_id!r} is given twice (first in line {earlier})")
            scenes.append((RawText(scene_id, here, here + 1, ""), []))
        if not scenes:
            return "", [RawText("main", body_line, body_line, "\n".join(before))]
        for scene, lines in scenes:
            scene.text = "\n".join(lines)
        return "\n".join(before), [scene for scene, _ in scenes]

    def _scenes(
        self, prompt: str, prompt_line: int, raw_scenes: list[RawText], *, is_script: bool
    ) -> tuple[tuple[Scene, ...], Script | None]:
        known = dict.fromkeys(scene.id for scene in raw_scenes)
        scenes: list[Scene] = []
        entries: dict[str, Entries] = {}
        for raw in raw_scenes:
            dtmf = self._scene_dtmf(raw, known)
            followup = self._scene_followup(raw)
            text = _FOLLOWUP_TAG.sub(_keep_newlines, _DTMF_TAG.sub(_keep_newlines, raw.text))
            if is_script:
                self._check_gotos(text, raw.text_line, known)
                text, entries[raw.id] = split_script(text, first_line=raw.text_line, findings=self._findings)
                scenes.append(Scene(raw.id, raw.line, text, dtmf, followup=followup))
            else:
                files = tuple(self._play_files(text, raw.text_line))
                scenes.append(Scene(raw.id, raw.line, _PLAY_TAG.sub("", text).strip(), dtmf, files, followup))
        if not is_script:
            return tuple(scenes), None
        self._check_gotos(prompt, prompt_line, known)
        _, common = split_script(prompt, first_line=prompt_line, findings=self._findings)
        return tuple(scenes), Script(entries, common)

    def _scene_followup(self, raw: RawText) -> FollowupOption | None:
        """The last `<followup timeout max/>` of a scene."""
        found: FollowupOption | None = None
        for match in list(_FOLLOWUP_TAG.finditer(raw.text))[-MAX_FOLLOWUPS:]:
            line = line_at(raw.text, match.start(), raw.text_line)
            attributes = {"max_count" if name == "maxcount" else name: value for name, value in parse_attributes(match.group(1)).items()}
            found = read_group(attributes, FollowupOption, "<followup>", lambda _, line=line: line, self._findings)  # type: ignore[misc]
        return found

    def _scene_dtmf(self, raw: RawText, known: Collection[str]) -> dict[str, DtmfAction]:
        actions: dict[str, DtmfAction] = {}
        for match in _DTMF_TAG.finditer(raw.text):
            line = line_at(raw.text, match.start(), raw.text_line)
            attributes = parse_attributes(match.group(1))
            action = self._dtmf_action(attributes, line, known)
            digit = attributes.get("digit", "").upper()
            if digit in actions:
                self._findings.error(line, f"the digit {digit!r} is given twice in the scene {raw.id!r}")
            if action is not None:
                actions[digit] = action
        return actions

    def _dtmf_action(self, attributes: Mapping[str, str], line: int, scenes: Collection[str]) -> DtmfAction | None:
        digit, action = attributes.get("digit", ""), attributes.get("action", "")
        target = attributes.get("target") or attributes.get("to", "")
        if not re.fullmatch(r"[0-9*#A-Da-d]", digit):
            self._findings.error(line, f"dtmf: {digit!r} is not a digit (0-9, *, #, A-D)")
            return None
        if action not in DTMF_ACTIONS:
            reason = f"dtmf: unknown action {action!r}{nearest(action, DTMF_ACTIONS)} (known: {', '.join(DTMF_ACTIONS)})"
            self._findings.error(line, reason)
            return None
        if action == "goto":
            scene = attributes.get("scene", "")
            self._check_scene(scene, "dtmf: the action goto needs a `scene`", line, scenes)
        if action == "transfer" and not target:
            self._findings.error(line, "dtmf: a transfer needs a `target`")
        return DtmfAction(action, attributes.get("scene", ""), target)

    def _play_files(self, text: str, first_line: int) -> Iterable[str]:
        for match in _PLAY_TAG.finditer(text):
            file = parse_attributes(match.group(1)).get("file", "")
            if not file:
                self._findings.error(line_at(text, match.start(), first_line), "play: `file` is missing")
                continue
            yield file

    def _check_gotos(self, text: str, first_line: int, scenes: Collection[str]) -> None:
        for match in _GOTO_TAG.finditer(text):
            if self._findings.has_enough_errors:
                return
            scene = parse_attributes(match.group(1)).get("scene", "")
            if "{{" not in scene:
                self._check_scene(scene, "<goto>: 'scene' is missing", line_at(text, match.start(), first_line), scenes)

    def _check_scene(self, scene: str, if_missing: str, line: int, scenes: Collection[str]) -> None:
        if not scene:
            self._findings.error(line, if_missing)
        elif scene not in scenes:
            self._findings.error(line, f"goto: there is no scene {scene!r}{nearest(scene, scenes)}")


def _blank_comments(body: str) -> str:
    """The text without HTML comments. Their line breaks are kept, so that line numbers stay correct."""
    parts, position = [], 0
    while (start := body.find("<!--", position)) >= 0 and (end := body.find("-->", start + 4)) >= 0:
        parts += [body[position:start], "\n" * body.count("\n", start, end)]
        position = end + 3
    return "".join([*parts, body[position:]])


def _keep_newlines(match: re.Match[str]) -> str:
    return "\n" * match.group(0).count("\n")
