"""Lets in who has a valid API key and keeps to its limits, and says who that is."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...core.observe.key_metrics import KeyMetrics
from ...core.system.log_context import about_key
from ..tenants.account import Account, LimitError
from ..tenants.accounts import Accounts
from ..tenants.key_ring import Holder, KeyRing
from .audit import log_refusal
from .background import is_background, owner_of
from .errors import error_body, error_response, handle_limit_error

#: What platforms probe without a key.
FREE = frozenset({"/health", "/health/live", "/health/ready", "/ping"})
#: What names all keys.
FOR_ADMINS = frozenset({"/metrics"})
_SCHEME = "bearer"


class KeyCheck:
    """ASGI middleware. Whoever holds the key is in `state.key_holder` of what passes, and its
    account in `state.account`."""

    def __init__(self, app: ASGIApp, keys: KeyRing, metrics: KeyMetrics) -> None:
        self._app = app
        self._keys = keys
        self._metrics = metrics
        self._accounts = Accounts(metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it before its body is read."""
        if scope["type"] != "http" or scope["path"] in FREE:
            await self._app(scope, receive, send)
            return
        http = Request(scope)
        if is_background(http):
            await self._serve_line(http, receive, send)
            return
        key = _key_of(http)
        holder = None if key is None else self._keys.find(key)
        if holder is None:
            self._metrics.count("none", 401)
            await _unknown(http, key)(scope, receive, send)
        elif scope["path"] in FOR_ADMINS and not holder.entry.admin:
            self._metrics.count(holder.name, 403)
            await _no_admin(http, holder)(scope, receive, send)
        else:
            account = self._admit(http, holder)
            with about_key(holder.name):
                await self._serve(account, http, receive, send)

    def _admit(self, http: Request, holder: Holder) -> Account:
        account = self._accounts.of(holder)
        http.scope.setdefault("state", {}).update(key_holder=holder, account=account)
        return account

    async def _serve_line(self, http: Request, receive: Receive, send: Send) -> None:
        """As the holder of the key that made the batch, which sends none with its lines."""
        holder = self._keys.named(owner_of(http))
        if holder is None:
            await _no_owner(http)(http.scope, receive, send)
            return
        account = self._admit(http, holder)
        with about_key(holder.name):
            try:
                account.take_request()
            except LimitError as error:
                response = await handle_limit_error(http, error)
                await response(http.scope, receive, send)
            else:
                await self._app(http.scope, receive, send)

    async def _serve(self, account: Account, http: Request, receive: Receive, send: Send) -> None:
        is_limited = http.method == "POST"

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.count(account.name, message["status"])
                if is_limited:
                    MutableHeaders(scope=message).update(account.headers())
            await send(message)

        if not is_limited:
            await self._app(http.scope, receive, send_with_limits)
            return

        try:
            with account.request():
                await self._app(http.scope, receive, send_with_limits)
        except LimitError as error:
            response = await handle_limit_error(http, error)
            await response(http.scope, receive, send_with_limits)


def _key_of(http: Request) -> str | None:
    """Anthropic's clients send it in a header of its own."""
    scheme, _, key = http.headers.get("authorization", "").partition(" ")
    if scheme.lower() == _SCHEME and key.strip():
        return key.strip()
    return http.headers.get("x-api-key", "").strip() or None


def _unknown(http: Request, key: str | None) -> Response:
    if key is None:
        message = "no API key was sent; send one as Authorization: Bearer KEY, or as X-Api-Key: KEY"
    else:
        message = "the API key is not known here; ask the server's operator for another"
    log_refusal(http, 401, "no key" if key is None else "unknown key")
    body = error_body(message, "invalid_request_error", None, "invalid_api_key")
    return error_response(http.scope, body, 401, {"WWW-Authenticate": "Bearer"})


def _no_owner(http: Request) -> Response:
    name = owner_of(http)
    if name:
        message = f"the batch is of the API key {name}, which is not valid any more"
    else:
        message = "the batch was made when the server asked for no API key; make another with one"
    log_refusal(http, 401, f"key {name} is gone" if name else "no key")
    return error_response(
        http.scope, error_body(message, "invalid_request_error", None, "invalid_api_key"), 401
    )


def _no_admin(http: Request, holder: Holder) -> Response:
    message = f"{http.url.path} is for keys whose entry says admin = true"
    log_refusal(http, 403, f"key {holder.name} is no admin's")
    body = error_body(message, "invalid_request_error", None, "no_admin")
    return error_response(http.scope, body, 403)
