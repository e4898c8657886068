"""Random tracing programs: results and all maps are equal on the interpreter and both JITs.

They use hash, array, per-CPU and LRU maps (one CPU), atomic operations on map values and stack,
subprograms, loops, 32-bit and signed operations, the arguments of a traced function.
"""

from __future__ import annotations

import random

import pytest

from tramposim.bpf.asm import assemble
from tramposim.kernel.declaration import parse_prototype
from tramposim.study.call import function_call
from tramposim.study.engines import Traced
from tramposim.study.run import ENGINES, run_programs

MAPS = {
    "h": "hash key=8 value=16 entries=4",
    "a": "array key=4 value=16 entries=5",
    "l": "lru_hash key=4 value=16 entries=16",
    "p": "percpu_array key=4 value=16 entries=3",
    "q": "percpu_hash key=8 value=16 entries=8",
}
HASHES = ("h", "l", "q")
ALU = ("+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "%=", "^=", "=", "s>>=", "s/=", "s%=")
TESTS = ("==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&")
CALLEE = ("add", "or", "and", "xor")
PROTOTYPE = "long f(long a, long b, long c)"


class Source:
    """Text of one program: r6 to r9 hold numbers, fp-8 to fp-64 are numbers, too."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.lines: list[str] = []
        self.labels = 0

    def label(self) -> str:
        self.labels += 1
        return f"l{self.labels}"

    def number(self) -> str:
        return f"r{self.rng.randrange(6, 10)}"

    def slot(self) -> int:
        return -8 * self.rng.randrange(1, 9)

    def arithmetic(self) -> list[str]:
        width, rng = self.rng.choice("rw"), self.rng
        dst, src = (f"{width}{rng.randrange(6, 10)}" for _ in range(2))
        op = rng.choice(ALU)
        bits = 64 if width == "r" else 32
        constant = rng.randrange(bits) if op in ("<<=", ">>=", "s>>=") else rng.choice((3, -1, 77))
        return [f"{dst} {op} {src if rng.random() < 0.6 else constant}"]

    def memory(self) -> list[str]:
        rng = self.rng
        bits = rng.choice((8, 16, 32, 64))
        at = self.slot()
        if rng.random() < 0.5:
            return [f"*(u{bits} *)(r10 - {-at}) = {self.number()}"]
        signed = "s" if bits < 64 and rng.random() < 0.5 else "u"
        return [f"{self.number()} = *({signed}{bits} *)(r10 - {-at})"]

    def atomic(self, base: str, at: int) -> list[str]:
        rng = self.rng
        bits, name = rng.choice(((32, "atomic"), (64, "atomic64")))
        register = self.number()
        kind = rng.randrange(4)
        place = f"(u{bits} *)({base} {'-' if at < 0 else '+'} {abs(at)})"
        if kind == 0:
            return [f"lock *{place} {rng.choice(('+=', '|=', '&=', '^='))} {register}"]
        if kind == 1:
            return [f"{register} = {name}_fetch_{rng.choice(CALLEE)}({place}, {register})"]
        if kind == 2:
            return [f"{register} = {name}_xchg({place}, {register})"]
        other = self.number()
        text = [f"r0 = {other}", f"r0 = {name}_cmpxchg({place}, r0, {register})"]
        return [*text, f"{register} = r0"] if base == "r10" else text[:0]

    def key(self, name: str) -> list[str]:
        key = self.rng.randrange(6)
        return [f"*(u64 *)(r10 - 72) = {key}", f"r1 = map[{name}] ll", "r2 = r10", "r2 += -72"]

    def lookup(self) -> list[str]:
        name, out = self.rng.choice(tuple(MAPS)), self.label()
        text = [*self.key(name), "call bpf_map_lookup_elem", f"if r0 == 0 goto {out}"]
        for _ in range(self.rng.randrange(1, 4)):
            at = 8 * self.rng.randrange(2)
            kind = self.rng.randrange(3)
            if kind == 0:
                text.append(f"{self.number()} = *(u64 *)(r0 + {at})")
            elif kind == 1:
                text.append(f"*(u32 *)(r0 + {at}) = {self.number()}")
            else:
                text += self.atomic("r0", at)
        return [*text, f"{out}:"]

    def change(self) -> list[str]:
        if self.rng.random() < 0.3:
            name = self.rng.choice(HASHES)
            return [*self.key(name), "call bpf_map_delete_elem", f"{self.number()} ^= r0"]
        name = self.rng.choice(tuple(MAPS))
        value = [f"*(u64 *)(r10 - 88) = {self.number()}", f"*(u64 *)(r10 - 80) = {self.number()}"]
        flags = self.rng.randrange(3)
        update = ["r3 = r10", "r3 += -88", f"r4 = {flags}", "call bpf_map_update_elem"]
        return [*value, *self.key(name), *update, f"{self.number()} ^= r0"]

    def branch(self, depth: int) -> list[str]:
        out, width = self.label(), self.rng.choice("rw")
        left, right = (f"{width}{self.rng.randrange(6, 10)}" for _ in range(2))
        body = self.block(2, depth + 1)
        return [f"if {left} {self.rng.choice(TESTS)} {right} goto {out}", *body, f"{out}:"]

    def call(self) -> list[str]:
        out = self.number()
        return [f"r1 = {self.number()}", f"r2 = {self.number()}", "call g", f"{out} = r0"]

    def block(self, count: int, depth: int = 0) -> list[str]:
        lines: list[str] = []
        for _ in range(count):
            kind = self.rng.randrange(10)
            if kind < 3:
                lines += self.arithmetic()
            elif kind == 3:
                lines += self.memory()
            elif kind == 4:
                lines += self.atomic("r10", self.slot())
            elif kind == 5:
                lines += self.call()
            elif kind == 6 and depth < 3:
                lines += self.branch(depth)
            elif kind == 7:
                lines += self.change()
            else:
                lines += self.lookup()
        return lines

    def text(self) -> str:
        head = [f".map {name} {declared}" for name, declared in MAPS.items()]
        head += [".section fentry/f", "main: r6 = *(u64 *)(r1 + 0)", "r7 = *(u64 *)(r1 + 8)"]
        head += ["r8 = *(u64 *)(r1 + 16)", f"r9 = {self.rng.getrandbits(64):#x} ll"]
        head += [f"*(u64 *)(r10 - {at}) = r{6 + at // 8 % 4}" for at in range(8, 72, 8)]
        head += ["r1 = r6", "r2 = r8", "call g", "r7 ^= r0"]
        tail = ["r0 = r6", "r0 ^= r7", "r0 += r8", "r0 ^= r9", "exit"]
        tail += ["g: *(u64 *)(r10 - 16) = r1", *(f"r{n} = r2" for n in range(6, 10))]
        tail += ["r0 = *(s32 *)(r10 - 16)", "w6 *= 31", "r0 ^= r6", "exit"]
        return "\n".join([*head, *self.block(14), *tail])


def compare(seed: int) -> None:
    rng = random.Random(~seed)
    programs = assemble(Source(seed).text())
    values = tuple(rng.choice((0, 1, rng.getrandbits(63))) for _ in range(3))
    call = function_call(parse_prototype(PROTOTYPE), values, 5)
    result = run_programs([Traced(call, programs)], (), ENGINES, calls=2)
    assert result.differences == (), seed
    assert len(result.engines) == len(ENGINES)


def test_engines_agree() -> None:
    for seed in range(6):
        compare(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 700, 100))
def test_engines_agree_on_many(first: int) -> None:
    for seed in range(first, first + 100):
        compare(seed)
