"""x86_64 instructions as uops: operand roles, flags, fusion, idioms.

Sources: Intel SDM volume 2 (operands and flags), Intel optimization manual 2.4-2.6 and 3.4.2
(fusion, idioms), Agner Fog's microarchitecture guide (partial registers, stack engine).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import capstone
from capstone import x86_const as x86

from tramposim.timing.instruction import first_instruction, text, unknown
from tramposim.timing.uops import (
    FLAG_CARRY,
    Branch,
    InsnSpec,
    Kind,
    UopFlag,
    UopSpec,
)
from tramposim.timing.x86_64_bits import (
    bit_field,
    bit_scan,
    bit_test,
    byte_swap,
    carry_chain,
    checksum,
    double_shift,
    flagless_multiply,
    lowest_bit,
    move_swapped,
    shift,
    three_operand_shift,
)
from tramposim.timing.x86_64_data import (
    arithmetic,
    compare,
    compare_exchange,
    compare_exchange_pair,
    conditional_move,
    divide,
    exchange,
    exchange_add,
    extend,
    imul,
    lea,
    move,
    negate,
    set_condition,
    sign_extend_a,
    step,
    wide_multiply,
)
from tramposim.timing.x86_64_operands import (
    CONDITIONS,
    FLAGS,
    RAX,
    RBP,
    RCX,
    RDX,
    RESULT,
    RSP,
    VALUE,
    Operands,
    flags_of,
)
from tramposim.timing.x86_64_strings import string, table_lookup

__all__ = ["decode"]

_STACK_LOAD = UopFlag.UNRENAMED | UopFlag.MOVE_STACK
_ALL_JUMPS = frozenset(f"j{c}" for c in CONDITIONS)
_ARITHMETIC_JUMPS = frozenset(
    f"j{c}" for c in ("b", "ae", "e", "ne", "be", "a", "l", "ge", "le", "g")
)
_INCREMENT_JUMPS = frozenset(f"j{c}" for c in ("e", "ne", "l", "ge", "le", "g"))


_LOCKED_BASES = frozenset(
    [
        "add",
        "adc",
        "sub",
        "sbb",
        "and",
        "or",
        "xor",
        "inc",
        "dec",
        "neg",
        "not",
        "xadd",
        "cmpxchg",
        "cmpxchg16b",
        "bts",
        "btr",
        "btc",
        "xchg",
    ]
)


def _push(o: Operands, base: str, _locked: bool) -> None:
    o.uops.append(UopSpec(Kind.ELIMINATED, "move", (RSP,), (RSP,), False, UopFlag.MOVE_STACK))
    if base == "pushfq":
        o.uops.append(UopSpec(Kind.EXEC, "flags_read", FLAGS, (RESULT,)))
        source: tuple[int, ...] = (RESULT,)
    elif o.ops[0].type == x86.X86_OP_MEM:
        o.uops.append(UopSpec(Kind.LOAD, "load", o.address(), (VALUE,)))
        source = (VALUE,)
    else:
        source = o.source(o.ops[0])
    o.uops.append(
        UopSpec(Kind.STORE_ADDRESS, "store_address", (RSP,), (), True, UopFlag.MOVE_STACK)
    )
    o.uops.append(UopSpec(Kind.STORE_DATA, "store_data", source, (), False))


def _pop(o: Operands, base: str, _locked: bool) -> None:
    if base == "popfq":
        raise unknown(o.insn)
    register = RESULT if o.memory else o.register(o.ops[0])
    o.uops.append(UopSpec(Kind.LOAD, "load", (RSP,), (register,), True, UopFlag.MOVE_STACK))
    if register != RSP:
        o.uops.append(UopSpec(Kind.ELIMINATED, "move", (RSP,), (RSP,), False, UopFlag.MOVE_STACK))
    if o.memory:
        o.store()


def _leave(o: Operands, _base: str, _locked: bool) -> None:
    o.uops.append(UopSpec(Kind.EXEC, "alu", (RBP,), (RSP,)))
    o.uops.append(UopSpec(Kind.LOAD, "load", (RSP,), (RBP,), True, _STACK_LOAD))
    o.uops.append(UopSpec(Kind.ELIMINATED, "move", (RSP,), (RSP,), False, UopFlag.MOVE_STACK))


def _jump_conditional(o: Operands, base: str, _locked: bool) -> None:
    o.execute("branch", flags_of(base[1:]), (), UopFlag.BRANCH)


def _jump(o: Operands, _base: str, _locked: bool) -> None:
    op = o.ops[0]
    if op.type == x86.X86_OP_IMM:
        o.execute("jump", (), (), UopFlag.BRANCH)
    else:
        o.execute("jump_indirect", o.source(op), (), UopFlag.BRANCH)


def _call(o: Operands, _base: str, _locked: bool) -> None:
    op = o.ops[0]
    sources = () if op.type == x86.X86_OP_IMM else o.source(op)
    o.uops.append(UopSpec(Kind.ELIMINATED, "move", (RSP,), (RSP,), False, UopFlag.MOVE_STACK))
    o.uops.append(
        UopSpec(Kind.STORE_ADDRESS, "store_address", (RSP,), (), True, UopFlag.MOVE_STACK)
    )
    o.uops.append(UopSpec(Kind.STORE_DATA, "store_data", (), (), False))
    name = "jump_indirect" if sources else "jump"
    o.uops.append(UopSpec(Kind.EXEC, name, sources, (), True, UopFlag.BRANCH))


def _return(o: Operands, _base: str, _locked: bool) -> None:
    o.uops.append(UopSpec(Kind.LOAD, "load", (RSP,), (VALUE,), True, _STACK_LOAD))
    o.uops.append(UopSpec(Kind.ELIMINATED, "move", (RSP,), (RSP,), False, UopFlag.MOVE_STACK))
    o.uops.append(UopSpec(Kind.EXEC, "jump_indirect", (VALUE,), (), False, UopFlag.BRANCH))


def _nop(o: Operands, _base: str, _locked: bool) -> None:
    o.uops.append(UopSpec(Kind.NOP, "nop"))


def _prefetch(o: Operands, _base: str, _locked: bool) -> None:
    """A load's port and nothing else: the line is there, or it is not waited for."""
    o.uops.append(UopSpec(Kind.EXEC, "load", o.address()))


