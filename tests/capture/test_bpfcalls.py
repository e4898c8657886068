"""Programs and maps through bpf(2), where this kernel lets the tests load some."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterator

import pytest

from tramposim.capture import bpfcalls
from tramposim.errors import InputError, UnsupportedError

RETURN_ZERO = bytes.fromhex("b7000000000000009500000000000000")


@pytest.fixture
def program() -> Iterator[int]:
    """The id of a loaded socket filter, and nothing where loading is not allowed."""
    insns = ctypes.create_string_buffer(RETURN_ZERO, len(RETURN_ZERO))
    licence = ctypes.create_string_buffer(b"GPL")
    addresses = ctypes.addressof(insns), ctypes.addressof(licence)
    wanted = struct.pack("<IIQQIIQII16s", 1, 2, *addresses, 0, 0, 0, 0, 0, b"tramposim_test")
    try:
        descriptor = bpfcalls._bpf(5, bpfcalls._attributes(wanted))
    except (OSError, UnsupportedError) as error:
        pytest.skip(f"no program can be loaded here: {error}")
    yield descriptor
    os.close(descriptor)


def test_a_loaded_program_is_found_with_its_code(program: int) -> None:
    found = [one for one in bpfcalls.loaded_programs().values() if one.name == "tramposim_test"]
    if not found:
        pytest.skip("this kernel does not show machine code")
    (one,) = found
    assert one.type == 1
    assert one.xlated == RETURN_ZERO
    assert one.func_lens == (len(one.jited),)
    assert one.map_ids == ()


def test_foreign_machines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(UnsupportedError, match="no bpf system call is known for riscv64"):
        bpfcalls.loaded_programs()


def test_a_refusal_says_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(command: int, attributes: object) -> int:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(bpfcalls, "_bpf", refuse)
    for ask in (bpfcalls.loaded_programs, bpfcalls.loaded_maps, bpfcalls.traced_btf_ids):
        with pytest.raises(InputError, match=r"bpf\(2\): Operation not permitted; capturing needs"):
            ask()
