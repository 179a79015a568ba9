"""Tasks to compose; fair by `task_cls`, and each says who called it, with what, for whom."""

from celery import Task, chain, chord, group
from celery.canvas import StampingVisitor
from from_environment import make_app, record

from celery_ranch import current_key

app = make_app("canvas_app", task_cls="celery_ranch.task:LRUTask")


class Named(Task):
    """A base of its own, as one without fairness in mind has it."""

    abstract = True


def flat(values):
    for value in values:
        if isinstance(value, (list, tuple)):
            yield f"[{','.join(flat(value))}]"
        else:
            yield str(value)


def say(run, label):
    record(run, f"{label} {current_key()}")


@app.task
def note(*values, label, run):
    say(run, label)
    return f"{label}({','.join(flat(values))})"


@app.task(base=Named, bind=True)
def note_by_its_base(self, *values, label, run):
    say(run, label)
    return f"{label}({','.join(flat(values))})"


@app.task
def fail(*values, label, run):
    say(run, label)
    raise ValueError(label)


@app.task
def item(value_and_run):
    value, run = value_and_run
    say(run, f"item{value}")
    return value


@app.task
def pair(first, second, run):
    say(run, f"pair{first}{second}")
    return first + second


@app.task
def old_errback(task_id, *, label, run):
    say(run, label)


@app.task
def new_errback(request, exception, traceback, *, label, run):
    say(run, f"{label}:{type(exception).__name__}")


@app.task(bind=True)
def replace(self, *values, label, run, kind, key=None):
    """Become something else, of a kind; `key` is what the caller wants for its parts."""
    say(run, label)

    def part(name):
        return note.s(label=f"{label}.{name}", run=run).set(lru_key=key)

    made = {
        "task": lambda: part("a"),
        "chain": lambda: chain(part("a"), part("b")),
        "group": lambda: group(part("a"), part("b")),
        "chord": lambda: chord([part("a"), part("b")], part("c")),
        "failure": lambda: fail.si(label=f"{label}.a", run=run),
        "name": lambda: app.signature("canvas_app.note", kwargs=part("a").kwargs).set(lru_key=key),
    }[kind]()
    return self.replace(made)


@app.task(bind=True)
def extend_its_chord(self, *values, label, run):
    say(run, label)
    self.add_to_chord(note.s(label=f"{label}.added", run=run))
    return label


@app.task(bind=True)
def stamps(self, *values, label, run):
    record(run, f"{label} {current_key()} {sorted((self.request.stamps or {}).items())}")
    return label


@app.task
def call_canvas(kind, run):
    """Call a composition from inside a task, as applications do."""
    if kind == "chain":
        made = chain(note.s(label="a", run=run), note.s(label="b", run=run))
    elif kind == "group":
        made = group(note.s(label=name, run=run) for name in "ab")
    else:
        made = chord((note.s(label=name, run=run) for name in "ab"), note.s(label="c", run=run))
    return made.apply_async().id


class MonitoringId(StampingVisitor):
    def on_signature(self, sig, **headers):
        return {"monitoring_id": "m-1", "stamped_headers": ["monitoring_id"]}


@app.task
def call_stamped(run):
    made = chain(stamps.s(label="a", run=run), stamps.s(label="b", run=run))
    made.stamp(visitor=MonitoringId())
    return made.apply_async().id
