"""Validating dumps of JIT output: what a dump does not say is recovered or asked for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tramposim.bpf import insn as isa
from tramposim.bpf.helpers import HELPER_NAMES
from tramposim.bpf.insn import Insn, Pseudo, decode, encode
from tramposim.bpf.loaded import LoadedFunction
from tramposim.bpf.raw import hex_program, raw_program
from tramposim.capture.dump import Dump, DumpedFunction, read_bytes
from tramposim.capture.readdump import read_dump
from tramposim.errors import InputError, UnsupportedError
from tramposim.jit.environment import JitEnvironment
from tramposim.kernel.prototype import place_arguments
from tramposim.kernel.versions import rules_for
from tramposim.machine.rules.infer import infer_request
from tramposim.machine.rules.listing import Flow, Listing
from tramposim.machine.rules.subject import compiled_program
from tramposim.spec import Arch, Kernel, Program, Prototype, Returns, Value
from tramposim.study.program import read_source
from tramposim.study.validate import ImageSubject, Validated, Validator

__all__ = ["DumpOptions", "recover_base", "validate_dump"]

_DEFAULT_BASE = {Arch.X86_64: 0xFFFFFFFFC0200000, Arch.ARM64: 0xFFFF800080200000}
"""Where code whose address does not matter is put."""
_ARM64_WORDS = {
    bytes.fromhex(word) for word in ("c0035fd6", "1f2003d5", "3f2303d5", "e9031eaa", "c9030091")
}
_ENTER = re.compile(r"__bpf_(?:prog_(?:enter|exit)|tramp_(?:enter|exit))")
_MASK = (1 << 64) - 1
_THUNKS = {
    "retbleed_return_thunk": Returns.UNTRAINED,
    "srso_return_thunk": Returns.SRSO,
    "srso_alias_return_thunk": Returns.SRSO_ALIAS,
    "its_return_thunk": Returns.ITS,
    "call_depth_return_thunk": Returns.STUFFING,
}


@dataclass(frozen=True, slots=True)
class DumpOptions:
    """What the user tells beside the dump.

    `arch` and `base` where the dump does not; `symbols` of the kernel it ran on; `program`
    the eBPF that a program was compiled from; `prototype` of the function that an image
    traces; `kernel` the version.
    """

    kernel: str = "7.2"
    arch: Arch | None = None
    base: int | None = None
    symbols: Mapping[str, int] = field(default_factory=dict)
    program: Path | None = None
    prototype: Prototype | None = None


def validate_dump(path: Path, options: DumpOptions, validator: Validator) -> Iterator[Validated]:
    """A result per program or image of a dump file.

    Raises `InputError` for an unreadable dump and for an address that is needed and neither
    there nor to be recovered, `UnsupportedError` for a kernel that is not known.
    """
    dumps = read_dump(path)
    if options.base is not None and sum(len(dump.functions) for dump in dumps) > 1:
        raise InputError(f"{len(dumps)} dumps: --base goes with one function", str(path))
    for dump in dumps:
        yield _validate(path, dump, options, validator)


def _validate(path: Path, dump: Dump, options: DumpOptions, validator: Validator) -> Validated:
    arch = options.arch or guess_arch(dump.functions)
    symbols = {**dump.symbols, **options.symbols}
    kernel = Kernel(arch, options.kernel, returns=_returns(arch, dump, symbols), pac=_signs(dump))
    rules_for(kernel)
    kernel = replace(kernel, ibt=_landing_pads(dump), bti=_landing_pads(dump))
    where = str(path)
    placed = [_placed(function, arch, symbols, options.base, where) for function in dump.functions]
    names = {address: name for name, address in symbols.items()}
    if len(placed) == 1 and _is_image(arch, placed[0], names):
        return _image(validator, kernel, placed[0], symbols, options, where)
    return _program(validator, kernel, placed, symbols, options, where, dump.name)


def guess_arch(functions: tuple[DumpedFunction, ...]) -> Arch:
    """The architecture, from instructions that every program of arm64 has."""
    for function in functions:
        code = function.code
        words = {code[at : at + 4] for at in range(0, len(code), 4)}
        if len(code) % 4 or not words & _ARM64_WORDS:
            return Arch.X86_64
    return Arch.ARM64


def _returns(arch: Arch, dump: Dump, symbols: Mapping[str, int]) -> Returns:
    """The mitigation whose thunk the code ends in, if that has a name here."""
    if arch is Arch.ARM64:
        return Returns.PLAIN
    thunks = {symbols[name]: how for name, how in _THUNKS.items() if name in symbols}
    for function in dump.functions:
        if function.address is None:
            continue
        for instruction in Listing(arch, (function.address, function.code)).instructions:
            if instruction.mnemonic == "jmp":
                target = _number(instruction.operands)
                if target in thunks:
                    return thunks[target]
    return Returns.PLAIN


def _number(text: str) -> int | None:
    try:
        return int(text.lstrip("#"), 16)
    except ValueError:
        return None


def _signs(dump: Dump) -> bool:
    return any(bytes.fromhex("3f2303d5") in function.code for function in dump.functions)


def _landing_pads(dump: Dump) -> bool:
    """Whether the code was made with landing pads: each function begins with one."""
    pads = (bytes.fromhex("f30f1efa"), bytes.fromhex("df2403d5"))
    return any(function.code.startswith(pads) for function in dump.functions)


def _placed(
    function: DumpedFunction,
    arch: Arch,
    symbols: Mapping[str, int],
    base: int | None,
    where: str,
) -> DumpedFunction:
    """The function with an address: its own, the given one, or one recovered from its calls."""
    address = base if base is not None else function.address
    if address is None:
        address = recover_base(arch, function.code, symbols, where)
    if not 0 < address < (1 << 64) - len(function.code) or (arch is Arch.ARM64 and address % 4):
        raise InputError(f"code cannot lie at {address:#x}", where)
    return replace(function, address=address)


def recover_base(arch: Arch, code: bytes, symbols: Mapping[str, int], where: str) -> int:
    """The address at which the most direct calls of code meet a known symbol.

    Code without direct calls can lie anywhere. Raises `InputError` if several addresses fit
    equally, or symbols are given and none fits.
    """
    calls = set()
    listing = Listing(arch, (0, code))
    for instruction in listing.instructions:
        if listing.flow(instruction.address) is Flow.CALL:
            target = _number(instruction.operands)
            if target is not None and not target < len(code):
                calls.add(target)
    if not calls or not symbols:
        return _DEFAULT_BASE[arch]
    votes: Counter[int] = Counter()
    targets = set(symbols.values())
    first = sorted(calls)[:4]
    for call in first:
        for target in targets:
            votes[target - call & _MASK] += 1
    best = [
        (sum((base + call) & _MASK in targets for call in calls), base)
        for base, count in votes.items()
        if count == max(votes.values()) and not base % 4
    ]
    best.sort(reverse=True)
    if not best:
        raise InputError("no address is such that its calls meet symbols: give --base", where)
    if len(best) > 1 and best[0][0] == best[1][0]:
        raise InputError(
            f"{len(best)} addresses are such that its calls meet symbols: give --base", where
        )
    return best[0][1]


def _is_image(arch: Arch, function: DumpedFunction, names: Mapping[int, str]) -> bool:
    """Whether code calls the functions around programs, as only images do."""
    assert function.address is not None
    if function.name.startswith("bpf_trampoline"):
        return True
    listing = Listing(arch, (function.address, function.code))
    targets = {
        _number(instruction.operands)
        for instruction in listing.instructions
        if listing.flow(instruction.address) is Flow.CALL
    }
    targets |= _constants(listing)
    return any(_ENTER.match(names.get(target, "")) for target in targets if target is not None)


def _constants(listing: Listing) -> set[int | None]:
    """Addresses that arm64 code puts together from moves of 16 bits."""
    found: set[int | None] = set()
    values: dict[str, int] = {}
    for instruction in listing.instructions:
        parts = instruction.operands.replace("#", "").split(", ")
        register = parts[0]
        try:
            if instruction.mnemonic in ("mov", "movz", "movn") and len(parts) >= 2:
                values[register] = int(parts[1], 0) & _MASK
            elif instruction.mnemonic == "movk" and register in values:
                shift = int(parts[2].removeprefix("lsl "), 0) if len(parts) > 2 else 0
                kept = values[register] & ~(0xFFFF << shift)
                values[register] = kept | int(parts[1], 0) << shift
                found.add(values[register])
        except ValueError:
            values.pop(register, None)
    return found


def _image(
    validator: Validator,
    kernel: Kernel,
    function: DumpedFunction,
    symbols: Mapping[str, int],
    options: DumpOptions,
    where: str,
) -> Validated:
    name, address = function.name or "image", function.address
    assert address is not None
    code = _without_fill(kernel.arch, function.code)
    kernel = replace(kernel, ibt=True)

    def subject() -> ImageSubject:
        probe = validator.probe(kernel.arch)
        request = infer_request(probe, kernel, address, code, symbols, options.prototype)
        if options.prototype is None:
            request = replace(request, prototype=_lenient(request.prototype, kernel.arch))
        return ImageSubject(request, code, ())

    return validator.image(subject, kernel.arch, where, name, "image")


def _lenient(prototype: Prototype, arch: Arch) -> Prototype:
    """Arguments on the stack may be of any size: as if each were a byte."""
    slots = place_arguments(prototype.arguments, arch).slots
    values = tuple(Value(8 if slot.stack is None else 1) for slot in slots)
    return replace(prototype, arguments=values)


def _without_fill(arch: Arch, code: bytes) -> bytes:
    """Code without the fill that a kernel leaves behind it."""
    if arch is Arch.X86_64:
        return code.rstrip(b"\0") if code.endswith(b"\0" * 16) else code
    fill = bytes.fromhex("002020d4")
    while code.endswith(fill):
        code = code[: -len(fill)]
    return code


def _program(
    validator: Validator,
    kernel: Kernel,
    functions: list[DumpedFunction],
    symbols: Mapping[str, int],
    options: DumpOptions,
    where: str,
    name: str,
) -> Validated:
    addresses = [function.address or 0 for function in functions]
    base = symbols.get("__bpf_call_base", min(symbols.values(), default=0))
    env = JitEnvironment(kernel, {**symbols, "__bpf_call_base": base})
    given = options.program
    if given is None:
        loaded = [LoadedFunction(b"") for _ in functions]
    else:
        loaded = _loaded(given, addresses, symbols, base, options.kernel)
    chunks = [function.code for function in functions]
    program = compiled_program(env, loaded, addresses, chunks)
    if given is None:
        program = replace(program, interpreted=False)
    result = validator.program(program, where, name, "program")
    if given is None:
        note = "rules of the calling convention only; --prog compares it with the interpreter"
        result = replace(result, notes=(*result.notes, note))
    return result


def _loaded(
    path: Path,
    addresses: list[int],
    symbols: Mapping[str, int],
    base: int,
    version: str,
) -> list[LoadedFunction]:
    """The functions of the one program in a file, with calls as the JIT gets them."""
    where = str(path)
    if path.suffix in (".bin", ".hex"):
        # As a kernel dumps them: already past what checks of sources would look at.
        content = read_bytes(path)
        read = raw_program if path.suffix == ".bin" else _hex_program
        programs: tuple[Program, ...] = (read(content, where),)
    else:
        programs = read_source(path, version=version)
    if len(programs) != 1:
        raise InputError(f"{len(programs)} programs; one is compared with a dump", where)
    (program,) = programs
    insns = decode(program.insns)
    if program.maps or program.kfuncs:
        raise UnsupportedError(
            f"{where}: maps and kernel functions have addresses that only the loaded program"
            " has: give its final instructions (.bin)"
        )
    starts = [0]
    for index, insn in enumerate(insns):
        calls = insn.opcode == isa.JMP | isa.CALL and insn.src == Pseudo.CALL
        points = insn.opcode == isa.LD_IMM64 and insn.src == Pseudo.FUNC
        if calls or points:
            starts.append(index + 1 + insn.imm)
        elif insn.opcode == isa.LD_IMM64 and insn.src:
            raise UnsupportedError(f"{where}: instruction {index} loads a map's file descriptor")
    starts = sorted(set(starts))
    if len(starts) != len(addresses) or starts[-1] >= len(insns):
        raise InputError(f"{len(starts)} functions, the dump has {len(addresses)}", where)
    final = [
        _final(insn, index, starts, addresses, symbols, base, where)
        for index, insn in enumerate(insns)
    ]
    ends = [*starts[1:], len(insns)]
    return [
        LoadedFunction(encode(final[start:end]), stack_depth=_depth(final[start:end]))
        for start, end in zip(starts, ends, strict=True)
    ]


def _hex_program(content: bytes, where: str) -> Program:
    return hex_program(content.decode(errors="replace"), where)


def _final(
    insn: Insn,
    index: int,
    starts: list[int],
    addresses: list[int],
    symbols: Mapping[str, int],
    base: int,
    where: str,
) -> Insn:
    if insn.opcode != isa.JMP | isa.CALL:
        return insn
    if insn.src == Pseudo.CALL:
        target = addresses[starts.index(index + 1 + insn.imm)]
    elif insn.src == 0 and insn.imm in HELPER_NAMES and HELPER_NAMES[insn.imm] in symbols:
        target = symbols[HELPER_NAMES[insn.imm]]
    elif insn.src == 0 and insn.imm in HELPER_NAMES:
        raise InputError(
            f"instruction {index} calls {HELPER_NAMES[insn.imm]}, whose address is not known:"
            " give --symbols", where,
        )  # fmt: skip
    else:
        return insn
    low = target - base & 0xFFFFFFFF
    return replace(insn, imm=low - (1 << 32) if low >> 31 else low)


def _depth(insns: list[Insn]) -> int:
    """A bound of the bytes of stack that a function uses."""
    return 512 if any(isa.Reg.FP in (insn.dst, insn.src) for insn in insns) else 0
