"""What a playbook's file is trusted with, and that a playbook that came as text is trusted with nothing."""

from __future__ import annotations

from pathlib import Path

from active_call.base.trust import NO_TRUST, Trust
from active_call.call.opening.routing import Playbooks

BOOK = """---
asr: {provider: openai, endpoint: "http://asr.corp:9000/v1", extra: {models: ["http://models.corp/list"]}}
tts: {provider: openai, endpoint: "https://tts.corp/v1"}
llm: {provider: openai, model: m, baseUrl: "http://localhost:11434/v1"}
refer: {moh: "http://nas.corp/moh.wav"}
http: {allow: ["crm.corp:8443", "*.corp", "plain.corp"]}
---
# Scene: main
<play file="http://nas.corp:8000/hello.wav"/>
Ask <http url="http://127.0.0.1:9000/x"/> and never <http url="http://{{ host }}/x"/>.
"""
HOSTS = {
    ("asr.corp", 9000), ("models.corp", 80), ("tts.corp", 443), ("localhost", 11434), ("nas.corp", 80), ("nas.corp", 8000),
    ("127.0.0.1", 9000), ("crm.corp", 8443),
}  # fmt: skip


def test_file_is_trusted_with_its_hosts_and_its_folder(tmp_path: Path) -> None:
    (tmp_path / "main.md").write_text(BOOK, encoding="utf-8")
    books = Playbooks(lambda name: tmp_path / name, {})
    assert books.load("main.md").trust == Trust(frozenset(HOSTS), frozenset({tmp_path}))


def test_text_is_trusted_with_nothing_even_when_the_same_file_was_read_before(tmp_path: Path) -> None:
    (tmp_path / "main.md").write_text(BOOK, encoding="utf-8")
    books = Playbooks(lambda name: tmp_path / name, {})
    books.load("main.md")
    assert books.parse(BOOK).trust is None


def test_one_file_is_not_trusted_with_what_another_names(tmp_path: Path) -> None:
    (tmp_path / "main.md").write_text(BOOK, encoding="utf-8")
    (tmp_path / "books").mkdir()
    (tmp_path / "books/plain.md").write_text("Hello.", encoding="utf-8")
    books = Playbooks(lambda name: tmp_path / name, {})
    books.load("main.md")
    assert books.load("books/plain.md").trust == Trust(NO_TRUST.hosts, frozenset({tmp_path / "books"}))
