"""Ways to break a file, each a function of its bytes and of random numbers."""

import pickle
from pathlib import Path

NUMBERS = [
    b"nan", b"-inf", b"-1", b"0", b"1e999", b"abc", b"", b"0x7f", b"1.5.2", b"True",
    b"99999999999999999999", b"2147483648", b"1" + b"0" * 5000, b"[1, 2]",
    "\u0663".encode(),
]  # fmt: skip


class Trap:
    """Unpickling one makes a file: the mark that code of a file was run."""

    def __init__(self, mark):
        self.mark = Path(mark)

    def __reduce__(self):
        return self.mark.touch, ()


def poison(mark):
    """Return a pickle that runs code."""
    return pickle.dumps(Trap(mark))


def truncated(data, rng):
    return data[: rng.integers(len(data) + 1)]


def flipped(data, rng):
    """A few bits are wrong."""
    broken = bytearray(data)
    for at in rng.integers(len(data), size=rng.integers(1, 9)):
        broken[at] ^= 1 << rng.integers(8)
    return bytes(broken)


def overwritten(data, rng):
    """A stretch is noise."""
    start, end = sorted(rng.integers(len(data) + 1, size=2))
    return data[:start] + rng.bytes(min(end - start, 4096)) + data[end:]


def duplicated(data, rng):
    start, end = sorted(rng.integers(len(data) + 1, size=2))
    return data[:end] + data[start:end] * int(rng.integers(1, 4)) + data[end:]


def cut_out(data, rng):
    start, end = sorted(rng.integers(len(data) + 1, size=2))
    return data[:start] + data[end:]


def zeros_inside(data, rng):
    at = rng.integers(len(data) + 1)
    return data[:at] + bytes(int(rng.integers(1, 1000))) + data[at:]


def lines_shuffled(data, rng):
    lines = data.splitlines(keepends=True)
    return b"".join(lines[k] for k in rng.permutation(len(lines)))


def line_repeated(data, rng):
    lines = data.splitlines(keepends=True) or [b"\n"]
    at = rng.integers(len(lines))
    return b"".join(lines[:at] + [lines[at]] * 1000 + lines[at:])


def line_dropped(data, rng):
    lines = data.splitlines(keepends=True) or [b"\n"]
    at = rng.integers(len(lines))
    return b"".join(lines[:at] + lines[at + 1 :])


def word_replaced(data, rng):
    """A word or number of a text is another one, of another type or size."""
    words = data.split(b" ")
    words[rng.integers(len(words))] = NUMBERS[rng.integers(len(NUMBERS))]
    return b" ".join(words)


def token_replaced(data, rng):
    """As `word_replaced`, within punctuation."""
    separator = [b":", b"=", b",", b"\n", b'"'][rng.integers(5)]
    tokens = data.split(separator)
    tokens[rng.integers(len(tokens))] = NUMBERS[rng.integers(len(NUMBERS))]
    return separator.join(tokens)


def long_line(data, rng):
    """Text without an end, in the first line or anywhere."""
    at = int(rng.integers(2)) * data.find(b"\n", int(rng.integers(len(data) + 1)))
    return data[: max(at, 0)] + b"7" * 1_000_000 + data[max(at, 0) :]


def other_encoding(data, rng):
    names = ["utf-16", "utf-32", "utf-8-sig", "cp500"]
    text = data.decode("latin-1")
    return text.encode(names[rng.integers(len(names))], errors="replace")


def empty(data, rng):
    del data, rng
    return b""


def nested(data, rng):
    """Brackets deeper than any parser can follow."""
    del data
    opening = [b"[", b"{", b"(", b'{"a":', b"- "][rng.integers(5)]
    return opening * 20_000


def of_another_format(data, rng):
    """The beginning of some other kind of file."""
    heads = [
        b"PK\x03\x04", b"SQLite format 3\x00", b"\x93NUMPY\x01\x00\xff\xff",
        b"\x1f\x8b",
        b"- of UlmASE-Trajectory", b"\x80\x04", b"BZh9", b"%PDF-1.4\n", b"GIF89a",
    ]  # fmt: skip
    return heads[rng.integers(len(heads))] + data[: rng.integers(len(data) + 1)]


ANY = [
    truncated, flipped, overwritten, duplicated, cut_out, zeros_inside, empty,
    of_another_format,
]  # fmt: skip
TEXT = [
    *ANY, lines_shuffled, line_repeated, line_dropped, word_replaced, token_replaced,
    long_line, other_encoding, nested,
]  # fmt: skip
