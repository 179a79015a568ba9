r"""How a key is written on a command line and on a screen: the same way, to be copied.

The parts of a path are joined by slashes, ``acme/alice``. A slash or a backslash
within a part has a backslash before it, ``24\/7``. What cannot be seen is written
``\x1b``, ``\u200d`` or ``\U000e0001``, spaces at the ends of a part too; a backslash
before any other character that is not a letter or digit stands for that character.
"""

from __future__ import annotations

import re

from celery_ranch.errors import InvalidKeyError
from celery_ranch.observing.notation import visible, written_key
from celery_ranch.scheduling.model import KeyPath, key_path

__all__ = ["read_key", "visible", "written_key"]

_PIECE = re.compile(
    r"(?P<split>/)"
    r"|\\x(?P<x>[0-9a-fA-F]{2})|\\u(?P<u>[0-9a-fA-F]{4})|\\U(?P<U>[0-9a-fA-F]{8})"
    r"|\\(?P<self>[\W_])"
    r"|(?P<plain>[^/\\]+)",
    re.DOTALL,
)
_ALLOWED = r"parts joined by /, and in them \/ \\ \xHH \uHHHH \UHHHHHHHH"


def read_key(text: str) -> KeyPath:
    r"""Return the key that somebody wrote.

    Raises:
        InvalidKeyError: It is not written as a key is, or is no key.

    Example:
        >>> read_key("acme/alice"), read_key(r"24\/7"), read_key(r"bell\x07")
        (('acme', 'alice'), ('24/7',), ('bell\x07',))
    """
    parts = [""]
    at = 0
    while at < len(text):
        piece = _PIECE.match(text, at)
        if piece is None:
            raise InvalidKeyError(text, _ALLOWED)
        at = piece.end()
        if piece["split"]:
            parts.append("")
        else:
            parts[-1] += _character(piece, text)
    return key_path(tuple(parts))


def _character(piece: re.Match[str], text: str) -> str:
    code = piece["x"] or piece["u"] or piece["U"]
    if code is None:
        return piece["self"] or piece["plain"]
    if int(code, 16) > 0x10FFFF:
        raise InvalidKeyError(text, _ALLOWED)
    return chr(int(code, 16))
