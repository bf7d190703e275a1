"""Whether a server elsewhere can be asked, before a page is made for it."""

from __future__ import annotations

import logging

import httpx

from ....core.protocol.config import ConfigError
from ...chat.server_errors import refusal, unreachable

logger = logging.getLogger(__name__)

_TIMEOUT_S = 10.0
_LOADS = 503


def check_server(base_url: str, api_key: str | None) -> None:
    """Raises ConfigError if it can't be reached, or refuses to say what it serves; one that still
    loads its model is as good as any."""
    if not base_url.startswith(("http://", "https://")):
        raise ConfigError(f"--base-url: {base_url!r} must begin with http:// or https://")
    url = f"{base_url.rstrip('/').removesuffix('/v1')}/v1"
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    try:
        response = httpx.get(f"{url}/models", headers=headers, timeout=_TIMEOUT_S)
    except httpx.HTTPError as error:
        raise ConfigError(f"--base-url: {unreachable(url, error)}") from error
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ConfigError(f"--base-url: {base_url!r} is no address: {error}") from error
    if response.status_code == _LOADS:
        logger.info("the server at %s is not ready yet; the page waits for it", base_url)
    elif response.status_code != 200:
        raise ConfigError(f"--base-url: {refusal(url, response)}")
    elif not _lists_models(response):
        raise ConfigError(f"--base-url: {response.url} gives no list of models")


def _lists_models(response: httpx.Response) -> bool:
    try:
        return isinstance(response.json()["data"], list)
    except (ValueError, KeyError, TypeError):
        return False
