"""Plans: machine code described once, instantiated many times.

A plan is a sequence of machine operations whose operands are literals, slots (values given
at each emission) or labels (addresses inside the code). `Plan.emit` turns it into bytes at a
base address in one call: variable-length forms, pc-relative targets and alignment are worked
out there. The encoder of an architecture plugs in as an `Isa`: a table of operation names
and a function that encodes one operation at one address. Nothing here knows what the code
is for.
"""

from cpython.long cimport PyLong_AsUnsignedLongLongMask
from libc.stdlib cimport free, malloc, realloc

from tramposim.errors import BuildError

__all__ = ["Code", "Isa", "Label", "Plan", "Slot"]

cdef enum:
    PLAN_LABEL = -1
    PLAN_PART = -2
    PLAN_ALIGN = -3

cdef enum:
    MAX_OPS = 1 << 20
    MAX_MARKS = 0x7fff
    MAX_ALIGN = 64


cdef class Isa:
    """An instruction set: operation names with their numbers, and the encoder behind them."""

    def __init__(self):
        raise TypeError("instruction sets are defined by the native encoders")

    def encode_one(self, str name, *operands, address=0):
        """The bytes of one operation with literal operands at `address`."""
        cdef Plan plan = Plan(self)
        plan.op(name, *operands)
        return plan.emit(address, ()).code


cdef Isa make_isa(encode_t encode, fill_t fill, tuple names, tuple operand_counts):
    cdef Isa isa = Isa.__new__(Isa)
    isa.encode = encode
    isa.fill = fill
    isa.names = names
    isa.operand_counts = operand_counts
    isa.ops = {name: number for number, name in enumerate(names)}
    if len(isa.ops) != len(names):
        raise ValueError("an operation is defined twice")
    return isa


cdef class Slot:
    """A value given at emission; `slot + n` is that value plus n."""

    def __init__(self, int index, addend=0):
        self.index = index
        self.addend = addend

    def __add__(self, addend):
        return Slot(self.index, self.addend + addend)


cdef class Label:
    """A place in the code, known when it is emitted; `label + n` lies n bytes further."""

    def __init__(self, int index, addend=0):
        self.index = index
        self.addend = addend

    def __add__(self, addend):
        return Label(self.index, self.addend + addend)


