"""The tutorial does what it says, followed from an empty folder to its end."""

import re
from importlib import metadata

import pytest

from tests.acceptance.pages import ROOT, Reader, blocks, printed
from tests.servers import eventually

PAGE = blocks((ROOT / "docs" / "tutorial" / "two-tenants.md").read_text(encoding="utf-8"))


def watch(reader, command, expected):
    """Run a worker until its tasks have printed as much as is expected; return that."""
    with reader.running(command, ready="WARNING/") as log:
        eventually(
            lambda: len(printed(log)) >= len(expected.splitlines()),
            30,
            "the worker has printed as much as the page says",
        )
    return "\n".join(printed(log)) + "\n"


def test_what_the_tutorial_installs_is_an_extra_of_this_package():
    install = next(block for block in PAGE if block.code.startswith("pip install"))
    name, extra = re.search(r'"(.*)\[(.*)\]"', install.code).groups()
    assert extra in metadata.metadata(name).get_all("Provides-Extra")


@pytest.mark.timeout(180)
def test_two_tenants_take_turns_as_the_page_says(short_path):
    reader = Reader(short_path)
    shown = [block for block in PAGE if not block.code.startswith("pip install")]
    printed = {}
    for block, following in zip(shown, [*shown[1:], None], strict=True):
        expected = following.code if following and following.language == "text" else None
        if block.language == "python":
            reader.write(re.search(r"`(\w+\.py)`", block.paragraph)[1], block.code)
        elif block.code.startswith("celery "):
            assert watch(reader, block.code, expected) == expected
            printed[block.heading] = expected
        elif block.language == "bash":
            output = reader.run(block.code)
            assert expected is None or output == expected

    assert set(printed) == {"The flood", "Turns", "Who goes first"}
    socket = short_path / "ranch" / "redis.sock"
    eventually(lambda: not socket.exists(), 20, "the Redis of the folder has stopped")
