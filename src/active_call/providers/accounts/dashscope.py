"""Shared by Alibaba Cloud's DashScope APIs: the server, where to create a key, how requests carry it, and which errors are retryable."""

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
"""Prefixes of error codes after which another task may work."""


def headers_of(key: str) -> dict[str, str]:
    """The header that carries the key; none for a private server without a key."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def task_error(message: Mapping[str, Any], secrets: Sequence[str]) -> ProviderError:
    """The error of a `task-failed` event."""
    header = mapping(message.get("header"))
    code = text(header.get("error_code"))
    reason = without_secrets(f"{code}: {text(header.get('error_message')) or 'no explanation'}", secrets)
    return ProviderError(NAME, reason, retryable=code.startswith(RETRYABLE))
