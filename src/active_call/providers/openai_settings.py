"""The address and key of an OpenAI-compatible server: from an option, or from the environment like OpenAI's own SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct, field

from active_call.base.errors import ConfigError
from active_call.providers.credentials import KeySource, missing_key
from active_call.providers.settings import LlmSettings

OPENAI_URL = "https://api.openai.com/v1"
URL_VARIABLE = "OPENAI_BASE_URL"
KEY_VARIABLE = "OPENAI_API_KEY"
KEY: Final = KeySource("OpenAI", (KEY_VARIABLE,), "https://platform.openai.com/api-keys", ("openai.com",))
MODEL_VARIABLE: Final = "OPENAI_MODEL"
ACCOUNT_HEADERS: Final[Mapping[str, str]] = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
"""The variables of OpenAI's own SDK for accounts with several organizations or projects. Only OpenAI gets them."""
SERVER_KEYS: Final[Mapping[str, str]] = {
    "groq.com": "GROQ_API_KEY",
    "deepseek.com": "DEEPSEEK_API_KEY",
    "mistral.ai": "MISTRAL_API_KEY",
    "together.xyz": "TOGETHER_API_KEY",
    "together.ai": "TOGETHER_API_KEY",
    "aliyuncs.com": "DASHSCOPE_API_KEY",
    "openai.azure.com": "AZURE_OPENAI_API_KEY",
    "openrouter.ai": "OPENROUTER_API_KEY",
    "x.ai": "XAI_API_KEY",
}
"""The key variable of each vendor with OpenAI's protocol, by its domain."""
_KEYS = {"llm": ("llm.baseUrl", "llm.apiKey")}
"""The documentation's names for URL and key in a section; other sections use `endpoint` and `secretKey`."""


class Server(Struct, frozen=True):
    """A server's base URL (without a trailing slash) and key. A local server has no key."""

    base_url: str
    api_key: str | None
    account: Mapping[str, str] = field(default_factory=dict)
    """Headers that name the organization and project to bill."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}", **self.account} if self.api_key else {**self.account}


def find_server(section: str, base_url: str | None, api_key: str | None, environment: Mapping[str, str]) -> Server:
    """The server that the option and the environment name. Raises ConfigError if that is OpenAI itself and there is no key.

    The environment's OpenAI key goes only to the environment's server (or OpenAI's). A known vendor named by an option gets its own key
    from the environment; any other server gets none.
    """
    url_name, key_name = _KEYS.get(section, (f"{section}.endpoint", f"{section}.secretKey"))
    named = base_url or environment.get(URL_VARIABLE) or OPENAI_URL
    if not named.startswith(("http://", "https://")):
        raise ConfigError(url_name if base_url else URL_VARIABLE, f"expected an http or https URL, found {named!r}")
    url = named.rstrip("/")
    if not api_key and url in (OPENAI_URL, (environment.get(URL_VARIABLE) or "").rstrip("/")):
        api_key = environment.get(KEY_VARIABLE)
    api_key = api_key or environment.get(_variable_of(url), "").strip()
    if not api_key and url == OPENAI_URL:
        raise ConfigError(key_name, missing_key(KEY))
    account = {header: value for header, name in ACCOUNT_HEADERS.items() if (value := environment.get(name, "").strip())}
    return Server(url, api_key or None, account if url == OPENAI_URL else {})


def _variable_of(url: str) -> str:
    """The key variable of the vendor at `url`; empty for an unknown vendor."""
    host = (urlsplit(url).hostname or "").lower()
    secure = url.startswith("https://")
    return next((name for domain, name in SERVER_KEYS.items() if secure and (host == domain or host.endswith(f".{domain}"))), "")


def chosen_model(settings: LlmSettings, base_url: str, environment: Mapping[str, str], default: str) -> str:
    """The model to request: from the option, else from the environment. Like the key, the environment's model applies only to the
    environment's server (or OpenAI itself). Raises ConfigError for another server without a model.
    """
    if settings.model:
        return settings.model
    if settings.base_url is not None:
        raise ConfigError("llm.model", f"missing: which model of {base_url}?")
    return environment.get(MODEL_VARIABLE, "").strip() or default
