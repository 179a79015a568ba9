"""A parent of callers that are to be killed: it forks one for each name it reads.

A child calls tasks of `chaos_app` one by one or as groups, under ids that begin
with its name and the call's number, until it is killed. It writes the ids of each
call that returned. Its parent then writes ``killed``.
"""

import itertools
import json
import os
import sys

from celery import group
from chaos_app import app, early

MEMBERS = 25


def call(name, number):
    ids = [f"{name}-{number}-{member}" for member in range(1 if number % 3 else MEMBERS)]
    calls = [early.s().set(task_id=task_id, lru_key=name) for task_id in ids]
    if len(calls) == 1:
        calls[0].apply_async()
    else:
        group(calls).apply_async()
    return ids


def say(what):
    # One write, so that a killed process says all of it or nothing.
    os.write(1, f"{json.dumps(what)}\n".encode())


def main():
    app.conf.result_backend = "disabled://"
    # What a child would inherit: a caller that has called.
    say(call("parent", 1))
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            say(os.getpid())
            for number in itertools.count():
                say(call(line.strip(), number))
        os.waitpid(pid, 0)
        say("killed")


if __name__ == "__main__":
    main()