cdef class Code:
    """Emitted code: the bytes, and where the plan's labels and parts came to lie (offsets)."""

    @property
    def labels(self):
        """Offset of each label, in the order in which they were made."""
        cdef const int32_t *marks = <const int32_t *><const char *>self._marks
        return [marks[i] for i in range(self._labels)]

    @property
    def parts(self):
        """Offset at which each part begins."""
        cdef const int32_t *marks = <const int32_t *><const char *>self._marks
        cdef int i, total = <int>(len(self._marks) // sizeof(int32_t))
        return [marks[i] for i in range(self._labels, total)]


cdef class Plan:
    """Machine operations in order of emission, built once per shape of code."""

    def __cinit__(self, Isa isa not None):
        self.isa = isa
        self._room = 64
        self._ops = <Op *>malloc(self._room * sizeof(Op))
        if self._ops is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._ops)
        free(self._buffer)
        free(self._values)
        free(self._marks)
        free(self._fixes)

    def __len__(self):
        return self._count

    def slot(self):
        """A new slot; its value is the next one of the vector given to `emit`."""
        if self._slots == MAX_MARKS:
            raise BuildError(f"a plan of more than {MAX_MARKS} slots")
        self._slots += 1
        self._reserved = 0
        return Slot(self._slots - 1)

    def label(self):
        """A new label, to be placed once with `bind`."""
        if self._labels == MAX_MARKS:
            raise BuildError(f"a plan of more than {MAX_MARKS} labels")
        self._labels += 1
        self._reserved = 0
        return Label(self._labels - 1)

    def bind(self, Label label not None):
        """The label lies here."""
        self._append(PLAN_LABEL, (label.index,))

    def part(self):
        """A new part of the code begins here; returns its index."""
        self._append(PLAN_PART, (self._parts,))
        self._parts += 1
        return self._parts - 1

    def align(self, int boundary):
        """No-operations up to a multiple of `boundary` bytes from the base of the code."""
        if boundary < 1 or boundary > MAX_ALIGN:
            raise BuildError(f"alignment to {boundary} bytes; 1 to {MAX_ALIGN} are possible")
        self._append(PLAN_ALIGN, (boundary,))

    def op(self, str name not None, *operands):
        """One operation of the instruction set; operands are ints, `Slot`s or `Label`s."""
        number = self.isa.ops.get(name)
        if number is None:
            raise BuildError(f"the encoder has no operation {name!r}")
        if len(operands) != self.isa.operand_counts[number]:
            raise BuildError(
                f"{name} takes {self.isa.operand_counts[number]} operands, not {len(operands)}")
        self._append(number, operands)

    cdef int _append(self, int code, tuple operands) except -1:
        cdef Op *op
        cdef Operand *arg
        cdef void *grown
        if self._count == MAX_OPS or len(operands) > MAX_OPERANDS:
            raise BuildError(f"a plan of more than {MAX_OPS} operations")
        if self._count == self._room:
            grown = realloc(self._ops, 2 * self._room * sizeof(Op))
            if grown is NULL:
                raise MemoryError
            self._ops = <Op *>grown
            self._room *= 2
        op = &self._ops[self._count]
        op.code = code
        op.count = <uint8_t>len(operands)
        for i, operand in enumerate(operands):
            arg = &op.args[i]
            arg.slot = arg.label = -1
            if isinstance(operand, Slot):
                arg.slot = (<Slot>operand).index
                arg.value = (<Slot>operand).addend
                if not 0 <= arg.slot < self._slots:
                    raise BuildError("a slot of another plan")
            elif isinstance(operand, Label):
                arg.label = (<Label>operand).index
                arg.value = (<Label>operand).addend
                if not 0 <= arg.label < self._labels:
                    raise BuildError("a label of another plan")
            else:
                if not -(1 << 63) <= operand < 1 << 64:
                    raise BuildError(f"operand {operand} does not fit 64 bits")
                arg.value = <int64_t><uint64_t>(operand & 0xffffffffffffffff)
        self._count += 1
        self._reserved = 0
        return 0

    cdef int _reserve(self) except -1:
        free(self._buffer)
        free(self._values)
        free(self._marks)
        free(self._fixes)
        self._buffer = <uint8_t *>malloc(
            (<size_t>self._count + 1) * (MAX_OP_BYTES + MAX_ALIGN))
        self._values = <int64_t *>malloc((self._slots + 1) * sizeof(int64_t))
        self._marks = <int32_t *>malloc((self._labels + self._parts + 1) * sizeof(int32_t))
        self._fixes = <int32_t *>malloc((<size_t>self._count + 1) * 3 * sizeof(int32_t))
        if (self._buffer is NULL or self._values is NULL or self._marks is NULL
                or self._fixes is NULL):
            raise MemoryError
        self._reserved = 1
        return 0

    cdef int _encode(self, Op *op, uint64_t base, int position) except -1:
        """Encode one operation; a label not known yet counts as the place itself."""
        cdef int64_t args[MAX_OPERANDS]
        cdef Operand *arg
        cdef int k, length
        for k in range(op.count):
            arg = &op.args[k]
            args[k] = arg.value
            if arg.slot >= 0:
                args[k] += self._values[arg.slot]
            elif arg.label >= 0:
                args[k] += <int64_t>base
                args[k] += position if self._marks[arg.label] < 0 else self._marks[arg.label]
        length = self.isa.encode(self._buffer + position, base + position, op.code, args)
        if length < 0:
            operands = ", ".join([hex(args[k]) for k in range(op.count)])
            raise BuildError(f"{self.isa.names[op.code]} cannot be encoded with operands "
                             f"{operands} at {base + position:#x}")
        return length

    cpdef Code emit(self, uint64_t base, slots):
        """The code at address `base` with `slots[i]` as value of the i-th slot made.

        Raises `BuildError` when an operand does not fit its instruction, the vector has
        another length than the plan has slots, or a label was never bound.
        """
        cdef Op *op
        cdef int i, k, length, position = 0, pending = 0, count = <int>len(slots)
        if count != self._slots:
            raise BuildError(f"{count} slot values for a plan of {self._slots} slots")
        if not self._reserved:
            self._reserve()
        for i in range(count):
            self._values[i] = <int64_t>PyLong_AsUnsignedLongLongMask(slots[i])
        for i in range(self._labels):
            self._marks[i] = -1
        for i in range(self._count):
            op = &self._ops[i]
            if op.code >= 0:
                length = self._encode(op, base, position)
                for k in range(op.count):
                    if op.args[k].label >= 0 and self._marks[op.args[k].label] < 0:
                        self._fixes[3 * pending] = i
                        self._fixes[3 * pending + 1] = position
                        self._fixes[3 * pending + 2] = length
                        pending += 1
                        break
                position += length
            elif op.code == PLAN_LABEL:
                if self._marks[op.args[0].value] >= 0:
                    raise BuildError("a label bound twice")
                self._marks[op.args[0].value] = position
            elif op.code == PLAN_PART:
                self._marks[self._labels + op.args[0].value] = position
            else:
                length = (<int>op.args[0].value - position % <int>op.args[0].value)
                length %= <int>op.args[0].value
                self.isa.fill(self._buffer + position, length)
                position += length
        for i in range(self._labels):
            if self._marks[i] < 0:
                raise BuildError("a label that is nowhere bound")
        # Forward references were encoded with a stand-in; now their labels are known.
        for i in range(pending):
            op = &self._ops[self._fixes[3 * i]]
            length = self._encode(op, base, self._fixes[3 * i + 1])
            if length != self._fixes[3 * i + 2]:
                raise BuildError(f"{self.isa.names[op.code]} changes its length with a label")
        cdef Code code = Code.__new__(Code)
        code.code = (<char *>self._buffer)[:position]
        code.address = base
        code._labels = self._labels
        code._marks = (<char *>self._marks)[:(self._labels + self._parts) * sizeof(int32_t)]
        return code
