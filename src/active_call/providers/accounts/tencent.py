"""An account with Tencent Cloud: its three parts, where they are configured, and how they sign requests.

The speech services sign by HMAC-SHA1 over host, path and sorted query (https://cloud.tencent.com/document/product/1093/48982,
https://cloud.tencent.com/document/api/1073/108595); the cloud API by TC3-HMAC-SHA256
(https://cloud.tencent.com/document/api/1073/37991). Pure: times enter.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

from msgspec import Struct

from active_call.base.errors import ConfigError
from active_call.providers.credentials import KeySource, find_key
from active_call.providers.vendor_parameters import text_of_parameter

NAME: Final = "tencent"
KEY_PAGE: Final = "https://console.cloud.tencent.com/cam/capi"
DOMAINS: Final = ("tencent.com", "tencentcloudapi.com")
APP_ID: Final = KeySource("Tencent", ("TENCENT_APPID",), KEY_PAGE, DOMAINS, "appId")
SECRET_ID: Final = KeySource("Tencent", ("TENCENT_SECRET_ID",), KEY_PAGE, DOMAINS, "secretId")
SECRET_KEY: Final = KeySource("Tencent", ("TENCENT_SECRET_KEY",), KEY_PAGE, DOMAINS, "secretKey")
KEYS: Final = (*SECRET_KEY.variables, *SECRET_ID.variables)
LIFETIME_S: Final = 3_600
"""How long a signature is valid."""


class TencentAccount(Struct, frozen=True):
    """The parts of an account. `app_id` is empty if an API needs none."""

    app_id: str
    secret_id: str
    secret_key: str

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that no message may contain."""
        return (self.secret_key, self.secret_id)


def find_account(
    section: str,
    url: str,
    environment: Mapping[str, str],
    *,
    app_id: str | None,
    secret_id: str | None,
    secret_key: str | None,
    needs_app_id: bool = True,
) -> TencentAccount:
    """The account for the server at `url`, from options and environment. Raises ConfigError if a part is missing, also for a private
    server: requests are signed with all parts.
    """
    account = TencentAccount(
        find_key(section, app_id, url, APP_ID, environment) if needs_app_id else "",
        find_key(section, secret_id, url, SECRET_ID, environment),
        find_key(section, secret_key, url, SECRET_KEY, environment),
    )
    if not (account.secret_id and account.secret_key) or (needs_app_id and not account.app_id):
        parts = "appId, secretId and secretKey" if needs_app_id else "secretId and secretKey"
        raise ConfigError(f"{section}.secretKey", f"missing; {parts} are required to sign requests")
    return account


def signed_url(url: str, parameters: Mapping[str, Any], secret_key: str, *, before: str = "", name: str = "signature") -> str:
    """`url` with sorted parameters, and their signature as parameter `name`. In the signed text `before` precedes the host."""
    texts = {key: text_of_parameter(value) for key, value in sorted(parameters.items())}
    parts = urlsplit(url)
    signed = f"{before}{parts.netloc}{parts.path}?{'&'.join(f'{key}={value}' for key, value in texts.items())}"
    signature = base64.b64encode(hmac.new(secret_key.encode(), signed.encode(), hashlib.sha1).digest()).decode()
    encoded = "&".join(f"{key}={quote(value, safe='')}" for key, value in texts.items())
    return f"{url}?{encoded}&{name}={quote(signature, safe='')}"


def cloud_api_authorization(account: TencentAccount, host: str, body: bytes, now: datetime, service: str) -> str:
    """The `Authorization` header of a POST of JSON to the cloud API (TC3-HMAC-SHA256 over `content-type` and `host`)."""
    date = now.astimezone(UTC).strftime("%Y-%m-%d")
    headers = f"content-type:application/json\nhost:{host}\n"
    canonical = f"POST\n/\n\n{headers}\ncontent-type;host\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{date}/{service}/tc3_request"
    signed = f"TC3-HMAC-SHA256\n{int(now.timestamp())}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"TC3{account.secret_key}".encode()
    for part in (date, service, "tc3_request", signed):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return f"TC3-HMAC-SHA256 Credential={account.secret_id}/{scope}, SignedHeaders=content-type;host, Signature={key.hex()}"
