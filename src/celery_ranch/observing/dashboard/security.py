"""Who may see the page and steer by it: addresses, token, origins, headers."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from celery_ranch.errors import ConfigurationError
from celery_ranch.observing.dashboard.answers import failure

__all__ = ["HEADERS", "METRICS_PATH", "Guard", "Rights", "is_loopback"]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types lit-html"
)

#: What every answer says to browsers.
HEADERS = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

_SHORTEST_TOKEN = 16
#: What the page sends with all that changes something: no form of another site can.
STEERING_HEADER = "x-ranch-steering"

#: Where Prometheus reads.
METRICS_PATH = "/metrics"


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address is this machine's own, and nobody else's.

    Example:
        >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "a.test")]
        [True, True, True, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Rights:
    """Where the page is to be had, and what by it may be done.

    Args:
        host: The address that is listened on: one of this machine's own, unless
            there is a token.
        token: What who looks has to know; None: nobody is asked.
        is_read_only: Whether there are no controls.

    Raises:
        ConfigurationError: The page would be open to the network, or the token is
            one that can be guessed or sent by no browser.
    """

    host: str = "127.0.0.1"
    token: str | None = None
    is_read_only: bool = False
    steering: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """What only who could read the page's own data can send along."""

    def __post_init__(self) -> None:
        token = self.token
        if token is None:
            if not is_loopback(self.host):
                raise ConfigurationError(
                    "the dashboard's address",
                    self.host,
                    "one of this machine's own (127.0.0.1, ::1, localhost), where no token is set",
                )
        elif len(token) < _SHORTEST_TOKEN or not (token.isascii() and token.isprintable()):
            raise ConfigurationError(
                "the dashboard's token",
                f"a text of {len(token)} characters",
                f"at least {_SHORTEST_TOKEN} printable ASCII characters",
            )

    def refusal(self, method: str, path: str, headers: Headers) -> Response | None:
        """Return what a request is answered that may not be; None where it may."""
        host = headers.get("host", "")
        if self.token is None and not is_loopback(_name(host)):
            # A name of somebody else's that leads here: DNS rebinding.
            return failure(421, f"this page is at {self.host} alone, and at no other name")
        if not path.startswith("/api/") and path != METRICS_PATH:
            return None
        if not _is_same_site(headers, host):
            return failure(403, "this request comes from another site")
        if self.token is not None and not _is_given(headers, self.token):
            answer = failure(401, "the dashboard's token is missing, or is another one")
            answer.headers["www-authenticate"] = "Bearer"
            return answer
        if method not in {"GET", "HEAD"} and not hmac.compare_digest(
            headers.get(STEERING_HEADER, "").encode(), self.steering.encode()
        ):
            return failure(403, f"what steers is asked for with the header {STEERING_HEADER}")
        return None


def _name(host: str) -> str:
    """Return the name or address of a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_same_site(headers: Headers, host: str) -> bool:
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    # Before a proxy the scheme may be another one; the host is not.
    return origin.lower().partition("://")[2] == host.lower() != ""


def _is_given(headers: Headers, token: str) -> bool:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode())


class Guard:
    """Lets only those in who may, and gives every answer the headers that browsers heed."""

    def __init__(self, app: ASGIApp, rights: Rights) -> None:
        self._app = app
        self._rights = rights

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refused = self._rights.refusal(scope["method"], scope["path"], Headers(scope=scope))
        app = self._app if refused is None else refused
        await app(scope, receive, send_with_headers)
