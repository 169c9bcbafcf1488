"""Byte strings as the Autobahn cases know them.

The cases are Python 2: their strings are bytes. Translated, each string keeps one character per byte (latin-1), and
only the WebSocket library, which wants real bytes, is given those. These functions are that border.
"""


def to_bytes(text):
    """One byte per character; bytes pass through."""
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)


def to_text(data):
    """One character per byte; text passes through."""
    return data if isinstance(data, str) else bytes(data).decode("latin-1")


def hex_of(text):
    """Hexadecimal digits, for the cases' descriptions."""
    return to_bytes(text).hex()
