"""Rules: what a record is translated to.

A rule is a short list of machine operations whose operands are literals or fields of the record:
values, transformed values, addresses of other records. Besides the instruction set's operations
`(name, operand...)` it may hold `("when", predicate, value, count)`: the next `count` items only
if the predicate holds, `("skip", count)`, `("label", n)` and
`("branch", short, near, condition, destination)`.
"""

from cpython.long cimport PyLong_AsUnsignedLongLongMask
from libc.stdint cimport int16_t, int32_t, int64_t, int8_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc

from tramposim._native.asmplan cimport Isa
from tramposim.errors import BuildError

__all__ = [
    "END", "HERE", "IMM", "IMM64", "OFFSET", "ONCE", "TARGET", "TARGET_IMM", "Value", "local",
    "param",
]

_TRANSFORMS = {"negate": T_NEGATE, "shift12": T_SHIFT12, "negate_shift12": T_NEGATE_SHIFT12,
               "bitmask32": T_BITMASK32,
               "bitmask64": T_BITMASK64, "near": T_NEAR}
_PREDICATES = {"zero": P_ZERO, "imm12": P_IMM12, "imm12_shifted": P_IMM12_SHIFTED,
               "scaled1": P_SCALED1, "scaled2": P_SCALED2, "scaled4": P_SCALED4,
               "scaled8": P_SCALED8, "bitmask32": P_BITMASK32, "bitmask64": P_BITMASK64,
               "misaligned8": P_MISALIGNED8}


cdef class Value:
    """An operand of a rule: where its value comes from, and what is done to it."""

    def __init__(self, int source, int index=0, addend=0, int base=-1, int transform=T_NONE):
        self.source = source
        self.index = index
        self.addend = addend
        self.base = base
        self.transform = transform

    def __add__(self, other):
        """Plus an int, or plus a `param`."""
        if isinstance(other, Value):
            if (<Value>other).source != S_PARAM or self.base >= 0:
                raise ValueError("only one param can be added")
            return Value(self.source, self.index, self.addend, (<Value>other).index,
                         self.transform)
        return Value(self.source, self.index, self.addend + other, self.base, self.transform)

    def via(self, str transform):
        """The value transformed: see _TRANSFORMS."""
        return Value(self.source, self.index, self.addend, self.base, _TRANSFORMS[transform])


IMM = Value(S_IMM)
IMM64 = Value(S_IMM64)
OFFSET = Value(S_OFFSET)
TARGET = Value(S_TARGET)
TARGET_IMM = Value(S_TARGET_IMM)
ONCE = Value(S_ONCE)
END = Value(S_END)
HERE = Value(S_HERE)


def param(int index):
    """The `index`-th value given to `translate`."""
    return Value(S_PARAM, index)


def local(int index):
    """The place of item `("label", index)` in the same rule."""
    return Value(S_LOCAL, index)


