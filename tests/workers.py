"""Real worker processes of an application in `tests/applications`, and what they recorded."""

import gc
import json
import os
import signal
import subprocess
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path

from celery import Celery
from celery.backends.redis import RedisBackend
from redis import Redis

from celery_ranch import Ranch, StoreUnavailableError, configure
from celery_ranch.scheduling.model import Entry
from tests.redis_invariants import check_queue
from tests.servers import eventually

APPLICATIONS = Path(__file__).parent / "applications"


class FairApp:
    """One application: its settings, a client side of it, and its workers.

    Its tasks are those of a module in `tests/applications`, `fair_app` unless said
    otherwise; the client side knows them by name only. `open_store` returns a
    client that may see everything in the store, where its URL alone gives none.
    """

    def __init__(
        self, tmp_path, redis_url, *, module="fair_app", celery=None, ranch=None, open_store=None
    ):
        self.module = module
        self.name = f"test-{uuid.uuid4().hex[:12]}"
        self.tmp_path = tmp_path
        self.redis_url = redis_url
        celery_settings = {
            "broker_url": redis_url,
            "result_backend": redis_url,
            "task_default_queue": self.name,
            "broker_connection_retry_on_startup": True,
            "worker_hijack_root_logger": True,
            "broker_transport_options": {},
            **(celery or {}),
        }
        ranch_settings = {"url": redis_url, "redis_prefix": f"{self.name}:", **(ranch or {})}
        self.settings = {
            "name": self.name,
            "records": redis_url,
            "celery": celery_settings,
            "ranch": ranch_settings,
        }
        self.open_store = open_store or (lambda: Redis.from_url(ranch_settings["url"]))
        self.client = Celery(f"client-{self.name}", set_as_current=False)
        self.client.conf.update(celery_settings)
        self.client.conf.celery_ranch = ranch_settings
        configure(self.client)
        self.records = Redis.from_url(redis_url, decode_responses=True)

    def close(self):
        """Check what the test leaves behind, and close every connection.

        A connection found open when it is collected would be a warning.
        """
        try:
            self.check()
        except StoreUnavailableError:
            # The test may end with the store away.
            pass
        finally:
            self._close()

    def _close(self):
        gc.collect()
        self.engine.close()
        self.records.close()
        backend = self.client.backend
        consumer = getattr(backend, "result_consumer", None)
        if consumer is not None:
            consumer.stop()
            # A result that outlives this would connect once more, to unsubscribe.
            consumer._pubsub = None
        if isinstance(backend, RedisBackend):
            backend.client.connection_pool.disconnect()
        self.client.close()
        gc.collect()

    @property
    def env(self):
        path = os.pathsep.join([str(APPLICATIONS), *sys.path])
        return {**os.environ, "FAIR_APP": json.dumps(self.settings), "PYTHONPATH": path}

    def signature(self, task, *args, **options):
        return self.client.signature(f"{self.module}.{task}", args=args, **options)

    def send(self, task, *args, **options):
        return self.client.send_task(f"{self.module}.{task}", args=args, **options)

    def tell(self, command, *, worker="w1", **arguments):
        """Give a worker a command of remote control and return what it answers."""
        there = [f"{worker}@{self.name}"]

        def answer():
            # Nobody hears what is said just before a worker's subscription to Redis holds.
            return self.client.control.broadcast(
                command, arguments, destination=there, reply=True, timeout=5
            )

        [reply] = eventually(answer, 30, f"{there[0]} answers to {command}")
        return reply[there[0]]

    def await_active(self, count, *, worker="w1"):
        """Wait until a worker knows that so many tasks run.

        Its pool tells it later than the tasks start, and a cold shutdown ends
        those alone that it knows of; the others it waits for.
        """
        eventually(
            lambda: len(self.tell("active", worker=worker)) == count,
            30,
            f"{worker} knows of {count} tasks that run",
        )

    def recorded(self, kind):
        return self.records.lrange(f"{self.name}:{kind}", 0, -1)

    def await_recorded(self, kind, count, seconds=30):
        eventually(
            lambda: self.records.llen(f"{self.name}:{kind}") >= count,
            seconds,
            f"{count} {kind}; there are {self.records.llen(f'{self.name}:{kind}')}",
        )
        return self.recorded(kind)

    def leave(self, result):
        """Let a task go on that waits for it (`wait_for_leave` in its application)."""
        self.records.rpush(f"{self.name}:leave:{result.id}", "now")

    @property
    def ranch(self):
        return Ranch(self.client)

    @property
    def engine(self):
        return self.ranch.engine

    def entry(self, task, *args, key):
        """Return the entry that sending a task would store, without storing it."""
        result = self.send(task, *args, lru_key=key)
        message = self.engine.cancel(self.name, result.id)
        return Entry(result.id, (key,), self.name, message)

    def held_by(self, name):
        """Return the lease numbers that the worker of that name holds, by the store's word."""
        pattern = f"{self.name}:{{{self.name}}}:held:{name}@*"
        return [number for key in self.records.keys(pattern) for number in self.records.hkeys(key)]

    def is_acknowledged(self, result):
        """Whether a task's message is gone from the store while its slot is still taken."""
        entries = f"{self.name}:{{{self.name}}}:entries"
        is_gone = not self.records.hexists(entries, result.id)
        return is_gone and self.engine.snapshot(self.name).leased > 0

    def await_dead_letter(self, seconds=30):
        eventually(lambda: self.engine.dead_letters(self.name), seconds, "a dead letter")
        return self.engine.dead_letters(self.name)[0]

    def await_idle(self, seconds=30):
        """Wait until nothing waits, is delayed or leased."""

        def is_idle():
            counts = self.engine.snapshot(self.name)
            return counts.waiting == counts.delayed == counts.leased == 0

        eventually(is_idle, seconds, f"an idle queue: {self.engine.snapshot(self.name)}")

    def check(self, *, is_still=False):
        """Fail unless every entry of the store is in exactly one place and every count right.

        Any store may be checked while it is in use; `is_still` says that nothing
        moves, as in a store where nothing waits, is delayed or leased. Then it is
        looked at as a whole too, by code that the engine has no part in.
        """
        assert self.ranch.check() == ()
        engine = self.engine
        for queue in sorted(engine.queues()):
            counts = engine.snapshot(queue)
            if is_still or counts.waiting == counts.delayed == counts.leased == 0:
                with self.open_store() as client:
                    check_queue(client, engine.prefix, queue)

    def run(self, *arguments):
        """Run a module with this application's settings, and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=self.tmp_path,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def worker(self, *options, name="w1", pool="prefork", concurrency=2, ready=True):
        process = WorkerProcess(self, name, pool, concurrency, options)
        try:
            if ready:
                process.await_log("ready.")
            yield process
        except BaseException:
            print(process.log)  # noqa: T201
            raise
        finally:
            process.kill()


class WorkerProcess:
    """One `celery worker`, in a process group of its own."""

    def __init__(self, app, name, pool, concurrency, options):
        self.log_path = app.tmp_path / f"{name}-{uuid.uuid4().hex[:6]}.log"
        command = [sys.executable, "-m", "celery", "-A", app.module, "worker"]
        command += ["--loglevel=INFO", f"--pool={pool}", f"--concurrency={concurrency}"]
        command += [f"--hostname={name}@{app.name}", *options]
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=app.tmp_path,
                env=app.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    @property
    def pid(self):
        return self.process.pid

    def await_log(self, text, seconds=30):
        def seen():
            assert self.process.poll() is None, f"the worker is gone:\n{self.log}"
            return text in self.log

        eventually(seen, seconds, f"{text!r} in the worker's log")

    def stop(self, seconds=50):
        """Ask for a warm shutdown and return the exit code.

        A process of the pool whose last result its parent has not read when
        the loop ends waits 30 seconds for that, with plain tasks as well
        (billiard's `_ensure_messages_consumed`).
        """
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self):
        """Kill the worker and its pool at once."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
