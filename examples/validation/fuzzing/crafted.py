"""Broken files that no accident makes: bombs, pickles, headers that lie.

Each function writes files of one format into a folder and yields their paths. `mark` is
a file that the pickles among them would create.
"""

import io
import json
import sqlite3
import struct
import zipfile

import numpy as np
import torch
from safetensors import safe_open

from .mutations import Trap, poison

BOMB = 1 << 29  # bytes that a bomb expands to

YAML = {
    "object": "a: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:"
    "pathlib.Path [{mark}]]",
    "billion": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(
        f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
        for old, new in zip("abcdefgh", "bcdefghi")
    ),
    "circle": "a: &a [*a]",
    "circle-keys": "&a {output: *a}",
    "date": "output: 2020-99-99",
    "digits": "seed: " + "9" * 10_000,
    "twice": "output: a\noutput: b",
    "keys": "1: a\n? [2]\n: b\nnull: c\n1.5: d",
    "unhashable": "? {a: b}\n: c",
    "binary": "output: !!binary '===='",
    "int": "seed: !!int x",
    "documents": "output: a\n---\noutput: b",
    "list": "- output",
    "text": "output",
    "nothing": "",
    "null": "null",
    "merge": "<<: 3\noutput: a",
    "sets": "output: !!set {a, b}",
    "control": "output: \x01",
    "large": "output: [" + "a, " * 500_000 + "a]",
}


def yaml_files(folder, whole, mark):
    del whole
    for name, text in YAML.items():
        path = folder / f"{name}.yaml"
        path.write_text(text.replace("{mark}", str(mark)))
        yield path


def _header(shape, dtype: object = "<f8"):
    """Header of an .npy file, whatever it claims."""
    text = str({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    text = text.ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _npy(array):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array))
    return buffer.getvalue()