cdef int bitmask(uint64_t value, int width) noexcept nogil:
    """N:immr:imms for a logical immediate, or -1 if there is none (Arm ARM, DecodeBitMasks)."""
    cdef int size, ones, rotation, imms
    cdef uint64_t mask, element
    if width == 32:
        value = <uint64_t><uint32_t>value | value << 32
    if value == 0 or value == ~<uint64_t>0:
        return -1
    size = 64
    while size > 2:
        mask = (<uint64_t>1 << (size // 2)) - 1
        if (value & mask) != ((value >> (size // 2)) & mask):
            break
        size //= 2
    mask = ~<uint64_t>0 if size == 64 else (<uint64_t>1 << size) - 1
    element = value & mask
    for rotation in range(size):
        # Rotate left until the ones are at the bottom.
        if element & 1 and not element >> (size - 1) & 1 or element == 0:
            break
        element = ((element << 1) | (element >> (size - 1))) & mask
    ones = 0
    while ones < size and element >> ones & 1:
        ones += 1
    if element >> ones:
        return -1
    imms = (~(size * 2 - 1) & 0x3f) | (ones - 1)
    return (1 if size == 64 else 0) << 12 | (rotation & (size - 1)) << 6 | imms


cdef bint holds(int predicate, int64_t value) noexcept nogil:
    if predicate == P_ZERO:
        return value == 0
    if predicate == P_IMM12:
        return not value & ~<int64_t>0xfff
    if predicate == P_IMM12_SHIFTED:
        return not value & ~<int64_t>0xfff000
    if predicate == P_SCALED1:
        return 0 <= value < 4096
    if predicate == P_SCALED2:
        return 0 <= value < 2 * 4096 and not value & 1
    if predicate == P_SCALED4:
        return 0 <= value < 4 * 4096 and not value & 3
    if predicate == P_SCALED8:
        return 0 <= value < 8 * 4096 and not value & 7
    if predicate == P_BITMASK32:
        return bitmask(<uint64_t>value, 32) >= 0
    if predicate == P_BITMASK64:
        return bitmask(<uint64_t>value, 64) >= 0
    return (value & 7) != 0


cdef class RuleBook:
    """Compiled rules, by number: `rules[n]` are `count` of `items` from `first` on."""

    def __cinit__(self, Isa isa not None):
        self.isa = isa
        self.fragments = {}
        self.item_room = 1024
        self.items = <Item *>malloc(self.item_room * sizeof(Item))
        self.rules = <Rule *>malloc(MAX_RULES * sizeof(Rule))
        if self.items is NULL or self.rules is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.items)
        free(self.rules)

    cdef int forget(self) except -1:
        """Start over without rules."""
        self.rule_count = self.item_count = 0
        self.fragments.clear()
        return 0

    cdef int add(self, items) except -1:
        """Compile a rule; returns its index."""
        cdef Item *item
        cdef Rule *rule
        cdef void *grown
        cdef int room, highest = 0
        if len(items) > MAX_ITEMS:
            raise BuildError(f"a rule of {len(items)} operations")
        if self.item_count + MAX_ITEMS > self.item_room:
            room = 2 * self.item_room
            grown = realloc(self.items, room * sizeof(Item))
            if grown is NULL:
                raise MemoryError
            self.items = <Item *>grown
            self.item_room = room
        rule = &self.rules[self.rule_count]
        rule.first = self.item_count
        rule.count = <int16_t>len(items)
        for position, (name, *operands) in enumerate(items):
            item = &self.items[rule.first + position]
            if name == "when":
                item.code = I_WHEN
                operands = [_PREDICATES[operands[0]], operands[1], operands[2]]
                if not 0 <= operands[2] < len(items) - position:
                    raise ValueError("a condition reaches beyond its rule")
            elif name == "skip":
                item.code = I_SKIP
                if not 0 <= operands[0] < len(items) - position:
                    raise ValueError("a skip reaches beyond its rule")
            elif name == "label":
                item.code = I_LABEL
                highest = max(highest, operands[0] + 1)
            elif name == "branch":
                item.code = I_BRANCH
                operands = [self.isa.ops[operands[0]], self.isa.ops[operands[1]], *operands[2:]]
            else:
                number = self.isa.ops.get(name)
                if number is None or self.isa.operand_counts[number] != len(operands):
                    raise BuildError(f"no operation {name!r} with {len(operands)} operands")
                item.code = number
            item.count = <uint8_t>len(operands)
            for k, operand in enumerate(operands):
                self.compile(&item.args[k], operand)
        if highest > MAX_LOCALS:
            raise ValueError("too many labels in a rule")
        rule.locals = <int8_t>highest
        rule.fixed = not any([
            name in ("branch", "call") or any([
                isinstance(operand, Value) and (<Value>operand).source == S_HERE
                for operand in operands])
            for name, *operands in items])
        self.item_count += rule.count
        self.rule_count += 1
        return self.rule_count - 1

    cdef int compile(self, Arg *arg, operand) except -1:
        arg.base = -1
        arg.index = 0
        arg.transform = T_NONE
        if isinstance(operand, Value):
            arg.source = <uint8_t>(<Value>operand).source
            arg.index = <int16_t>(<Value>operand).index
            arg.base = <int16_t>(<Value>operand).base
            arg.transform = <uint8_t>(<Value>operand).transform
            operand = (<Value>operand).addend
            if arg.source == S_LOCAL and not 0 <= arg.index < MAX_LOCALS:
                raise ValueError("no such label")
        else:
            arg.source = S_LITERAL
        arg.addend = <int64_t>PyLong_AsUnsignedLongLongMask(operand)
        return 0

    cdef int fragment(self, items) except -1:
        found = self.fragments.get(items)
        if found is None:
            found = self.fragments[items] = self.add(items)
        return found
