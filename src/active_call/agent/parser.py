"""Reads a playbook: Markdown with YAML front matter (protocol §8).

In: the file's text and the environment. Out: a `Playbook`, or a PlaybookError that names the line and, for a misspelt key, the nearest
known one. It must not open files, and what a template means is decided when it is rendered.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from active_call.agent.front_matter import FrontMatter, read_front_matter, snake
from active_call.agent.markup import TAG_BODY, line_at, parse_attributes
from active_call.agent.playbook import (
    CollectorOption,
    DtmfAction,
    FollowupOption,
    InterruptionOption,
    LlmOption,
    Playbook,
    PosthookOption,
    Scene,
)
from active_call.agent.script import Entries, Script, split_script
from active_call.base.errors import PlaybookError
from active_call.contract import wire
from active_call.contract.options import CallOption

T = TypeVar("T")

THINKING = ("auto", "prefilled")
STRATEGIES = ("none", "vad", "asr", "both")
DTMF_ACTIONS = ("goto", "transfer", "hangup")

_OPTION_KEYS = tuple(f.name for f in msgspec.structs.fields(CallOption) if f.name not in ("caller", "callee", "offer"))
_AGENT_KEYS = ("greeting", "llm", "interruption", "followup", "dtmf", "dtmf_collectors", "posthook", "bye_headers")
_SCENE = re.compile(r"^#\s*scene\s*:\s*(.*?)\s*#*\s*$", re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_FENCE = re.compile(r"^\s*(```|~~~)")
_DTMF_TAG = re.compile(rf"<dtmf\b({TAG_BODY})>", re.IGNORECASE)
_PLAY_TAG = re.compile(rf"<play\b({TAG_BODY})>", re.IGNORECASE)
_GOTO_TAG = re.compile(rf"<goto\b({TAG_BODY})>", re.IGNORECASE)


def parse_playbook(text: str, *, file: str, environment: Mapping[str, str]) -> Playbook:
    """Read the playbook `text`; `file` is its name in errors, `environment` fills in `${VAR}`. Raises PlaybookError."""
    head, body, body_line = _part(text.removeprefix("\ufeff").replace("\r\n", "\n"), file)
    matter = read_front_matter(head, file=file, first_line=2, environment=environment)
    if not body.strip() and not matter.data:
        raise PlaybookError(file, 0, "the playbook is empty")
    return _Parser(file, matter).read(body, body_line)


def _part(text: str, file: str) -> tuple[str, str, int]:
    """Front matter, body, and the body's first line number."""
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        return "", text, 1
    for index in range(1, len(lines)):
        if lines[index].rstrip() in ("---", "..."):
            return "\n".join(lines[1:index]), "\n".join(lines[index + 1 :]), index + 2
    raise PlaybookError(file, 1, "the front matter that begins here is never closed by a line `---`")


@dataclass(slots=True)
class _RawScene:
    """A scene as it stands in the file: `line` of its heading, `text_line` of the first line under it."""

    id: str
    line: int
    text_line: int
    text: str


