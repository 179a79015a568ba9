r"""A wire between a client and a server that a test can cut at any point.

The proxy forwards whole messages, as the protocol frames them, so that a fault
can be put before a request, into its middle, or between it and its reply:

    with Proxy(redis_url) as proxy:
        engine = RedisEngine(proxy.url)
        lost = proxy.arm(Fault(Point.BEFORE_REPLY, matching=b"EVALSHA"))
        engine.enqueue(...)      # StoreUnavailableError, but Redis has run it
        assert lost.happened.is_set()
        proxy.arm(Fault(Point.REFUSED, matching=b"EVALSHA", reply=b"-OOM\r\n"))
        engine.enqueue(...)      # StoreError, and Redis has not seen it
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from queue import SimpleQueue
from types import TracebackType
from urllib.parse import urlsplit, urlunsplit

__all__ = ["Fault", "Point", "Proxy", "amqp_message", "any_bytes", "redis_message"]

_CHUNK = 65_536
_REPLY_SECONDS = 30.0
_DEFAULT_PORTS = {"redis": 6379, "amqp": 5672, "pyamqp": 5672}
#: A close that the other side sees as a reset connection (SO_LINGER 0).
_RESET = struct.pack("ii", 1, 0)
#: Sent for a request that the server is not to see, so that its reply has a place.
_PING = b"*1\r\n$4\r\nPING\r\n"
#: What RESP begins a text with, and what several values, with how many for each counted.
_TEXTS = (b"$", b"=", b"!")
_MANY = {b"*": 1, b"~": 1, b">": 1, b"%": 2}
#: What RESP3 begins that with which answers no request.
_PUSHED = b">"


def any_bytes(received: bytes) -> int:
    """Frame nothing: what came is a message. For what is encrypted."""
    return len(received)


def redis_message(received: bytes) -> int:
    """Return how long the first request or reply in RESP is, 0 if it is not all there."""
    return _resp_end(received, 0)


def _resp_end(received: bytes, start: int) -> int:
    line_end = received.find(b"\r\n", start)
    if line_end < 0:
        return 0
    kind, end = received[start : start + 1], line_end + 2
    if kind in _TEXTS and (size := int(received[start + 1 : line_end])) >= 0:
        end += size + 2
        return end if end <= len(received) else 0
    if kind in _MANY:
        for _ in range(int(received[start + 1 : line_end]) * _MANY[kind]):
            end = _resp_end(received, end)
            if not end:
                return 0
    return end


def amqp_message(received: bytes) -> int:
    """Return how long the first frame of AMQP 0-9-1 is, 0 if it is not all there."""
    if received.startswith(b"AMQP"):  # the greeting is no frame
        return 8 if len(received) >= 8 else 0
    if len(received) < 7:
        return 0
    end = 7 + int.from_bytes(received[3:7], "big") + 1
    return end if end <= len(received) else 0


_FRAMES = {"redis": redis_message, "amqp": amqp_message, "pyamqp": amqp_message}


class Point(Enum):
    """Where a fault strikes, and whether it cuts the connection that the request came on."""

    BEFORE_REQUEST = "before the request"
    """The server never sees it."""
    IN_REQUEST = "in the middle of the request"
    """The server gets the first half of its bytes, then the end of the connection."""
    BEFORE_REPLY = "after the request, before the reply"
    """The server has answered; the client hears nothing but the cut."""
    IN_REPLY = "in the middle of the reply"
    """The client gets the first half of the reply's bytes."""
    LATE_REQUEST = "before the request, which arrives late"
    """The client is cut off; the server gets the request at `Fault.deliver`."""
    REFUSED = "instead of the request"
    """The server never sees it, and the client gets `Fault.reply`; nothing is cut."""
    NO_REPLY = "after the request, and no reply comes"
    """The server has answered; on this connection the client hears nothing any more."""


_REPLY_POINTS = frozenset({Point.BEFORE_REPLY, Point.IN_REPLY, Point.NO_REPLY})


