"""A capture of traced functions, made from a view of a running kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

import msgspec

from tramposim.capture.boot import boot_kernel, boot_symbols
from tramposim.capture.decode import DecodedImage, DecodedNode, decode_image
from tramposim.capture.functions import called_by, function_records
from tramposim.capture.layouts import read_fields
from tramposim.capture.records import BootRecord, CaseRecord
from tramposim.capture.trampolines import CaseContext, case_request
from tramposim.capture.view import KernelView, LoadedProgramInfo, kernel_version
from tramposim.errors import InputError, TramposimError, UnsupportedError
from tramposim.jit.trampoline import build_trampoline
from tramposim.kernel.nodes import TrampFlag
from tramposim.kernel.structs import structs
from tramposim.kernel.versions import PADDED_FUNCTIONS
from tramposim.spec import Arch, Prototype, Value

__all__ = ["capture_records"]

_BEFORE, _AFTER = 16, 80
_LONGEST_IMAGE = 4096
_PATCHED_REACH = 17
"""Behind the start of a function images return to at most so many bytes."""
_LITERAL = 8
_ARGUMENTS = 12

_KINDS = {24: "fe", 25: "fx", 26: "fm", 27: "lsm", 58: "fs", 59: "me", 60: "mx", 61: "ms"}
"""enum bpf_attach_type of programs that trampolines call, as records abbreviate them."""

_PROG_FIELDS = (
    "jited", "is_func", "call_get_stack", "call_get_func_ip", "call_session_cookie", "sleepable",
    "type", "expected_attach_type", "len", "jited_len", "stats", "active", "bpf_func", "aux",
)  # fmt: skip
_AUX_FIELDS = (
    "stack_depth", "func_cnt", "real_func_cnt", "func_idx", "attach_btf_id", "priv_stack_ptr",
    "tail_call_reachable", "exception_cb", "exception_boundary", "jits_use_priv_stack", "arena",
)  # fmt: skip

_SYMBOLS = (
    "_stext", "_etext", "__per_cpu_start", "__per_cpu_end", "__per_cpu_offset", "pcpu_hot",
    "__bpf_call_base", "init_task", "__x86_return_thunk", "__x86_call_depth",
    "__x86_indirect_thunk_array", "__x86_indirect_its_thunk_array",
    "__x86_indirect_thunk_rax", "__x86_indirect_thunk_rcx", "__x86_indirect_thunk_rdx",
    "__x86_indirect_thunk_rsi", "__x86_indirect_thunk_rdi", "__x86_indirect_thunk_r10",
    "__x86_indirect_thunk_r11", "__x86_indirect_jump_thunk_rcx", "__x86_indirect_call_thunk_rcx",
    "__x86_indirect_its_thunk_rcx", "bpf_dispatcher_xdp_func", "bpf_throw", "clear_bhb_loop",
)  # fmt: skip
"""Symbols that images and programs refer to beyond those of the guest runtime."""

_ROOTS = (
    *(
        f"__bpf_prog_{way}{kind}"
        for kind in ("_recur", "", "_sleepable_recur", "_sleepable", "_lsm_cgroup")
        for way in ("enter", "exit")
    ),
    "__bpf_tramp_enter", "__bpf_tramp_exit", "ftrace_caller", "read_tsc", "bpf_ktime_get_ns",
    "retbleed_return_thunk", "srso_return_thunk", "srso_alias_return_thunk",
    "srso_alias_safe_ret", "its_return_thunk", "call_depth_return_thunk",
    "__x86_indirect_thunk_rax", "__x86_indirect_thunk_rcx",
)  # fmt: skip
"""Functions that replaying needs, whatever the image calls."""


def capture_records(view: KernelView, functions: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The records of a capture: boot, a case per function, the kernel's functions around them.

    Raises `InputError` for a function that does not exist or is not traced by programs, and
    where the kernel cannot be read; `UnsupportedError` for what is not known.
    """
    boot = _boot(view)
    yield boot
    decoded = msgspec.convert(boot, BootRecord)
    roots: dict[int, None] = {}
    for name in dict.fromkeys(functions):
        case, called = _case(view, decoded, name)
        roots |= dict.fromkeys(called)
        yield case
    roots |= {a: None for root in _ROOTS if (a := view.symbols.get(root)) is not None}
    yield from function_records(view, roots)


