"""The process that keeps an embedded Redis server as long as somebody uses it.

It is run by its path, without the project's packages, so that it is small and
starts at once: standard library only. It inherits the lock that says that the
folder has a keeper, and holds it to its end.

Users share a lock on one file. The kernel drops a process's part of it however
that process ends, so the keeper need only wait until it can have the lock for
itself: then nobody is left, and the server is asked to save and stop. A server
that dies while it is used is started again.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time

__all__ = ["KEEPER_FD", "USERS_FILE", "keep"]

#: Where the keeper finds the descriptor of the lock it inherits.
KEEPER_FD = 3

#: The file in the folder on which every user shares a lock.
USERS_FILE = "users.lock"

STOP_SECONDS = 10.0
SOUND_SECONDS = 1.0


class _Watch:
    """Stops the server when its last user is gone."""

    def __init__(self, folder: str) -> None:
        self._users = os.open(os.path.join(folder, USERS_FILE), os.O_RDWR | os.O_CREAT, 0o600)
        self._guard = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self.is_over = False
        threading.Thread(target=self._wait_for_users, daemon=True).start()

    def start(self, command: list[str]) -> subprocess.Popen[bytes] | None:
        """Start the server; None if nobody is there to use it any more."""
        with self._guard:
            if self.is_over:
                return None
            self._server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
            return self._server

    def _wait_for_users(self) -> None:
        fcntl.flock(self._users, fcntl.LOCK_EX)
        with self._guard:
            self.is_over = True
            server = self._server
        if server is None:
            return
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # Redis refuses to stop when it cannot write, a full disk for one.
            server.kill()


def keep(folder: str, command: list[str]) -> int:
    """Run the server until its last user is gone; return its exit status.

    A server that ends by itself is started again, unless it ended within a
    second: then it would do so again.
    """
    watch = _Watch(folder)
    while True:
        started_at = time.monotonic()
        server = watch.start(command)
        if server is None:
            return 0
        status = server.wait()
        if watch.is_over or time.monotonic() - started_at < SOUND_SECONDS:
            return status


if __name__ == "__main__":
    os.setsid()
    # A descriptor inherited by accident would hold somebody's pipe open.
    os.closerange(KEEPER_FD + 1, 1024)
    os.set_inheritable(KEEPER_FD, False)
    exit_status = keep(sys.argv[1], sys.argv[2:])
    # First no keeper, then no users: whoever waited for the users sees both.
    os.close(KEEPER_FD)
    os._exit(exit_status & 0xFF)
