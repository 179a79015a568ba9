"""A Redis master, its replicas and the sentinels that replace it, all on loopback."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import redis

from tests.servers import (
    START_SECONDS,
    Certificates,
    RedisServer,
    default_server,
    eventually,
    free_port,
    stop_group,
)

#: A sentinel that was not run for two seconds trusts its clock no more, and
#: replaces nobody for thirty: so on a busy machine it may take this long.
FAILOVER_SECONDS = 120.0

_DOWN_AFTER_MS = 1_500


class SentinelServers:
    """One master with replicas, and sentinels that agree on who it is.

    The servers are in `servers`, those killed too; `master` is the one that
    the sentinels name now. All of them keep what they store.

    Args:
        replicas: How many servers follow the master.
        sentinels: How many sentinels watch it; most of them have to be up.
        password: Of the servers, master or not.
        sentinel_password: Of the sentinels.
        certificates: Have servers and sentinels speak TLS alone.
        settings: More of redis.conf for every server.
    """

    master_name = "ranch-master"

    def __init__(
        self,
        *,
        replicas: int = 1,
        sentinels: int = 2,
        password: str | None = None,
        sentinel_password: str | None = None,
        certificates: Certificates | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ranch-sentinel-"))
        self.password = password
        self.sentinel_password = sentinel_password
        self.certificates = certificates
        shared = dict(settings or {})
        if password:
            shared |= {"requirepass": password, "masterauth": password}
        if certificates:
            shared["tls-replication"] = "yes"
        first = RedisServer(is_persistent=True, certificates=certificates, settings=shared)
        follow = {**shared, "replicaof": f"127.0.0.1 {first.port}"}
        self.servers = [first] + [
            RedisServer(is_persistent=True, certificates=certificates, settings=follow)
            for _ in range(replicas)
        ]
        self.sentinel_ports = [free_port() for _ in range(sentinels)]
        self._sentinels: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """Database 0 of the master, in Celery's form."""
        login = f":{self.password}@" if self.password else ""
        return ";".join(f"sentinel://{login}127.0.0.1:{port}/0" for port in self.sentinel_ports)

    @property
    def sentinel_kwargs(self) -> dict[str, object]:
        """What redis-py has to know to talk to the sentinels."""
        known: dict[str, object] = {}
        if self.sentinel_password:
            known["password"] = self.sentinel_password
        if self.certificates:
            known |= {"ssl": True, "ssl_ca_certs": str(self.certificates.ca)}
        return known

    @property
    def celery(self) -> dict[str, object]:
        """The settings of an application whose broker and results are here."""
        options = {"master_name": self.master_name, "sentinel_kwargs": self.sentinel_kwargs}
        settings: dict[str, object] = {
            "broker_url": self.url,
            "result_backend": self.url,
            "broker_transport_options": options,
            "result_backend_transport_options": options,
        }
        if self.certificates:
            certificates = {
                "ssl_cert_reqs": "required",
                "ssl_ca_certs": str(self.certificates.ca),
            }
            settings |= {"broker_use_ssl": certificates, "redis_backend_use_ssl": certificates}
        return settings

    @property
    def ranch(self) -> dict[str, object]:
        """The settings of celery-ranch that lead here, whatever the broker is."""
        settings: dict[str, object] = {
            "url": self.url,
            "sentinel_master": self.master_name,
            "sentinel_kwargs": self.sentinel_kwargs,
        }
        if self.certificates:
            settings["redis_use_ssl"] = {"ssl_ca_certs": str(self.certificates.ca)}
        return settings

    @property
    def master(self) -> RedisServer:
        """The server that a sentinel says is the master."""
        port = int(self._told()["port"])
        return next(server for server in self.servers if server.port == port)

    @property
    def replicas(self) -> list[RedisServer]:
        """The other servers, running or not."""
        master = self.master
        return [server for server in self.servers if server is not master]

    def start(self) -> SentinelServers:
        """Start everything and return it when a failover could be done."""
        for server in self.servers:
            server.start()
        for port in self.sentinel_ports:
            self._sentinels.append(self._start_sentinel(port))
        eventually(self._is_settled, START_SECONDS, "the sentinels know all servers")
        self.await_replicas()
        return self

    def client(self, server: RedisServer | None = None, *, as_text: bool = True) -> redis.Redis:
        """Return a client of one server, or else of the master, to look at what is stored."""
        return (server or self.master).client(decode_responses=as_text)

    def await_replicas(self, seconds: float = FAILOVER_SECONDS) -> None:
        """Wait until every running server but the master has what the master has."""

        def are_caught_up() -> bool:
            with self.client() as client:
                offset = client.info("replication")["master_repl_offset"]
            for server in self.replicas:
                if not server.is_running:
                    continue
                try:
                    with self.client(server) as client:
                        said = client.info("replication")
                except redis.ConnectionError:  # sentinels have it hang up
                    return False
                if said.get("master_link_status") != "up" or said["slave_repl_offset"] < offset:
                    return False
            return True

        eventually(are_caught_up, seconds, "the replicas have caught up")

    def fail_over(self) -> None:
        """Have the sentinels make a replica the master, as an operator would; both live."""
        before = self.master
        with contextlib.closing(self._sentinel_client(self.sentinel_ports[0])) as client:

            def is_begun() -> bool:
                # Refused while the last failover is not quite over, or a replica looks away.
                try:
                    return bool(client.execute_command("SENTINEL FAILOVER", self.master_name))
                except redis.ResponseError:
                    return False

            eventually(is_begun, FAILOVER_SECONDS, "a failover is begun")
        self.await_other_master(before)

    def kill_master(self) -> RedisServer:
        """Kill the master and return it when the sentinels have made another one."""
        before = self.master
        before.kill()
        self.await_other_master(before)
        return before

    def restart_killed(self) -> None:
        """Start what was killed, and wait until it has become a replica."""
        for server in self.servers:
            if not server.is_running:
                server.start()

        def are_followers() -> bool:
            for server in self.replicas:
                try:
                    with self.client(server) as client:
                        if client.info("replication")["role"] != "slave":
                            return False
                except redis.ConnectionError:
                    # A sentinel that gives a server a new part cuts off its clients.
                    return False
            return True

        eventually(are_followers, FAILOVER_SECONDS, "the sentinels have made replicas of them")
        self.await_replicas()

    def await_other_master(self, before: RedisServer) -> None:
        """Wait until the sentinels name another server, which takes writes."""

        def has_changed() -> bool:
            if any(int(told["port"]) == before.port for told in self._all_told()):
                return False
            with self.client() as client:
                return client.info("replication")["role"] == "master"

        eventually(has_changed, FAILOVER_SECONDS, "another server is the master")

    def close(self) -> None:
        """Stop everything and remove the folders."""
        for process in self._sentinels:
            stop_group(process, seconds=5.0)
        for server in self.servers:
            server.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> SentinelServers:
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

    def _start_sentinel(self, port: int) -> subprocess.Popen[bytes]:
        quorum = len(self.sentinel_ports) // 2 + 1
        name = self.master_name
        lines = [
            "bind 127.0.0.1",
            f"port {port}",
            f"dir {self.folder}",
            f"sentinel monitor {name} 127.0.0.1 {self.servers[0].port} {quorum}",
            f"sentinel down-after-milliseconds {name} {_DOWN_AFTER_MS}",
            # A failover that failed is tried again after twice this.
            f"sentinel failover-timeout {name} 5000",
        ]
        if self.password:
            lines.append(f"sentinel auth-pass {name} {self.password}")
        if self.sentinel_password:
            lines += [
                f"requirepass {self.sentinel_password}",
                f"sentinel sentinel-pass {self.sentinel_password}",
            ]
        if self.certificates:
            lines[1] = "port 0"
            lines += [
                f"tls-port {port}",
                f"tls-cert-file {self.certificates.certificate}",
                f"tls-key-file {self.certificates.key}",
                f"tls-ca-cert-file {self.certificates.ca}",
                "tls-auth-clients no",
                "tls-replication yes",
            ]
        settings = self.folder / f"{port}.conf"
        settings.write_text("".join(f"{line}\n" for line in lines))
        with (self.folder / f"{port}.log").open("ab") as log:
            return subprocess.Popen(
                [default_server(), str(settings), "--sentinel"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _sentinel_client(self, port: int) -> redis.Redis:
        return redis.Redis(
            host="127.0.0.1", port=port, decode_responses=True, **self.sentinel_kwargs
        )

    def _all_told(self) -> list[dict[str, str]]:
        """What each running sentinel says of the master."""
        told = []
        for port, process in zip(self.sentinel_ports, self._sentinels, strict=True):
            if process.poll() is None:
                with contextlib.closing(self._sentinel_client(port)) as client:
                    reply = client.execute_command("SENTINEL MASTER", self.master_name)
                pairs = (
                    reply
                    if isinstance(reply, dict)
                    else dict(zip(reply[::2], reply[1::2], strict=True))
                )
                told.append({str(name): str(value) for name, value in pairs.items()})
        return told

    def _told(self) -> dict[str, str]:
        return self._all_told()[0]

    def _is_settled(self) -> bool:
        others, replicas = len(self.sentinel_ports) - 1, len(self.servers) - 1
        try:
            told = self._all_told()
        except redis.ConnectionError:
            return False
        return all(
            int(each["num-other-sentinels"]) == others and int(each["num-slaves"]) == replicas
            for each in told
        )