def _zip(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def npz_files(folder, whole, mark):
    """Each array of a whole file in turn is something else."""
    with np.load(whole) as data:
        arrays = {name: _npy(data[name]) for name in data.files}
    trap = np.empty(1, dtype=object)
    trap[0] = Trap(mark)
    pickled = io.BytesIO()
    np.lib.format.write_array(pickled, trap, allow_pickle=True)
    others = {
        "object": pickled.getvalue(),
        "pickle": poison(mark),
        "absurd": _header((1 << 60, 1 << 60)),
        "terabytes": _header((1 << 40,)),
        "negative": _header((-1, 3)),
        "words": _header(("a", None)),
        "evil": _header("__import__('os').getpid()"),
        "deep": b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000,
        "text": _npy(["a", "b"]),
        "empty": _npy(np.zeros(0)),
        "scalar": _npy(3.0),
        "complex": _npy([1j]),
        "huge": _npy(np.full((2, 3), 1e308)),
        "nan": _npy(np.full(3, np.nan)),
        "large": _npy(np.full(3, 2**62)),
        "deepest": _npy(np.zeros((1,) * 9)),
        "nothing": b"",
        "no-width": _header((1 << 50,), "|S0"),
        "record": _header((1,), dtype=[("a", "<f8", (1000,)), ("b", "O")]),
    }
    for name in arrays:
        for kind, content in others.items():
            yield _zip(
                folder / f"{name}-{kind}.npz".replace("/", "."),
                arrays | {name: content},
            )
        left = {other: value for other, value in arrays.items() if other != name}
        yield _zip(folder / f"{name}-missing.npz".replace("/", "."), left)
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        path = _zip(folder / f"method-{method}.npz", arrays, method)
        yield path
        content = bytearray(path.read_bytes())
        content[60:90] = bytes(30)
        damaged = folder / f"method-{method}-damaged.npz"
        damaged.write_bytes(content)
        yield damaged
    yield _encrypted(folder / "encrypted.npz", arrays)
    yield npz_bomb(folder / "bomb.npz", list(arrays))
    path = folder / "plain-pickle.npz"
    path.write_bytes(poison(mark))
    yield path
    path = folder / "plain-array.npz"
    path.write_bytes(_npy([1.0]))
    yield path


def _encrypted(path, arrays):
    """Set the flag of encryption in every entry of an archive."""
    _zip(path, arrays)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(signature, at + 4)
    path.write_bytes(content)
    return path


def npz_bomb(path, names):
    """Half a gigabyte of zeros in half a megabyte."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in names[:1]:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                member.write(_header((BOMB // 8,)))
                for _ in range(BOMB >> 20):
                    member.write(bytes(1 << 20))
        for name in names[1:]:
            archive.writestr(f"{name}.npy", _npy(np.zeros(1)))
    return path


def _tensors(path):
    with safe_open(str(path), framework="pt") as file:
        return file.metadata(), path.read_bytes()


def safetensors_files(folder, whole, mark):
    """Headers that lie, about tensors and about the model."""
    metadata, content = _tensors(whole)
    length = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    first = next(name for name in header if name != "__metadata__")

    def write(name, new, size=None):
        text = new if isinstance(new, bytes) else json.dumps(new).encode()
        path = folder / f"{name}.safetensors"
        declared = struct.pack("<Q", len(text) if size is None else size)
        path.write_bytes(declared + text + body)
        return path

    for size in (0, 1, length - 1, length + 1, 1 << 27, 1 << 40, (1 << 64) - 1):
        yield write(f"length-{size}", header, size)
    entry = header[first]
    shape, (start, end) = entry["shape"], entry["data_offsets"]
    for name, change in {
        "shape-negative": {"shape": [-1]},
        "shape-large": {"shape": [1 << 62, 1 << 62]},
        "shape-other": {"shape": [*shape, 2]},
        "shape-flat": {"shape": [int(np.prod(shape))]},
        "offsets-swapped": {"data_offsets": [end, start]},
        "offsets-beyond": {"data_offsets": [start, 1 << 50]},
        "type-unknown": {"dtype": "F99"},
        "type-other": {"dtype": "I32"},
        "type-text": {"dtype": 3},
    }.items():
        yield write(name, header | {first: entry | change})
    yield write("list", [1])
    yield write("deep", b"[" * 100_000)
    yield write("pickle", poison(mark))
    yield write("missing", {k: v for k, v in header.items() if k != first})
    yield write("no-metadata", {k: v for k, v in header.items() if k != "__metadata__"})
    for name, new in _metadata(metadata):
        yield write(name, header | {"__metadata__": new})
    path = folder / "pickle-only.safetensors"
    path.write_bytes(poison(mark))
    yield path
    path = folder / "torch.safetensors"
    torch.save(Trap(mark), path)
    yield path


def _metadata(metadata):
    """Descriptions of the model that are of another type, or of another model."""
    for key in metadata:
        for number, value in enumerate(
            ("", "3", "null", "[]", "{}", '"x"', "[" * 50_000)
        ):
            yield f"{key}-{number}", metadata | {key: value}
        yield f"{key}-gone", {k: v for k, v in metadata.items() if k != key}
    model = json.loads(metadata["model"])
    for name in model["config"]:
        for number, value in enumerate(
            (-1, 0, 10**9, 2**70, "x", None, [], [10**9], 1e308)
        ):
            config = model["config"] | {name: value}
            changed = json.dumps({"name": model["name"], "config": config})
            yield f"config-{name}-{number}", metadata | {"model": changed}


def torch_files(folder, whole, mark):
    """Checkpoints of training that are pickles of something else."""
    content = torch.load(whole, map_location="cpu", weights_only=True)
    others = {
        "trap": Trap(mark), "trap-inside": content | {"epoch": Trap(mark)}, "list": [1],
        "number": 3, "nothing": None, "empty": {},
    }  # fmt: skip
    for name, thing in others.items():
        path = folder / f"{name}.ckpt"
        torch.save(thing, path)
        yield path
    path = folder / "pickle.ckpt"
    path.write_bytes(poison(mark))
    yield path
    path = folder / "legacy.ckpt"
    torch.save(Trap(mark), path, _use_new_zipfile_serialization=False)
    yield path


CELLS = [
    None, -1, 10**12, 1.5, "x", "", "{", "[1, 2]", '{"a": 1}', b"\x00\xff", b"\x00" * 7,
    "[" * 50_000,
]  # fmt: skip


def database_files(folder, whole, mark):
    """Every column in turn holds something else; tables are missing."""
    del mark
    with sqlite3.connect(whole) as rows:
        columns = [row[1] for row in rows.execute("PRAGMA table_info(systems)")]
        tables = [
            row[0]
            for row in rows.execute("SELECT name FROM sqlite_master WHERE type='table'")
            if not row[0].startswith("sqlite_")
        ]
    rows.close()
    for column in columns:
        for number, value in enumerate(CELLS):
            path = folder / f"{column}-{number}.db"
            yield _changed(whole, path, f"UPDATE systems SET {column} = ?", value)
    for table in tables:
        yield _changed(whole, folder / f"no-{table}.db", f"DROP TABLE {table}")
        yield _changed(whole, folder / f"empty-{table}.db", f"DELETE FROM {table}")
    other = "UPDATE information SET value = 'x'"
    yield _changed(whole, folder / "information.db", other)


def _changed(whole, path, statement, *values):
    path.write_bytes(whole.read_bytes())
    rows = sqlite3.connect(path)
    try:
        with rows:
            rows.execute(statement, values)
    except sqlite3.Error:  # the id takes numbers only
        pass
    finally:
        rows.close()
    return path


def text_files(folder, whole, mark):
    """A pickle under the name of a text."""
    path = folder / f"pickle{whole.suffix}"
    path.write_bytes(poison(mark))
    yield path


EXTXYZ = {
    "minus": "-1\n\n",
    "many": "999999999999\n\nH 0 0 0\n",
    "columns": '1\nProperties=species:S:1:pos:R:3:x:R:999999999\nH 0 0 0\n',
    "negative-columns": '1\nProperties=species:S:1:pos:R:-3\nH 0 0 0\n',
    "flat-cell": '1\nLattice="0 0 0 0 0 0 0 0 0" pbc="T T T"\nH 0 0 0\n',
    "tiny-cell": '1\nLattice="1e-9 0 0 0 1e-9 0 0 0 1e-9" pbc="T T T"\nH 0 0 0\n',
    "infinite-cell": '1\nLattice="inf 0 0 0 1 0 0 0 1" pbc="T T T"\nH 0 0 0\n',
    "element": "1\n\nQq 0 0 0\n",
    "dummy": "1\n\nX 0 0 0\n",
    "far": "2\n\nH 1e300 0 0\nH -1e300 0 0\n",
    "energy": "1\nenergy=nan\nH 0 0 0\n",
    "forces": '1\nProperties=species:S:1:pos:R:3:forces:R:2\nH 0 0 0 1 1\n',
    "stress": '1\nstress="1 2 3"\nH 0 0 0\n',
    "array": '1\nenergy="1 2 3"\nH 0 0 0\n',
    "none": "0\n\n",
    "quotes": '1\nLattice="1 0 0\nH 0 0 0\n',
    "json": '1\nx=_JSON ' + "[" * 50_000 + "\nH 0 0 0\n",
}  # fmt: skip


def extxyz_files(folder, whole, mark):
    for name, text in EXTXYZ.items():
        path = folder / f"{name}.extxyz"
        path.write_text(text)
        yield path
    yield from text_files(folder, whole, mark)


CIF_CHANGES = {
    "angles": ("_cell_angle_alpha", "0"),
    "wide-angles": ("_cell_angle_gamma", "359"),
    "length": ("_cell_length_a", "0"),
    "long": ("_cell_length_b", "1e300"),
    "unknown": ("_cell_length_c", "?"),
    "nothing": ("_cell_length_c", "nan"),
    "group": ("_space_group_IT_number", "9999"),
}


def cif_files(folder, whole, mark):
    text = whole.read_text()
    for name, (key, value) in CIF_CHANGES.items():
        lines = [
            f"{key} {value}" if line.startswith(key) else line
            for line in text.splitlines()
        ]
        path = folder / f"{name}.cif"
        path.write_text("\n".join(lines) + "\n")
        yield path
    path = folder / "operations.cif"
    path.write_text(text.replace("'x, y, z'", "'__import__(\"os\"), y/0, z'"))
    yield path
    yield from text_files(folder, whole, mark)