@dataclass(eq=False)
class Fault:
    """What is to happen to one request, once.

    Requests and replies are counted, and the nth reply is the nth request's: so
    it is with Redis, but where it publishes. With AMQP, cut at points of the request.
    """

    point: Point
    matching: bytes = b""
    """What the request has in it."""
    skipping: int = 0
    """How many requests that match go through before."""
    then: Callable[[], object] = lambda: None
    """Called before the client is cut off, at the points of the reply when it has come."""
    reply: bytes = b""
    """What a request that is refused gets, as the protocol writes it."""
    happened: threading.Event = field(default_factory=threading.Event)
    """Set when it is done to the client."""
    _send_late: Callable[[], None] | None = None
    _late_reply: SimpleQueue[bytes] = field(default_factory=SimpleQueue)

    def deliver(self) -> bytes:
        """Send the late request to the server now, return its reply."""
        assert self._send_late is not None, "nothing is held back"
        self._send_late()
        return self._late_reply.get(timeout=_REPLY_SECONDS)


class Proxy:
    """Forwards TCP to a server, until told otherwise. Use it as a context manager.

    Args:
        url: The server's URL; it must name a host and TCP.
        message: Frames what is forwarded; by default as the URL's scheme asks
            for (`redis_message`, `amqp_message`), else `any_bytes`.
    """

    def __init__(self, url: str, message: Callable[[bytes], int] | None = None) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or _DEFAULT_PORTS[parts.scheme])
        self._message = message or _FRAMES.get(parts.scheme, any_bytes)
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._late_links: set[_Link] = set()
        self._faults: list[Fault] = []
        self._is_refusing = False
        self._may_flow = threading.Event()
        self._may_flow.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        login, at, _ = parts.netloc.rpartition("@")
        self.url = urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{self.port}"))
        """The server's URL, but through this proxy."""
        self.accepted = 0
        """How many connections clients have made, refused ones left out."""
        self._thread = threading.Thread(target=self._accept, daemon=True, name="proxy")
        self._thread.start()

    def arm(self, fault: Fault) -> Fault:
        """Have a fault happen to the first request it matches from now on; return it."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def cut(self) -> int:
        """Reset all connections, on both sides; return how many there were.

        What is being forwarded may get through, in part or not at all. A late
        request stays late: its client is gone already.
        """
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut(is_reset=True)
        return len(links)

    def refuse(self) -> None:
        """Reset all connections and every new one, until `admit`."""
        with self._lock:
            self._is_refusing = True
        self.cut()

    def admit(self) -> None:
        """Undo `refuse`."""
        with self._lock:
            self._is_refusing = False

    def hold(self) -> None:
        """Let connections stand but nothing flow, in either direction, until `release`."""
        self._may_flow.clear()

    def release(self) -> None:
        """Undo `hold`; what was held arrives."""
        self._may_flow.set()

    def close(self) -> None:
        """Cut everything off for good."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        self.refuse()
        self.release()
        for link in list(self._late_links):
            link.cut()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                server = socket.create_connection(self._server, timeout=5)
            except OSError:
                _shut(client, is_reset=True)
                client.close()
                continue
            server.settimeout(None)
            link = _Link(self, client, server)
            with self._lock:
                is_refused = self._is_refusing
                if not is_refused:
                    self._links.add(link)
                    self.accepted += 1
            if is_refused:
                link.cut(is_reset=True)
                link.close()
            else:
                link.start()

    def _fault_of(self, link: _Link, request: bytes) -> Fault | None:
        """Return the fault that is to happen to a request, and forget it."""
        with self._lock:
            if link not in self._links:  # it is cut already, and the request lost
                return None
            for fault in self._faults:
                if fault.matching not in request:
                    continue
                if fault.skipping:
                    fault.skipping -= 1
                    return None
                self._faults.remove(fault)
                return fault
        return None

    def _forget(self, link: _Link) -> None:
        with self._lock:
            self._links.discard(link)
            self._late_links.discard(link)

    def _is_late(self, link: _Link) -> None:
        with self._lock:
            self._links.discard(link)
            self._late_links.add(link)