def _special(
    name: str, results: tuple[int, ...], flags: UopFlag, sources: tuple[int, ...] = ()
) -> Any:
    def handler(o: Operands, _base: str, _locked: bool) -> None:
        o.uops.append(UopSpec(Kind.EXEC, name, sources, results, True, flags))

    return handler


def _processor_id(o: Operands, _base: str, _locked: bool) -> None:
    o.uops.append(UopSpec(Kind.EXEC, "rdpid", (), (o.register(o.ops[0]),)))


_DRAIN_BLOCK = UopFlag.DRAIN | UopFlag.BLOCK
_HANDLERS: dict[str, Callable[[Operands, str, bool], None]] = {
    **dict.fromkeys(("add", "sub", "and", "or", "xor", "adc", "sbb"), arithmetic),
    **dict.fromkeys(("cmp", "test"), compare),
    **dict.fromkeys(("inc", "dec"), step),
    **dict.fromkeys(("neg", "not"), negate),
    **dict.fromkeys(("mov", "movabs"), move),
    **dict.fromkeys(("movzx", "movsx", "movsxd"), extend),
    **dict.fromkeys(("shl", "shr", "sar", "rol", "ror", "rcl", "rcr", "sal"), shift),
    **dict.fromkeys(("shld", "shrd"), double_shift),
    **dict.fromkeys(("shlx", "shrx", "sarx", "rorx", "andn"), three_operand_shift),
    **dict.fromkeys(("bextr", "bzhi", "pdep", "pext"), bit_field),
    **dict.fromkeys(("blsi", "blsr", "blsmsk"), lowest_bit),
    **dict.fromkeys(("adcx", "adox"), carry_chain),
    **dict.fromkeys(("div", "idiv"), divide),
    **dict.fromkeys((f"set{c}" for c in CONDITIONS), set_condition),
    **dict.fromkeys((f"cmov{c}" for c in CONDITIONS), conditional_move),
    **dict.fromkeys((f"j{c}" for c in CONDITIONS), _jump_conditional),
    **dict.fromkeys(("bsf", "bsr", "tzcnt", "lzcnt", "popcnt"), bit_scan),
    **dict.fromkeys(("bt", "bts", "btr", "btc"), bit_test),
    **dict.fromkeys(("cdq", "cqo", "cwd", "cdqe", "cwde", "cbw"), sign_extend_a),
    **dict.fromkeys(("push", "pushfq"), _push),
    **dict.fromkeys(("pop", "popfq"), _pop),
    **dict.fromkeys(("nop", "endbr64"), _nop),
    **dict.fromkeys(
        ("prefetchw", "prefetchnta", "prefetcht0", "prefetcht1", "prefetcht2"), _prefetch
    ),
    **dict.fromkeys(
        (
            f"{family}{size}"
            for family in ("movs", "stos", "lods", "scas", "cmps")
            for size in "bwdq"
        ),
        string,
    ),
    "lea": lea,
    "imul": imul,
    "mul": wide_multiply,
    "mulx": flagless_multiply,
    "bswap": byte_swap,
    "movbe": move_swapped,
    "crc32": checksum,
    "xlatb": table_lookup,
    "xchg": exchange,
    "xadd": exchange_add,
    "cmpxchg": compare_exchange,
    "cmpxchg16b": compare_exchange_pair,
    "leave": _leave,
    "rdpid": _processor_id,
    "jmp": _jump,
    "call": _call,
    "ret": _return,
    "lfence": _special("lfence", (), _DRAIN_BLOCK),
    "mfence": _special("mfence", (), _DRAIN_BLOCK),
    "sfence": _special("sfence", (), UopFlag.NONE),
    "pause": _special("pause", (), UopFlag.BLOCK),
    "rdtsc": _special("rdtsc", (RAX, RDX), UopFlag.NONE),
    "rdtscp": _special("rdtscp", (RAX, RDX, RCX), _DRAIN_BLOCK),
    "cli": _special("interrupt_flag", (), UopFlag.NONE),
    "sti": _special("interrupt_flag", (), UopFlag.NONE),
    "stac": _special("interrupt_flag", (), UopFlag.NONE),
    "clac": _special("interrupt_flag", (), UopFlag.NONE),
    "cmc": _special("alu", (FLAG_CARRY,), UopFlag.NONE, (FLAG_CARRY,)),
    "stc": _special("alu", (FLAG_CARRY,), UopFlag.NONE),
    "clc": _special("alu", (FLAG_CARRY,), UopFlag.NONE),
    "lahf": _special("flags_to_a", (RAX,), UopFlag.NONE, (RAX, *FLAGS)),
    "sahf": _special("flags_from_a", FLAGS, UopFlag.NONE, (RAX,)),
}

