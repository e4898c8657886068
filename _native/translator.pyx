"""Translation of 8-byte records into machine code by rules, in passes until sizes settle.

A record is `opcode:8 a:4 b:4 offset:16 imm:32`. A rule (see rules.pyx), asked for from Python
once per distinct key and then kept, gives its machine operations. What of a record belongs to its
key (besides opcode, a and b) is stated per opcode.

Branches are sized the way the Linux JITs do it: each pass takes targets from the sizes that
the pass before (for what lies ahead) or this one (for what lies behind) found, until the
total repeats; then one more pass gives the code.
"""

from cpython.long cimport PyLong_AsUnsignedLongLongMask
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from tramposim._native.asmplan cimport MAX_OPERANDS, MAX_OP_BYTES, Isa
from tramposim._native.rules cimport (
    I_LABEL, I_SKIP, I_WHEN, MAX_ITEMS, MAX_LOCALS, MAX_RULES, S_END, S_HERE, S_IMM, S_IMM64,
    S_LITERAL, S_OFFSET, S_ONCE, S_PARAM, S_TARGET, S_TARGET_IMM, T_BITMASK32, T_BITMASK64, T_NEAR,
    T_NEGATE, T_NEGATE_SHIFT12, T_SHIFT12, Arg, Item, Record, Rule, RuleBook, bitmask, holds)
from tramposim.errors import BuildError, UnsupportedError

__all__ = [
    "KEY_FIRST", "KEY_IMM", "KEY_LAST", "KEY_OFFSET", "KEY_SHAPE", "TWO_RECORDS", "Translated",
    "Translator",
]

cdef enum:
    MAX_RECORDS = 1 << 20
    MAX_PASSES = 20
    PADDING_PASSES = 15
    SHORT_LOW = -128
    SHORT_HIGH = 123     # room for a branch to grow by its padding

KEY_OFFSET = 1
KEY_IMM = 2
KEY_FIRST = 4
KEY_LAST = 8
TWO_RECORDS = 16
KEY_SHAPE = 32

cdef struct Slot:
    uint64_t key
    int32_t rule        # index + 1; 0 is free


cdef class Translated:
    """Machine code, and where each record's code ends (`ends[0]`: where the first begins)."""

    cdef readonly bytes code
    cdef readonly list ends
    cdef readonly int passes