def _boot(view: KernelView) -> dict[str, Any]:
    known = structs(view.arch)
    names = dict.fromkeys([*_SYMBOLS, *_ROOTS, *known.text, *known.data, *known.percpu])
    symbols = {name: a for name in names if (a := view.symbols.get(name)) is not None}
    boot: dict[str, Any] = {
        "rec": "boot",
        "format": "tramposim.capture/1",
        "arch": view.arch.value,
        "kernel": kernel_version(view.release),
        "variant": "captured" if view.atomics else "no-atomics",
        "uname": {"release": view.release},
        "cmdline": view.cmdline,
        "vulnerabilities": dict(view.vulnerabilities),
        "symbols": symbols,
        "layouts": dict(view.layouts),
    }
    pointer = view.symbols.get("x86_return_thunk")
    if view.arch is Arch.X86_64 and pointer is not None:
        thunk = view.memory.read_int(pointer)
        boot["x86_return_thunk_value"] = thunk
        boot["x86_return_thunk_symbols"] = list(view.symbols.names_at(thunk))
    return boot


def _case(view: KernelView, boot: BootRecord, name: str) -> tuple[dict[str, Any], list[int]]:
    """The record of one function, and the addresses of kernel functions that it executes."""
    function = view.symbols.address(name)
    around = view.memory.read(function - _BEFORE, _BEFORE + _AFTER)
    image, ops = _image_of(view, name, function, around[_BEFORE:])
    code = view.memory.read_some(image, _LONGEST_IMAGE)
    decoded = decode_image(
        view.arch, code, image, range(function, function + _PATCHED_REACH), _namer(view)
    )
    size = _image_size(view, decoded)
    programs = {node.p: f"p{i}" for i, node in enumerate({n.p: n for n in decoded.nodes}.values())}
    listed = [_program(view, p, name_, decoded) for p, name_ in programs.items()]
    fields = {program["name"]: program["main"]["prog_fields"] for program in listed}
    kinds = {program["name"]: program["kind"] for program in listed}
    case = {
        "rec": "case",
        "id": name,
        "group": "captured",
        "arch": view.arch.value,
        "kernel": boot.kernel,
        "variant": boot.variant,
        "target": name,
        "maps": _maps(view, listed),
        "progs": listed,
        "image": image,
        "im": decoded.im,
        "func_addr": function,
        "img": code[: max(size, decoded.length)].hex(),
        "code_len": decoded.length,
        "func_bytes_m16": around.hex(),
        "model": _model(view.prototype_of(name)),
        "nodes": _nodes(decoded, programs, kinds, fields),
    }
    if size:
        case["im_size"] = size
    if ops:
        case |= {"site_ops": ops, "ops_direct_call": image}
    case["flags"] = _flags(case, boot, decoded, fields)
    called = [address for address in decoded.calls if address not in view.programs]
    for program in listed:
        machine_code = bytes.fromhex(program["jited"])
        called += [a for _, a in called_by(view.arch, machine_code, program["ksyms"][0])]
    return case, [function, *(a for a in called if view.symbols.names_at(a))]


def _image_of(view: KernelView, name: str, function: int, entry: bytes) -> tuple[int, int]:
    """The image that the function's patched entry reaches, and arm64's ftrace_ops (0: none)."""
    target, ops = _entry_target(view.arch, function, entry), 0
    if (
        target is not None
        and view.arch is Arch.ARM64
        and target == view.symbols.get("ftrace_caller")
    ):
        ops = view.memory.read_int(function - _LITERAL)
        member = {m["name"]: m for m in view.layouts.get("ftrace_ops", {}).get("members", ())}
        if "direct_call" not in member:
            raise InputError("the layout of struct ftrace_ops is not known")
        target = view.memory.read_int(ops + member["direct_call"]["off"])
    names = view.symbols.names_at(target) if target else ()
    if not any(one.startswith("bpf_trampoline_") for one in names):
        where = f"; its entry goes to {names[0]}" if names else ""
        raise InputError(
            f"no BPF program traces it{where}; attach one (fentry, fexit, fmod_ret, fsession, "
            "lsm) and capture while it is attached",
            name,
        )
    assert target is not None
    return target, ops