class _Parser:
    """One reading of one file."""

    def __init__(self, file: str, matter: FrontMatter) -> None:
        self._file = file
        self._matter = matter
        self._data = self._known_keys()

    def read(self, body: str, body_line: int) -> Playbook:
        prompt, raw_scenes = self._split_scenes(_blank_comments(body), body_line)
        known = [scene.id for scene in raw_scenes]
        llm = self._llm()
        option = self._call_option()
        scenes, script = self._scenes(prompt, body_line, raw_scenes, is_script=llm.provider == "script")
        return Playbook(
            file=self._file,
            scenes=scenes,
            option=option,
            prompt="" if script else prompt.strip(),
            greeting=self._text("greeting") or llm.greeting,
            llm=llm,
            interruption=self._interruption(),
            followup=self._group("followup", FollowupOption),
            dtmf=self._global_dtmf(known),
            dtmf_collectors=self._collectors(),
            posthook=self._group("posthook", PosthookOption),
            hangup_headers=self._hangup_headers(option),
            script=script,
        )

    # -- front matter --------------------------------------------------------------------------------------------------------------------

    def _known_keys(self) -> dict[str, Any]:
        known = (*_OPTION_KEYS, *_AGENT_KEYS)
        data: dict[str, Any] = {}
        for key, value in self._matter.data.items():
            name = {"follow_up": "followup"}.get(snake(str(key)), snake(str(key)))
            if name not in known:
                raise self._error(str(key), f"unknown key {key!r}{_nearest(name, known)}")
            data[name] = value
        return data

    def _group(self, key: str, cls: type[T], data: Any = None, path: str = "") -> T | None:
        data = self._data.get(key) if data is None else data
        if data is None:
            return None
        path = path or key
        if not isinstance(data, dict):
            raise self._error(path, f"{path}: expected `key: value` lines, found {type(data).__name__}")
        try:
            return wire.convert(data, cls, path=path, strict=True).value
        except wire.ContractError as error:
            place = "follow_up" + error.path[8:] if error.path.startswith("followup") and not self._has("followup") else error.path
            raise self._error(place, str(error)) from error

    def _call_option(self) -> CallOption:
        data = {key: self._data[key] for key in _OPTION_KEYS if key in self._data}
        if isinstance(data.get("sip"), dict):  # `bye_headers` has a place of its own in `Playbook`
            data["sip"] = {key: value for key, value in data["sip"].items() if snake(str(key)) != "bye_headers"}
        if data.get("extra") is None:
            data.pop("extra", None)
        try:
            return wire.convert(data, CallOption, strict=True).value
        except wire.ContractError as error:
            raise self._error(error.path, str(error)) from error

    def _llm(self) -> LlmOption:
        found = self._group("llm", LlmOption) or LlmOption()
        if found.thinking is not None and found.thinking not in THINKING:
            reason = f"unknown way {found.thinking!r}{_nearest(found.thinking, THINKING)} (known: {', '.join(THINKING)})"
            raise self._error("llm.thinking", f"llm.thinking: {reason}")
        return found

    def _interruption(self) -> InterruptionOption:
        found = self._group("interruption", InterruptionOption) or InterruptionOption()
        if found.strategy not in STRATEGIES:
            reason = f"unknown strategy {found.strategy!r}{_nearest(found.strategy, STRATEGIES)} (known: {', '.join(STRATEGIES)})"
            raise self._error("interruption.strategy", f"interruption.strategy: {reason}")
        return found

    def _global_dtmf(self, scenes: list[str]) -> dict[str, DtmfAction]:
        actions: dict[str, DtmfAction] = {}
        for digit, entry in self._mapping("dtmf").items():
            path = f"dtmf.{digit}"
            if not isinstance(entry, dict):
                raise self._error(path, f"{path}: expected {{action: …}}, found {type(entry).__name__}")
            attributes = {snake(str(key)): "" if value is None else str(value) for key, value in entry.items()}
            actions[str(digit).upper()] = self._dtmf_action({**attributes, "digit": str(digit)}, self._matter.line_of(path), scenes)
        return actions

    def _collectors(self) -> dict[str, CollectorOption]:
        collectors: dict[str, CollectorOption] = {}
        for name, entry in self._mapping("dtmf_collectors").items():
            collector = self._group("", CollectorOption, entry or {}, f"dtmf_collectors.{name}")
            if collector is not None:
                collectors[str(name)] = collector
        return collectors

    def _hangup_headers(self, option: CallOption) -> dict[str, str]:
        headers = dict(option.sip.hangup_headers) if option.sip else {}
        sip = self._data.get("sip")
        places: list[tuple[str, Any]] = [("bye_headers", self._data.get("bye_headers"))]
        if isinstance(sip, dict):
            places += [("sip.bye_headers", value) for key, value in sip.items() if snake(str(key)) == "bye_headers"]
        for place, entries in places:
            if entries is not None and not isinstance(entries, list):
                raise self._error(place, f"{place}: expected a list of {{name, value}}")
            for entry in entries or ():
                if not isinstance(entry, dict) or "name" not in entry:
                    raise self._error(place, f"{place}: expected a list of {{name, value}}")
                headers[str(entry["name"])] = str(entry.get("value", ""))
        return headers

    def _mapping(self, key: str) -> dict[Any, Any]:
        data = self._data.get(key)
        if data is not None and not isinstance(data, dict):
            raise self._error(key, f"{key}: expected `key: value` lines, found {type(data).__name__}")
        return data or {}

    def _text(self, key: str) -> str:
        value = self._data.get(key)
        if isinstance(value, (dict, list)):
            raise self._error(key, f"{key}: expected text")
        return "" if value is None else str(value)

    def _has(self, key: str) -> bool:
        return any(str(name) == key for name in self._matter.data)

    def _error(self, path: str, reason: str) -> PlaybookError:
        return PlaybookError(self._file, self._matter.line_of(path), reason)

    # -- body ----------------------------------------------------------------------------------------------------------------------------

    def _split_scenes(self, body: str, body_line: int) -> tuple[str, list[_RawScene]]:
        """The text before the first scene, and the scenes; a body without a scene heading is the one scene `main`."""
        before: list[str] = []
        scenes: list[tuple[_RawScene, list[str]]] = []
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
                raise PlaybookError(self._file, here, "`# Scene:` must be followed by the scene's name")
            for earlier, _ in scenes:
                if earlier.id == scene_id:
                    raise PlaybookError(self._file, here, f"the scene {scene_id!r} is given twice (first in line {earlier.line})")
            scenes.append((_RawScene(scene_id, here, here + 1, ""), []))
        if not scenes:
            return "", [_RawScene("main", body_line, body_line, "\n".join(before))]
        for scene, lines in scenes:
            scene.text = "\n".join(lines)
        return "\n".join(before), [scene for scene, _ in scenes]

    def _scenes(
        self, prompt: str, prompt_line: int, raw_scenes: list[_RawScene], *, is_script: bool
    ) -> tuple[tuple[Scene, ...], Script | None]:
        known = [scene.id for scene in raw_scenes]
        scenes: list[Scene] = []
        entries: dict[str, Entries] = {}
        for raw in raw_scenes:
            dtmf = self._scene_dtmf(raw, known)
            text = _DTMF_TAG.sub(_keep_newlines, raw.text)
            if is_script:
                self._check_gotos(text, raw.text_line, known)
                text, entries[raw.id] = split_script(text, file=self._file, first_line=raw.text_line)
                scenes.append(Scene(raw.id, raw.line, text, dtmf))
            else:
                files = tuple(self._play_files(text, raw.text_line))
                scenes.append(Scene(raw.id, raw.line, _PLAY_TAG.sub("", text).strip(), dtmf, files))
        if not is_script:
            return tuple(scenes), None
        self._check_gotos(prompt, prompt_line, known)
        _, common = split_script(prompt, file=self._file, first_line=prompt_line)
        return tuple(scenes), Script(entries, common)

    def _scene_dtmf(self, raw: _RawScene, known: list[str]) -> dict[str, DtmfAction]:
        actions: dict[str, DtmfAction] = {}
        for match in _DTMF_TAG.finditer(raw.text):
            line = line_at(raw.text, match.start(), raw.text_line)
            attributes = parse_attributes(match.group(1))
            action = self._dtmf_action(attributes, line, known)
            digit = attributes["digit"].upper()
            if digit in actions:
                raise PlaybookError(self._file, line, f"the digit {digit!r} is given twice in the scene {raw.id!r}")
            actions[digit] = action
        return actions

    def _dtmf_action(self, attributes: Mapping[str, str], line: int, scenes: list[str]) -> DtmfAction:
        digit, action = attributes.get("digit", ""), attributes.get("action", "")
        target = attributes.get("target") or attributes.get("to", "")
        if not re.fullmatch(r"[0-9*#A-Da-d]", digit):
            raise PlaybookError(self._file, line, f"dtmf: {digit!r} is not a digit (0-9, *, #, A-D)")
        if action not in DTMF_ACTIONS:
            reason = f"dtmf: unknown action {action!r}{_nearest(action, DTMF_ACTIONS)} (known: {', '.join(DTMF_ACTIONS)})"
            raise PlaybookError(self._file, line, reason)
        if action == "goto":
            self._check_scene(attributes.get("scene", ""), line, scenes)
        if action == "transfer" and not target:
            raise PlaybookError(self._file, line, "dtmf: a transfer needs a `target`")
        return DtmfAction(action, attributes.get("scene", ""), target)

    def _play_files(self, text: str, first_line: int) -> Iterable[str]:
        for match in _PLAY_TAG.finditer(text):
            file = parse_attributes(match.group(1)).get("file", "")
            if not file:
                raise PlaybookError(self._file, line_at(text, match.start(), first_line), "play: `file` is missing")
            yield file

    def _check_gotos(self, text: str, first_line: int, scenes: list[str]) -> None:
        for match in _GOTO_TAG.finditer(text):
            scene = parse_attributes(match.group(1)).get("scene", "")
            if "{{" not in scene:
                self._check_scene(scene, line_at(text, match.start(), first_line), scenes)

    def _check_scene(self, scene: str, line: int, scenes: list[str]) -> None:
        if scene not in scenes:
            raise PlaybookError(self._file, line, f"goto: there is no scene {scene!r}{_nearest(scene, scenes)}")


def _blank_comments(body: str) -> str:
    """HTML comments are for the author; the lines they took are kept so that numbers stay right."""
    return _COMMENT.sub(_keep_newlines, body)


def _keep_newlines(match: re.Match[str]) -> str:
    return "\n" * match.group(0).count("\n")


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(snake(name) if "_" in name else name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {_camel(close[0])!r}?" if close else ""


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)
