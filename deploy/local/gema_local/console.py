"""What the user sees: plain lines, colours and a live line only on a terminal."""
import os
import re
import shutil
import sys

TERMINAL = sys.stdout.isatty()
COLOURS = TERMINAL and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOURS else text


def bold(text):
    return _paint("1", text)


def green(text):
    return _paint("32", text)


def red(text):
    return _paint("31", text)


def dim(text):
    return _paint("2", text)


_live = False


def say(text=""):
    """A line that stays."""
    clear_live()
    try:
        print(text, flush=True)
    except BrokenPipeError:  # nobody reads on (up | head): what was started runs on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(text):
    clear_live()
    print(text, file=sys.stderr, flush=True)


def live(text):
    """A line that the next one replaces. Nothing where this is no terminal."""
    global _live
    if not TERMINAL:
        return
    width = shutil.get_terminal_size().columns - 1
    plain = re.sub(r"\033\[\d*m", "", text)
    sys.stdout.write("\r\033[K" + (text if len(plain) <= width else plain[:width]))
    sys.stdout.flush()
    _live = True


def clear_live():
    global _live
    if _live:
        sys.stdout.write("\r\033[K")
        sys.stdout.flush()
        _live = False