class _Link:
    """One client's connection and the server's beside it, a thread for each direction.

    Its sockets are closed when both threads are done with them: a number that is
    free again is the next socket's, and a thread that had still to read would
    take what another link's client has sent.
    """

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._requests = 0
        self._replies = 0
        self._awaiting_reply: dict[int, Fault] = {}
        self._is_mute = False
        self._pumping = threading.Semaphore(1)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        for ends in (
            (self._client, self._server, self._request),
            (self._server, self._client, self._reply),
        ):
            threading.Thread(target=self._pump, args=ends, daemon=True, name="proxy-link").start()

    def cut(self, *, is_reset: bool = False) -> None:
        self._proxy._forget(self)
        for end in (self._client, self._server):
            _shut(end, is_reset=is_reset)

    def close(self) -> None:
        """Let go of the sockets, which nobody uses any more."""
        self._client.close()
        self._server.close()

    def _pump(
        self, source: socket.socket, target: socket.socket, forward: Callable[[bytes], bool]
    ) -> None:
        """Forward messages until one of the ends is closed or `forward` says so."""
        received = b""
        is_open = True
        with contextlib.suppress(OSError):
            while is_open and (chunk := source.recv(_CHUNK)):
                received += chunk
                while is_open and (end := self._proxy._message(received)):
                    message, received = received[:end], received[end:]
                    self._proxy._may_flow.wait()
                    is_open = forward(message)
            if is_open:
                target.sendall(received)
        if is_open:
            self.cut()
        if not self._pumping.acquire(blocking=False):
            self.close()

    def _request(self, request: bytes) -> bool:
        number, self._requests = self._requests, self._requests + 1
        fault = self._proxy._fault_of(self, request)
        if fault is None:
            self._server.sendall(request)
            return True
        if fault.point is Point.LATE_REQUEST:
            self._awaiting_reply[number] = fault
            self._proxy._is_late(self)
            fault._send_late = lambda: self._server.sendall(request)
            fault.then()
            self._is_mute = True
            # Said before the client can notice, here and below.
            fault.happened.set()
            _shut(self._client)
            return False
        if fault.point is Point.REFUSED or fault.point in _REPLY_POINTS:
            self._awaiting_reply[number] = fault
            self._server.sendall(_PING if fault.point is Point.REFUSED else request)
            return True
        if fault.point is Point.IN_REQUEST:
            self._server.sendall(request[: len(request) // 2])
        fault.then()
        self._strike(fault)
        return False

    def _reply(self, reply: bytes) -> bool:
        fault = None
        if not reply.startswith(_PUSHED):
            fault = self._awaiting_reply.pop(self._replies, None)
            self._replies += 1
        if fault is None:
            self._say(reply)
            return True
        if fault.point is Point.LATE_REQUEST:
            self.cut()
            fault._late_reply.put(reply)
            return False
        fault.then()
        if fault.point is Point.NO_REPLY:
            self._is_mute = True
            fault.happened.set()
            return True
        if fault.point is Point.REFUSED:
            fault.happened.set()
            self._say(fault.reply)
            return True
        if fault.point is Point.IN_REPLY:
            self._client.sendall(reply[: len(reply) // 2])
        self._strike(fault)
        return False

    def _say(self, reply: bytes) -> None:
        # That a client is gone is noticed where its requests are read: one that
        # sent several at once may be cut off from late ones by now.
        with contextlib.suppress(OSError):
            if not self._is_mute:
                self._client.sendall(reply)

    def _strike(self, fault: Fault) -> None:
        fault.happened.set()
        self.cut()


def _shut(end: socket.socket, *, is_reset: bool = False) -> None:
    with contextlib.suppress(OSError):
        if is_reset:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.shutdown(socket.SHUT_RDWR)
