from __future__ import annotations

import contextlib
import copyreg
import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from fabricated_release import fabricate, python_files
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cifar100.data.sources.pickles import dump_pickle, load_pickle
from cifar100.errors import UserError


class Call:
    """Pickles as a call of `function`, and can be pickled by any protocol."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def short_text(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


def stack_global(module: str, name: str) -> bytes:
    return short_text(module) + short_text(name) + b"\x93"


def sentinel_command(path: Path) -> str:
    return f"touch '{path}'"


# Each builds a pickle that makes the file `path` when an ordinary unpickler reads it.
EFFECTIVE = {
    "os.system": lambda path: pickle.dumps(Call(os.system, sentinel_command(path)), 2),
    "os.system, protocol 0": lambda path: pickle.dumps(Call(os.system, sentinel_command(path)), 0),
    "os.system, protocol 4": lambda path: pickle.dumps(Call(os.system, sentinel_command(path)), 4),
    "builtins.eval": lambda path: pickle.dumps(Call(eval, f"open({str(path)!r}, 'w').close()"), 2),
    "builtins.exec": lambda path: pickle.dumps({b"data": [Call(exec, f"open({str(path)!r}, 'w').close()")]}, 5),
    "nested in the labels": lambda path: pickle.dumps(
        {b"data": np.zeros((1, 3072), np.uint8), b"fine_labels": [Call(os.system, sentinel_command(path))]}, 2
    ),
    "array of objects": lambda path: pickle.dumps(
        {b"data": np.array([Call(os.system, sentinel_command(path))], object)}, 2
    ),
    "INST": lambda path: b"(S'" + sentinel_command(path).replace("'", '"').encode() + b"'\nios\nsystem\n.",
    "OBJ": lambda path: (
        b"\x80\x04(" + stack_global("subprocess", "Popen")
        + b"](" + short_text("touch") + short_text(str(path)) + b"eo."
    ),
    "getattr": lambda path: pickle.dumps(
        Call(eval, f"getattr(__import__('os'), 'sys' + 'tem')({sentinel_command(path)!r})"), 4
    ),
    "dotted name": lambda path: (
        b"\x80\x04" + stack_global("shutil", "os.system") + short_text(sentinel_command(path)) + b"\x85R."
    ),
    "after a harmless array": lambda path: (
        pickle.dumps(np.zeros(3, np.uint8), 4)[:-1] + b"0" + pickle.dumps(Call(os.system, sentinel_command(path)), 4)
    ),
    "numpy's own exec": lambda path: (
        b"\x80\x04" + stack_global("numpy.testing._private.utils", "runstring")
        + short_text(f"open({str(path)!r}, 'w').close()") + b"}\x86R."
    ),
    "numpy memmap": lambda path: (
        b"\x80\x04" + stack_global("numpy", "memmap") + b"(" + short_text(str(path)) + short_text("uint8")
        + short_text("w+") + b"K\x00K\x08tR."
    ),
}  # fmt: skip


@pytest.mark.parametrize("build", EFFECTIVE.values(), ids=EFFECTIVE.keys())
def test_malicious_pickle_is_refused_and_nothing_runs(build, tmp_path):
    armed, safe = tmp_path / "armed", tmp_path / "safe"
    if os.name == "posix":  # which has `touch`
        value = pickle.loads(build(armed))  # proves that the pickle is a working attack
        if hasattr(value, "wait"):
            value.wait()
        del value
        assert armed.exists()
    with pytest.raises(UserError, match=r"asks for |array of type |operation (PUT|STRING|INST|OBJ|POP)") as caught:
        load_pickle(build(safe), name="train")
    assert not safe.exists()
    assert str(caught.value).startswith("train ")
    assert "\n" not in str(caught.value)


REFUSED = {
    "names the global": (b"\x80\x02cposix\nsystem\n.", r"asks for posix\.system, which"),
    "names the global of STACK_GLOBAL": (
        b"\x80\x04" + stack_global("builtins", "getattr") + b".",
        r"builtins\.getattr",
    ),
    "names the global behind other operations": (b"\x80\x02]K\x01acos\nsystem\n.", r"os\.system"),
    "a class": (b"\x80\x04" + stack_global("collections", "deque") + b")R.", r"collections\.deque"),
    "a new object": (b"\x80\x04" + stack_global("numpy", "dtype") + b")\x81.", "NEWOBJ"),
    "numpy.load": (b"\x80\x02cnumpy\nload\n.", r"numpy\.load"),
    "dotted path through an allowed module": (b"\x80\x04" + stack_global("numpy", "f2py.os.system") + b".", "f2py"),
    "attribute of an allowed name": (b"\x80\x04" + stack_global("numpy", "ndarray.tofile") + b".", r"ndarray\.tofile"),
    "persistent id": (b"\x80\x02K\x01Q.", "BINPERSID"),
    "persistent id, protocol 0": (b"Pabc\n.", "PERSID"),
    "extension code": (b"\x80\x02\x82\x01.", "EXT1"),
    "buffer outside the file": (b"\x80\x05\x97.", "NEXT_BUFFER"),
    "memo bomb": (b"\x80\x02}r\xff\xff\xff\x7f.", "operation LONG_BINPUT as operation 2"),
    "tuple bomb": (b"\x80\x02)" + b"\x85" * 1_000_000 + b".", "operation TUPLE1"),
    "tuple bomb as a key": (b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.", "operation TUPLE1"),
    "hash bomb": (
        b"\x80\x04})\x94"
        + b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86\x94" for i in range(60))
        + b"K\x01s.",
        "operation BINGET",
    ),
    "hash bomb, disguised": (b"\x80\x04})(e\x94h\x00h\x00\x86.", "operation BINGET"),
    "hash bomb, disguised by a frame": (b"\x80\x04})\x95" + bytes(8) + b"\x94h\x00h\x00\x86.", "operation BINGET"),
    "hash bomb of duplicates": (b"\x80\x02})22\x87.", "operation DUP"),
    "a set": (b"\x80\x04\x8f.", "operation EMPTY_SET"),
    "too many objects": (b"\x80\x02" + b"]" * 2_000_001 + b".", "operation EMPTY_LIST as operation 2000001"),
    "length of bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.", "expected 1099511627776 bytes"),
    "length of a byte array": (b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc.", "expected 1099511627776 bytes"),
    "length of a frame": (b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.", "cannot be read"),
    "ndarray called with a huge shape": (
        b"\x80\x02cnumpy\nndarray\n\x8a\x05\x00\x00\x00\x00\x10\x85\x85R.",
        "it holds a _Array, expected a dictionary",
    ),
    "data type of objects": (pickle.dumps({b"data": np.array([None])}, 2), r"array of type '\|O8'"),
    "structured data type": (b"\x80\x02cnumpy\ndtype\n]\x85R.", "list instead of a short text"),
    "changed stand-in": (
        b"\x80\x02c_codecs\nencode\nN}X\x01\x00\x00\x00xK\x01s\x86b.",
        "holds a function, expected",
    ),
    "not a dictionary": (b"\x80\x02].", "it holds a list, expected a dictionary"),
    "unhashable key": (b"\x80\x02}]K\x01s.", "unhashable"),
    "tuple as a key": (b"\x80\x02})K\x01s.", "tuple instead of a short text"),
    "empty": (b"", "cannot be read"),
    "text": (b"hello", "operation BINGET as operation 0"),
    "web page": (b"<html>\n", "cannot be read"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_pickle_is_refused(content, message):
    with pytest.raises(UserError, match=message) as caught:
        load_pickle(content)
    assert "\n" not in str(caught.value)


def test_an_array_without_its_state_is_refused():
    content = b"\x80\x02}K\x01cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85N\x87Rs."
    with pytest.raises(UserError, match="cannot be read"):
        load_pickle(content)


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 31, 1 << 31), (7,), (1 << 400,)])
def test_the_shape_must_agree_with_the_bytes(shape):
    class Forged:
        def __reduce__(self):
            frombuffer = np._core.numeric._frombuffer
            return frombuffer, (b"abcdef", np.dtype("u1"), shape, "C")

    with pytest.raises(UserError, match="cannot be read as a pickle"):
        load_pickle(pickle.dumps({b"data": Forged()}, 4))


def amplified(function: bytes, *, argument: bytes, more: bytes) -> bytes:
    """A pickle that calls a function 900 times with the same megabyte."""
    start = b"\x80\x04" + function + b"\x94" + argument + struct.pack("<I", 2**20) + b"a" * 2**20 + b"\x94]("
    return start + (b"h\x00h\x01" + more + b"R") * 900 + b"e."


AMPLIFIED = {
    "encode": amplified(stack_global("_codecs", "encode"), argument=b"X", more=short_text("latin1") + b"\x86"),
    "dtype": amplified(stack_global("numpy", "dtype"), argument=b"B", more=b"\x85"),
}


@pytest.mark.parametrize("content", AMPLIFIED.values(), ids=AMPLIFIED.keys())
def test_a_string_that_is_passed_many_times_is_not_copied_each_time(content):
    tracemalloc.start()
    with pytest.raises(UserError):
        load_pickle(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 2**20


def test_a_changed_stand_in_is_not_used_again():
    changed = stack_global("_codecs", "encode") + b"N}" + short_text("__defaults__") + b")s\x86b"
    with pytest.raises(UserError):
        load_pickle(b"\x80\x04" + changed + b".")
    assert np.array_equal(load_pickle(pickle.dumps({b"data": ARRAYS["pixels"]}, 2))["data"], ARRAYS["pixels"])


def test_no_extension_registered_by_another_program_is_used():
    copyreg.add_extension("os", "system", 240)
    try:
        content = b"\x80\x02\x82\xf0X\x04\x00\x00\x00true\x85R."
        assert pickle.loads(content) == 0
        with pytest.raises(UserError, match="EXT1"):
            load_pickle(content)
    finally:
        copyreg.remove_extension("os", "system", 240)


ARRAYS = {
    "pixels": np.arange(12, dtype=np.uint8).reshape(4, 3),
    "column by column": np.asfortranarray(np.arange(12, dtype=np.uint8).reshape(4, 3)),
    "strided": np.arange(24, dtype=np.uint8).reshape(4, 6)[:, ::2],
    "labels": np.arange(-3, 3),
    "big-endian": np.arange(-3, 3, dtype=">i4"),
    "booleans": np.array([True, False]),
    "one image": np.zeros((1, 3072), np.uint8),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_arrays_of_every_protocol(array, protocol):
    table = {b"data": array, "text": ["é", b"\xff", 3, None, True, (1, 2), {}], b"negative": -(2**70)}
    loaded = load_pickle(pickle.dumps(table, protocol))
    read = loaded.pop("data")
    assert read.dtype == array.dtype
    assert np.array_equal(read, array)
    assert loaded == {"text": table["text"], "negative": table[b"negative"]}


def test_the_names_of_numpy_1_are_known():
    content = pickle.dumps({b"data": ARRAYS["pixels"]}, 2).replace(b"numpy._core", b"numpy.core")
    assert np.array_equal(load_pickle(content)["data"], ARRAYS["pixels"])


def test_dump_pickle_is_read_like_the_official_files():
    table = {"data": ARRAYS["pixels"], "labels": [0, 255], "names": ["a", "b" * 300], "label": "c"}
    content = dump_pickle(table)
    for encoding, convert in (("bytes", str.encode), ("latin1", str)):
        loaded = pickle.loads(content, encoding=encoding)
        array = loaded.pop(convert("data"))
        assert array.dtype == np.uint8
        assert np.array_equal(array, ARRAYS["pixels"])
        assert loaded == {
            convert("labels"): [0, 255],
            convert("names"): [convert("a"), convert("b" * 300)],
            convert("label"): convert("c"),
        }
    assert np.array_equal(load_pickle(content)["data"], ARRAYS["pixels"])


SEEDS = [python_files(fabricate(1, 1), protocol)[name] for protocol in (2, 4, 5) for name in ("train", "meta")]
SEEDS.append(dump_pickle({"data": ARRAYS["pixels"], "labels": [1, 2]}))


@settings(max_examples=300, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 3)), min_size=1, max_size=6),
)
@example(seed=SEEDS[0], changes=[(0.5, b"", 3)])
def test_a_mutated_pickle_is_read_or_refused(seed, changes):
    content = bytearray(seed)
    interesting = [index for index in range(len(content)) if index < 120 or index > len(content) - 120]
    for place, replacement, num_removed in changes:
        start = interesting[int(place * (len(interesting) - 1))]
        content[start : start + num_removed] = replacement
    with contextlib.suppress(UserError):
        assert isinstance(load_pickle(bytes(content)), dict)
