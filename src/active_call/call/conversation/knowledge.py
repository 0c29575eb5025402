"""Searches in a playbook's knowledge folder for one call's agent: as a tool of the model, and as context for its prompt.

A query in the model's or the caller's words enters; passages leave as text. Only an operator's playbook file can name a folder. If a search
is late or fails, the model is asked without the passages.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from msgspec import Struct

from active_call.agent.playbook.scenes import KnowledgeOption, Playbook
from active_call.agent.reply.replies import SEARCH
from active_call.agent.tools.registry import Tool
from active_call.base.errors import ActiveCallError
from active_call.call.log import CallLog
from active_call.store.knowledge.library import KnowledgeLibrary, as_text

NAME: Final = SEARCH
CONTEXT_S: Final = 0.3
"""How long a reply waits for context."""
ABOUT: Final = "Looks up facts in the documents of this service. Use it before you state a fact that you were not told."
NOTHING: Final = "nothing was found"


class CallKnowledge(Struct, frozen=True):
    """The knowledge of one call."""

    option: KnowledgeOption
    folder: Path
    library: KnowledgeLibrary
    log: CallLog

    @property
    def tool(self) -> Tool:
        """The text for the model."""
        about = self.option.description or ABOUT
        query = {"type": "string", "description": "Some telling words."}
        return Tool(NAME, about, {"type": "object", "properties": {"query": query}, "required": ["query"]}, timeout_s=10.0)

    async def search(self, query: str) -> str:
        """The passages for `query`, or a text that says that there are none. Raises KnowledgeError."""
        found = await self.library.search(self.folder, query, self.option.results)
        return as_text(found, self.option.max_chars) or NOTHING

    async def context(self, query: str) -> str:
        """Passages for a prompt; empty if there are none, or they are late."""
        try:
            async with asyncio.timeout(CONTEXT_S):
                found = await self.library.search(self.folder, query, self.option.results)
        except (ActiveCallError, TimeoutError) as error:
            self.log.warning("knowledge not searched", extra={"fields": {"error": str(error) or "not in time"}})
            return ""
        return as_text(found, self.option.max_chars)


def knowledge_of(playbook: Playbook, library: KnowledgeLibrary | None, log: CallLog) -> CallKnowledge | None:
    """The knowledge of `playbook`, if any; a folder is relative to the playbook's own."""
    if playbook.knowledge is None or library is None or playbook.script is not None:
        return None
    return CallKnowledge(playbook.knowledge, Path(playbook.file).parent / playbook.knowledge.folder, library, log)