_BRANCHES = {"ret": Branch.RETURN, **dict.fromkeys(_ALL_JUMPS, Branch.CONDITIONAL)}


def _branch(base: str, o: Operands) -> Branch:
    direct = bool(o.ops) and o.ops[0].type == x86.X86_OP_IMM
    if base == "jmp":
        return Branch.JUMP if direct else Branch.INDIRECT_JUMP
    if base == "call":
        return Branch.CALL if direct else Branch.INDIRECT_CALL
    return _BRANCHES.get(base, Branch.NONE)


def _fuses(base: str, o: Operands) -> frozenset[str]:
    """Conditional jumps into which `base` macro-fuses (optimization manual, table 2-14)."""
    if base not in ("cmp", "test", "add", "sub", "and", "inc", "dec") or not o.ops:
        return frozenset()
    kinds = [op.type for op in o.ops]
    if x86.X86_OP_MEM in kinds:
        if base in ("inc", "dec") or (kinds[0] == x86.X86_OP_MEM and base not in ("cmp", "test")):
            return frozenset()
        mem = o.memory.mem
        if x86.X86_OP_IMM in kinds and mem.base and o.insn.reg_name(mem.base) == "rip":
            return frozenset()
    if base in ("test", "and"):
        return _ALL_JUMPS
    return _INCREMENT_JUMPS if base in ("inc", "dec") else _ARITHMETIC_JUMPS


def _length_changing(o: Operands, code: bytes) -> bool:
    """An operand-size prefix before an instruction with a 16-bit immediate."""
    if not any(op.type == x86.X86_OP_IMM for op in o.ops):
        return False
    encoding = o.insn.encoding
    return bool(encoding.imm_offset and encoding.imm_size == 2 and 0x66 in o.insn.prefix)


def decode(code: bytes, address: int) -> InsnSpec:
    """The instruction at the start of `code`, which lies at `address`.

    Raises `UnsupportedError` for an instruction that cannot be decoded or has no timing.
    """
    insn = first_instruction(capstone.CS_ARCH_X86, capstone.CS_MODE_64, code[:15], address)
    words = insn.mnemonic.split()
    locked = "lock" in words
    base = words[-1]
    o = Operands(insn)
    if base.startswith("nop") or (base == "xchg" and bytes(insn.bytes) in (b"\x66\x90",)):
        base = "nop"
    handler = _HANDLERS.get(base)
    if handler is None or (locked and base not in _LOCKED_BASES):
        raise unknown(insn)
    handler(o, base, locked)
    return InsnSpec(
        text=text(insn),
        size=insn.size,
        uops=tuple(o.uops),
        branch=_branch(base, o),
        fuses=_fuses(base, o) if not locked else frozenset(),
        mnemonic=base,
        indexed=o.indexed,
        segment=bool(o.memory) and o.insn.reg_name(o.memory.mem.segment) in ("fs", "gs"),
        length_changing=_length_changing(o, code),
        repeated="rep" in words[0] and len(words) > 1,
        pair=base == "cmpxchg16b",
        wide_immediate=insn.encoding.imm_size == 8,
        high_byte=o.writes_high_byte(),
        position_dependent=bool(o.memory) and o.rip_relative(),
    )
