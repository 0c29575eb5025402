"""What Alibaba Cloud's DashScope APIs share: the server, where a key is made, how it is sent, and how its errors count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from active_call.base.errors import ProviderError
from active_call.providers.credentials import KeySource, without_secrets
from active_call.providers.json_values import mapping, text

NAME: Final = "aliyun"
URL: Final = "wss://dashscope.aliyuncs.com/api-ws/v1/inference"
SOURCE: Final = KeySource(
    "DashScope", ("DASHSCOPE_API_KEY",), "https://bailian.console.aliyun.com/?tab=model#/api-key", ("aliyuncs.com", "alibabacloud.com")
)
RETRYABLE: Final = ("Throttling", "Internal", "ResponseTimeout", "ServiceUnavailable", "ModelServingError", "CLIENT_ERROR")
"""How the codes of errors begin after which another task may do better."""


def headers_of(key: str) -> dict[str, str]:
    """The header that carries the key; none for a server of one's own without a key."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def task_error(message: Mapping[str, Any], secrets: Sequence[str]) -> ProviderError:
    """The error of a `task-failed` event."""
    header = mapping(message.get("header"))
    code = text(header.get("error_code"))
    reason = without_secrets(f"{code}: {text(header.get('error_message')) or 'no explanation'}", secrets)
    return ProviderError(NAME, reason, retryable=code.startswith(RETRYABLE))