def _entry_target(arch: Arch, function: int, entry: bytes) -> int | None:
    """Where the patched instruction of a function's entry goes; None if it goes nowhere."""
    if arch is Arch.X86_64:
        for at in (0, 4):
            if entry[at] in (0xE8, 0xE9):
                offset = int.from_bytes(entry[at + 1 : at + 5], "little", signed=True)
                return function + at + 5 + offset & (1 << 64) - 1
        return None
    for at in (4, 8):
        word = int.from_bytes(entry[at : at + 4], "little")
        if word >> 26 == 0x25:
            offset = (word & 0x3FFFFFF) - (1 << 26 if word & 0x2000000 else 0)
            return function + at + 4 * offset & (1 << 64) - 1
    return None


def _namer(view: KernelView) -> Any:
    def name_of(address: int) -> str:
        names = view.symbols.names_at(address)
        known = [name for name in names if name.startswith("__bpf_")]
        return (known or list(names) or [""])[0]

    return name_of


def _image_size(view: KernelView, decoded: DecodedImage) -> int:
    """im->size, 0 if the image does not name its struct bpf_tramp_image."""
    if not decoded.im:
        return 0
    size = read_fields(view.memory, view.layouts, "bpf_tramp_image", decoded.im, ("size",))["size"]
    if not decoded.length <= size <= _LONGEST_IMAGE:
        raise InputError(f"bpf_tramp_image.size is {size}, the code has {decoded.length} bytes")
    return size


def _program(view: KernelView, p: int, name: str, decoded: DecodedImage) -> dict[str, Any]:
    """A program as the JIT got it and what it made of it."""
    main = _function_input(view, p)
    attach_type = main["prog_fields"]["expected_attach_type"]
    if attach_type not in _KINDS:
        raise UnsupportedError(f"program at {p:#x}: attach type {attach_type}")
    entry = next((node.bpf_func for node in decoded.nodes if node.p == p), 0)
    info = view.programs.get(entry) or _from_memory(main, entry)
    if not info.jited:
        info = LoadedProgramInfo(
            info.id, info.type, info.name,
            view.memory.read(entry, main["prog_fields"]["jited_len"]), (entry,),
            (main["prog_fields"]["jited_len"],), info.xlated, info.map_ids,
        )  # fmt: skip
    return {
        "name": name,
        "kind": _KINDS[attach_type],
        "opts": {"id": info.id, "name": info.name, "map_ids": list(info.map_ids)},
        "jited": info.jited.hex(),
        "xlated": info.xlated.hex() or None,
        "ksyms": list(info.ksyms),
        "func_lens": list(info.func_lens),
        "main": main,
        "funcs": _subprograms(view, main) if len(info.ksyms) > 1 else [],
        "p": p,
        "bpf_func": entry,
    }


def _from_memory(main: dict[str, Any], entry: int) -> LoadedProgramInfo:
    """A program that bpf(2) does not list: its code is read from memory."""
    return LoadedProgramInfo(0, main["prog_fields"]["type"], "", b"", (entry,), ())


def _function_input(view: KernelView, p: int) -> dict[str, Any]:
    memory, layouts = view.memory, view.layouts
    fields = read_fields(memory, layouts, "bpf_prog", p, _PROG_FIELDS)
    insns = fields["len"]
    if not 0 < insns <= 1_000_000:
        raise InputError(f"program at {p:#x} has {insns} instructions")
    return {
        "p": p,
        "aux_addr": fields["aux"],
        "len": insns,
        "insnsi": memory.read(p + layouts["bpf_prog"]["size"], 8 * insns).hex(),
        "prog_fields": fields,
        "aux_fields": read_fields(memory, layouts, "bpf_prog_aux", fields["aux"], _AUX_FIELDS),
    }


def _subprograms(view: KernelView, main: dict[str, Any]) -> list[dict[str, Any]]:
    """All functions of a program that has several (aux->func)."""
    count = main["aux_fields"].get("func_cnt", 0)
    table = read_fields(view.memory, view.layouts, "bpf_prog_aux", main["aux_addr"], ("func",))
    return [
        _function_input(view, view.memory.read_int(table["func"] + 8 * i)) for i in range(count)
    ]


