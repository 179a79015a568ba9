"""A parent of publishers that are to be killed: it forks one for each line it reads.

A child publishes until it is killed, one by one or in batches, and writes the
ids that each call returned with. Its parent then writes ``killed``.
"""

import json
import os
import sys
import uuid

from celery import Celery

from celery_ranch import Ranch, configure
from celery_ranch.publishing.storing import Retries, store
from celery_ranch.scheduling.model import Entry

BATCH = 50


def publish_for_ever(app, how, queues):
    ranch = Ranch(app)
    while True:
        if how == "batches":
            ids = [uuid.uuid4().hex for _ in range(BATCH)]
            entries = [Entry(i, ("acme",), queues[at % 2], b"m") for at, i in enumerate(ids)]
            store(ranch, entries, [], Retries(3))
        else:
            ids = [app.send_task("any", lru_key="acme").id]
        say(ids)


def say(what):
    # One write, so that a killed process says all of it or nothing.
    os.write(1, f"{json.dumps(what)}\n".encode())


def main(url, prefix, *queues):
    app = Celery("publishing", broker="memory://", set_as_current=False)
    app.conf.task_default_queue = queues[0]
    app.conf.celery_ranch = {"url": url, "redis_prefix": prefix}
    configure(app)
    # What a child would inherit: a publisher that has published.
    say(app.send_task("any", lru_key="acme").id)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            say(os.getpid())
            publish_for_ever(app, line.strip(), queues)
        os.waitpid(pid, 0)
        os.write(1, b"killed\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
