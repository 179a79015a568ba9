r"""How a key is written wherever it is shown, to be copied and read back (`cli.notation`).

The parts of a path are joined by slashes, ``acme/alice``. A slash or a backslash
within a part has a backslash before it, ``24\/7``. What cannot be seen is written
``\x1b``, ``\u200d`` or ``\U000e0001``, spaces at the ends of a part too; a backslash
before any other character that is not a letter or digit stands for that character.
"""

from __future__ import annotations

from celery_ranch.scheduling.model import KeyPath

__all__ = ["visible", "written_key"]


def written_key(path: KeyPath) -> str:
    r"""Return a key as people see it and can give it back.

    Example:
        >>> print(written_key(("acme", "alice")), written_key(("24/7", "bell\a")))
        acme/alice 24\/7/bell\x07
    """
    return "/".join(map(_written_part, path))


def visible(text: str) -> str:
    r"""Return a text in one line, with what cannot be seen, or would act, written out.

    Example:
        >>> print(visible("two\nlines"))
        two\x0alines
    """
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _written_part(part: str) -> str:
    shown = "".join(
        "\\" + one if one in "/\\" else one if one.isprintable() else _escape(one) for one in part
    )
    if shown.startswith(" "):
        shown = r"\x20" + shown[1:]
    return shown[:-1] + r"\x20" if shown.endswith(" ") else shown


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