def _maps(view: KernelView, programs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The programs' maps with their addresses: those that the instructions load."""
    wanted = {number for program in programs for number in program["opts"]["map_ids"]}
    constants: dict[int, None] = {}
    for program in programs:
        for one in program["funcs"] or [program["main"]]:
            constants |= dict.fromkeys(_wide_constants(bytes.fromhex(one["insnsi"])))
    found = []
    for address in constants:
        try:
            number = read_fields(view.memory, view.layouts, "bpf_map", address, ("id",))["id"]
        except (InputError, KeyError):
            continue
        if number in wanted and number in view.maps:
            wanted.discard(number)
            one = view.maps[number]
            found.append(
                {
                    "n": one.name or f"map{number}",
                    "addr": address,
                    "errno": 0,
                    "type": one.type,
                    "key_size": one.key_size,
                    "value_size": one.value_size,
                    "max_entries": one.max_entries,
                }
            )
    return found


def _wide_constants(insns: bytes) -> Iterator[int]:
    """The constants of 64-bit immediate loads that may be addresses of the kernel."""
    for at in range(0, len(insns) - 15, 8):
        if insns[at] == 0x18:
            value = int.from_bytes(insns[at + 4 : at + 8] + insns[at + 12 : at + 16], "little")
            if value >> 63:
                yield value


def _nodes(
    decoded: DecodedImage,
    programs: dict[int, str],
    kinds: dict[str, str],
    fields: dict[str, dict[str, int]],
) -> dict[str, list[dict[str, Any]]]:
    lists: dict[str, list[dict[str, Any]]] = {"fentry": [], "fmod_ret": [], "fexit": []}
    for node in decoded.nodes:
        name = programs[node.p]
        kind = kinds[name]
        session = kind in ("fs", "ms")
        lists[_list_of(kind, node)].append(
            {
                "prog": name,
                "p": node.p,
                "bpf_func": node.bpf_func,
                "cookie": node.cookie,
                "fsession": session,
                "session_cookie": session and bool(fields[name].get("call_session_cookie")),
                "sleepable": bool(fields[name].get("sleepable")),
            }
        )
    return lists


def _list_of(kind: str, node: DecodedNode) -> str:
    """LSM hooks that return something are run like fmod_ret, the others like fexit."""
    if kind == "fm" or (kind == "lsm" and node.before_original):
        return "fmod_ret"
    return "fentry" if node.before_original and kind != "lsm" else "fexit"


def _model(prototype: Prototype) -> dict[str, Any]:
    """struct btf_func_model of a prototype."""

    def flags(value: Value | None) -> int:
        return (value.struct | value.signed << 1) if value is not None else 0

    arguments = prototype.arguments
    padding = [0] * (_ARGUMENTS - len(arguments))
    returns = prototype.returns
    return {
        "ret_size": returns.size if returns is not None else 0,
        "ret_flags": flags(returns),
        "nr_args": len(arguments),
        "arg_size": [value.size for value in arguments] + padding,
        "arg_flags": [flags(value) for value in arguments] + padding,
    }


def _flags(
    case: dict[str, Any],
    boot: BootRecord,
    decoded: DecodedImage,
    fields: dict[str, dict[str, int]],
) -> int:
    """The flags with which the image is rebuilt to the byte; else those that the code shows."""
    shown = decoded.flags
    ip = any(one.get("call_get_func_ip") for one in fields.values())
    kernel = boot_kernel(boot, "boot")
    context = CaseContext(kernel, boot_symbols(boot), PADDED_FUNCTIONS)
    code = bytes.fromhex(case["img"])[: decoded.length]
    for with_ip, tail_calls in product((ip, not ip), (False, True)):
        flags = shown
        flags |= TrampFlag.IP_ARG if with_ip else TrampFlag(0)
        flags |= TrampFlag.TAIL_CALL_CTX if tail_calls else TrampFlag(0)
        record = msgspec.convert({**case, "flags": int(flags)}, CaseRecord)
        try:
            if build_trampoline(case_request(record, context, case["id"])).code == code:
                return int(flags)
        except TramposimError:
            continue
    return int(shown | (TrampFlag.IP_ARG if ip else TrampFlag(0)))
