"""Text replies, for models that call no tools and report no usage. An adapter implements only `respond`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from active_call.providers.chat import ChatEvent, ChatModelCapabilities, ReplyRequest, TextDelta
from active_call.providers.sources import close_source


class TextOnlyChatModel:
    """The base of a `ChatModel` that writes only text."""

    name: str
    capabilities = ChatModelCapabilities()

    def respond(self, request: ReplyRequest) -> AsyncIterator[Any]:
        """Yield the reply's text as it comes. Closing the iterator cancels the rest."""
        raise NotImplementedError

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ChatEvent, None]:
        source = self.respond(request)
        try:
            async for text in source:
                yield TextDelta(text)
        finally:
            await close_source(source)