cdef class Translator:
    """Rules of one shape of program, and the translation by them.

    `rule(opcode, a, b, offset, imm, flag, shape)` returns a rule: a sequence of items
    `(operation, operand...)`, with `("when", predicate, value, count)`, `("skip", count)`,
    `("label", n)` and `("branch", short, near, condition, destination)` besides the
    instruction set's operations. offset and imm are None unless part of the key; flag is
    whether the record is the first of its kind (KEY_FIRST) or the last record (KEY_LAST);
    shape is the object given to `translate` (it tells rules apart with KEY_SHAPE).
    `keys` has one byte of KEY_* flags per opcode; `stride` is the size first assumed; `names`
    say what the parameters of `translate` are.
    """

    cdef Isa isa
    cdef object _rule
    cdef uint8_t _keys[256]
    cdef int _stride
    cdef RuleBook _book
    cdef Slot *_slots
    cdef int _slot_mask
    cdef dict _shapes
    cdef tuple _names
    cdef int64_t *_params
    cdef uint8_t *_given
    cdef int _param_count
    cdef uint8_t *_out
    cdef size_t _room
    cdef int64_t _locals[MAX_LOCALS]

    def __cinit__(
            self, Isa isa not None, rule, bytes keys not None, int stride, tuple names not None):
        if len(keys) != 256:
            raise ValueError("one byte per opcode")
        self.isa = isa
        self._rule = rule
        memcpy(self._keys, <const char *>keys, 256)
        self._stride = stride
        self._names = names
        self._param_count = <int>len(names)
        self._params = <int64_t *>calloc(self._param_count + 1, sizeof(int64_t))
        self._given = <uint8_t *>calloc(self._param_count + 1, 1)
        self._shapes = {}
        self._book = RuleBook(isa)
        self._slot_mask = 2 * MAX_RULES - 1
        self._slots = <Slot *>calloc(self._slot_mask + 1, sizeof(Slot))
        if self._slots is NULL or self._params is NULL or self._given is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._slots)
        free(self._params)
        free(self._given)
        free(self._out)

    cdef int _forget(self) except -1:
        """Start over with an empty table (many distinct keys were seen)."""
        memset(self._slots, 0, (self._slot_mask + 1) * sizeof(Slot))
        self._book.forget()
        self._shapes.clear()
        return 0

    cdef int _find(
            self, const Record *record, bint first, bint last, shape, uint64_t number) except -1:
        """Index of the rule of a record; asks Python for it if it is not there."""
        cdef uint8_t flags = self._keys[record.opcode]
        cdef uint64_t key = record.opcode | <uint64_t>record.registers << 8
        cdef bint flag = False
        cdef uint64_t position
        if flags & KEY_OFFSET:
            key |= <uint64_t><uint16_t>record.offset << 16
        if flags & KEY_IMM:
            key |= <uint64_t><uint32_t>record.imm << 32
        if flags & KEY_FIRST:
            flag = first
        if flags & KEY_LAST:
            flag = last
        if flag:
            key |= <uint64_t>1 << 31
        if flags & KEY_SHAPE:
            key |= number << 16
        position = (key * <uint64_t>0x9e3779b97f4a7c15) >> 40 & self._slot_mask
        while self._slots[position].rule:
            if self._slots[position].key == key:
                return self._slots[position].rule - 1
            position = (position + 1) & self._slot_mask
        items = self._rule(
            record.opcode, record.registers & 15, record.registers >> 4,
            record.offset if flags & KEY_OFFSET else None,
            record.imm if flags & KEY_IMM else None, flag, shape)
        cdef int rule = self._book.add(items)
        self._slots[position].key = key
        self._slots[position].rule = rule + 1
        return rule

    cdef int64_t _address(
            self, uint64_t base, const int32_t *ends, int count, int64_t index) except? -1:
        if not 0 <= index <= count:
            raise BuildError(f"a branch to instruction {index} of {count}")
        return <int64_t>(base + ends[index])

    cdef int64_t _value(
            self, const Arg *arg, const Record *records, int index, int count, uint64_t base,
            const int32_t *ends, int once, uint64_t here) except? -1:
        cdef int64_t value = arg.addend
        cdef int source = arg.source
        if source == S_LITERAL:
            return value
        if source == S_IMM:
            value += records[index].imm
        elif source == S_OFFSET:
            value += records[index].offset
        elif source == S_IMM64:
            value += <int64_t>(<uint64_t><uint32_t>records[index + 1].imm << 32
                               | <uint32_t>records[index].imm)
        elif source == S_PARAM:
            value += self._param(arg.index)
        elif source == S_TARGET:
            value += self._address(base, ends, count, index + 1 + records[index].offset)
        elif source == S_TARGET_IMM:
            value += self._address(base, ends, count, <int64_t>index + 1 + records[index].imm)
        elif source == S_ONCE:
            value += self._address(base, ends, count, once)
        elif source == S_END:
            value += <int64_t>(base + ends[count])
        elif source == S_HERE:
            value += <int64_t>(here - base)
        else:
            value += self._locals[arg.index]
        if arg.base >= 0:
            value += self._param(arg.base)
        if arg.transform == T_NEGATE:
            return -value
        if arg.transform == T_SHIFT12:
            return value >> 12
        if arg.transform == T_NEAR:
            return <int64_t>base + <int32_t><uint32_t>(<uint64_t>value - base)
        if arg.transform == T_NEGATE_SHIFT12:
            return -value >> 12
        if arg.transform == T_BITMASK32:
            return bitmask(<uint64_t>value, 32)
        if arg.transform == T_BITMASK64:
            return bitmask(<uint64_t>value, 64)
        return value

    cdef int64_t _param(self, int index) except? -1:
        if not 0 <= index < self._param_count:
            raise BuildError(f"{self._param_count} parameters; a rule wants number {index}")
        if not self._given[index]:
            raise UnsupportedError(f"the code needs {self._names[index]}, which is not known")
        return self._params[index]

    cdef int _apply(
            self, int number, const Record *records, int index, int count, uint64_t base,
            int32_t *ends, int once, size_t at, bint padding) except -1:
        """Emit one rule at offset `at`; returns the bytes emitted."""
        cdef Rule *rule = &self._book.rules[number]
        cdef Item *item
        cdef int64_t args[MAX_OPERANDS]
        cdef int64_t distance
        cdef int k, length, position, turn, turns = 1
        cdef size_t out = at
        cdef void *grown
        if at + (<size_t>rule.count + 1) * MAX_OP_BYTES > self._room:
            self._room = 2 * self._room + 2 * MAX_ITEMS * MAX_OP_BYTES
            grown = realloc(self._out, self._room)
            if grown is NULL:
                raise MemoryError
            self._out = <uint8_t *>grown
        if rule.locals:
            # Labels ahead are known on the second turn; none changes the length of code.
            turns = 2
            for k in range(rule.locals):
                self._locals[k] = <int64_t>(base + at)
        for turn in range(turns):
            out = at
            position = 0
            while position < rule.count:
                item = &self._book.items[rule.first + position]
                position += 1
                for k in range(item.count):
                    args[k] = self._value(
                        &item.args[k], records, index, count, base, ends, once, base + out)
                if item.code >= 0:
                    length = self.isa.encode(
                        self._out + out, base + out, item.code, args)
                    if length < 0:
                        operands = ", ".join([hex(args[k]) for k in range(item.count)])
                        raise BuildError(
                            f"instruction {index}: {self.isa.names[item.code]} cannot be "
                            f"encoded with operands {operands}")
                    out += length
                elif item.code == I_WHEN:
                    if not holds(<int>args[0], args[1]):
                        position += <int>args[2]
                elif item.code == I_SKIP:
                    position += <int>args[0]
                elif item.code == I_LABEL:
                    self._locals[args[0]] = <int64_t>(base + out)
                else:
                    distance = args[3] - <int64_t>(base + ends[index + 1])
                    out += self._branch(
                        args, distance, base, out,
                        ends[index + 1] - ends[index] - <int>(out - at), padding)
        return <int>(out - at)

    cdef int _branch(
            self, const int64_t *branch, int64_t distance, uint64_t base, size_t out,
            int spare, bint padding) except -1:
        """A branch over `distance` from the end of its record, at the record's end.

        Short if it fits. While padding, it fills the `spare` bytes that it had before.
        """
        cdef int64_t args[MAX_OPERANDS]
        cdef bint conditional = branch[2] >= 0
        cdef bint short = SHORT_LOW <= distance <= SHORT_HIGH
        cdef bint nothing = distance == 0 and not conditional
        cdef int length, fill = 0, near = 6 if conditional else 5
        if padding and (short or nothing):
            fill = spare - (0 if nothing else 2)
            if fill < 0 or fill > near:
                raise BuildError(f"branch sizes do not settle: {spare} bytes for a short branch")
            if fill:
                self.isa.fill(self._out + out, fill)
        if nothing:
            return fill
        length = 2 if short else near
        args[0] = branch[2]
        args[1 if conditional else 0] = <int64_t>(base + out + fill) + length + distance
        length = self.isa.encode(
            self._out + out + fill, base + out + fill, <int>branch[0 if short else 1], args)
        if length < 0:
            raise BuildError(f"a branch over {distance} bytes")
        return fill + length

    cdef int _pass(
            self, const Record *records, int count, uint64_t base, int32_t *ends,
            const int32_t *rules, int32_t *sizes, int prologue, int epilogue, int once,
            bint all, bint padding) except -1:
        """One pass over everything; updates `ends` on the way. Returns the total size.

        Without `all`, what cannot change its size is not emitted again but counted.
        """
        cdef int index = 0, length
        length = self._apply(prologue, records, 0, count, base, ends, once, 0, False)
        ends[0] = length
        while index < count:
            if all or not self._book.rules[rules[index]].fixed:
                sizes[index] = self._apply(
                    rules[index], records, index, count, base, ends, once, length, padding)
            length += sizes[index]
            index += 1
            if self._keys[records[index - 1].opcode] & TWO_RECORDS:
                index += 1
            ends[index] = length
        return length + self._apply(
            epilogue, records, 0, count, base, ends, once, length, False)

    def translate(
            self, bytes code not None, base, tuple prologue not None, tuple epilogue not None,
            params, shape=None):
        """Translate the records in `code` into machine code at address `base`.

        `prologue` and `epilogue` are rules before and after the records' code; `params` are
        the values of `param(0)`, `param(1)`, ..., None if not known. Raises `BuildError` if sizes do not settle
        or an operand does not fit, and whatever the rule function raises.
        """
        cdef int count = <int>(len(code) // 8), index = 0, once = -1, size, old = 0, passes = 0
        cdef const Record *records = <const Record *><const char *>code
        cdef int32_t *ends
        cdef int32_t *rules
        cdef int32_t *sizes
        cdef bint last = False
        cdef uint64_t start = PyLong_AsUnsignedLongLongMask(base)
        cdef int before, after
        cdef uint64_t number
        if len(code) % 8 or not 0 < count <= MAX_RECORDS:
            raise BuildError(f"{len(code)} bytes are not 1 to {MAX_RECORDS} records of 8")
        if (self._book.rule_count + count + 2 > MAX_RULES or self._book.item_count > 1 << 24
                or len(self._shapes) >= 1 << 15):
            self._forget()
            if count + 2 > MAX_RULES:
                raise BuildError(f"{count} records; at most {MAX_RULES - 2} are translated")
        self._set_params(params)
        ends = <int32_t *>malloc((count + 1) * sizeof(int32_t))
        rules = <int32_t *>malloc(count * sizeof(int32_t))
        sizes = <int32_t *>malloc(count * sizeof(int32_t))
        try:
            if ends is NULL or rules is NULL or sizes is NULL:
                raise MemoryError
            number = self._shapes.setdefault(shape, len(self._shapes))
            if number >= 1 << 15:
                raise BuildError("too many shapes of programs")
            before = self._book.fragment(prologue)
            after = self._book.fragment(epilogue)
            while index < count:
                rules[index] = self._find(
                    &records[index], once < 0, index == count - 1, shape, number)
                if once < 0 and self._keys[records[index].opcode] & KEY_FIRST:
                    once = index
                if self._keys[records[index].opcode] & TWO_RECORDS:
                    index += 1
                    if index == count:
                        raise BuildError("the program ends inside a two-record instruction")
                    rules[index] = rules[index - 1]
                index += 1
            for index in range(count + 1):
                ends[index] = self._stride * (index + 1)
            while True:
                size = self._pass(
                    records, count, start, ends, rules, sizes, before, after, once,
                    last or not passes, passes >= PADDING_PASSES)
                passes += 1
                if last:
                    break
                if size == old:
                    last = True
                elif passes == MAX_PASSES:
                    raise BuildError(f"branch sizes do not settle in {passes} passes")
                old = size
            if size != old:
                raise BuildError("the last pass changed the size of the code")
            result = <Translated>Translated.__new__(Translated)
            result.code = (<const char *>self._out)[:size]
            result.ends = [ends[index] for index in range(count + 1)]
            result.passes = passes
            return result
        finally:
            free(ends)
            free(rules)
            free(sizes)

    cdef int _set_params(self, params) except -1:
        if len(params) != self._param_count:
            raise BuildError(f"{len(params)} parameters; the rules have {self._param_count}")
        for index, value in enumerate(params):
            self._given[index] = value is not None
            self._params[index] = (
                0 if value is None else <int64_t>PyLong_AsUnsignedLongLongMask(value))
        return 0
