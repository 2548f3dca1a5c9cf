"""Printing for the user: one place, so that notebooks, logs and tests can redirect it."""

from __future__ import annotations

import logging
import sys

from graphkeras.core import config

logger = logging.getLogger("graphkeras")


def print_msg(message: str, line_break: bool = True) -> None:
    """Print to stdout, or to the logger when interactive logging is off; characters that stdout lacks are replaced."""
    if not config.is_interactive_logging_enabled():
        logger.info(message.strip("\r\b\n"))
        return
    text = message + "\n" if line_break else message
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(text.encode(encoding, errors="replace").decode(encoding))
    sys.stdout.flush()


def ask_to_proceed_with_overwrite(filepath: object) -> bool:
    """Ask on the terminal whether a file may be replaced."""
    answer = input(f"[WARNING] {filepath} already exists - overwrite? [y/n] ").strip().lower()
    while answer not in ("y", "n"):
        answer = input('Enter "y" (overwrite) or "n" (cancel). ').strip().lower()
    if answer == "y":
        print_msg("[TIP] Next time specify overwrite=True!")
    return answer == "y"
