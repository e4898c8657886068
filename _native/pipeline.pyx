"""The core: executed instructions through fetch, rename, execution and retirement.

One pass in program order. Every stage has a clock; an instruction takes from each stage the
first cycle that its units grant, so that no event queue is needed: older instructions always
claim resources first, as an oldest-first scheduler would. State persists between passes:
repeating a trace warms predictors and renaming as repeated calls do.

The units are in `Hardware`; stages are the inline functions of rename.pxd, execute.pxd,
retire.pxd and branches.pxd, which `step` puts together.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from tramposim._native.corestate cimport CoreState
from tramposim._native.fetch cimport fetch_open, fetch_redirect
from tramposim._native.frontend cimport LOOP_UNKNOWN, frontend_open, frontend_redirect
from tramposim._native.hardware cimport (
    BLOCKS, BUBBLES, EVENT_COUNT, FORWARDS, LOADS, MISS_CONDITIONAL, MISS_INDIRECT, MISS_RETURN,
    RENAMES, SLOTS, Hardware)
from tramposim._native.loopbuffer cimport loop_open
from tramposim._native.lsu cimport lsu_close, lsu_open
from tramposim._native.memory cimport memory_settle
from tramposim._native.predictors cimport Predictors, predictors_close, predictors_open
from tramposim._native.rename cimport rename_wait
from tramposim._native.scheduler cimport scheduler_close, scheduler_open
from tramposim._native.segments cimport alike, first_access
from tramposim._native.stages cimport StageRec, UopStageRec, shift_records
from tramposim._native.steady cimport (
    Steady, steady_clear, steady_close, steady_forget, steady_open, steady_period, steady_repeat)
from tramposim._native.step cimport step
from tramposim._native.uarch cimport (
    FIRST_PORT, NOP, NO_REGISTER, REGISTERS, SERIALIZED, STORE_DATA, AccessRec, InsnRec, UopRec)
from tramposim._native.walk cimport Position, Walk, walk_begin, walk_step, walk_to_access

cdef enum:
    MANY = 16           # segments of a pass, from which on a period within it is looked for

EVENTS = (
    "instructions", "uops", "slots", "taken_branches", "taken_bubbles",
    "conditional_mispredicts", "indirect_mispredicts", "return_mispredicts",
    "store_forwards", "store_renames", "store_blocks", "loads", "stores", "locked", "target_changes",
)
"""Names of the counters that `Pipeline.events` returns, in order."""

CAUSES = (
    "uop cache", "decode", "length-changing prefix", "loop buffer", "branch prediction",
    "misprediction", "serialisation", "rename width", "reorder buffer", "scheduler",
    "load buffer", "store buffer", "dependency", "store forwarding", "blocked store forwarding",
    "locked operation", "unpipelined unit", "memory access", "retire width", "4K aliasing",
)
"""What can hold execution up, in the order of `Pipeline.stalls` and `waits`; ports follow."""


cdef class Pipeline:
    """A core and the static records of the instructions that it will execute."""

    cdef Hardware hardware
    cdef Predictors own_predictors
    cdef readonly CoreState state
    cdef const InsnRec[::1] insns
    cdef const UopRec[::1] uops
    cdef StageRec stage            # of the instruction executed last
    cdef Steady steady             # within a pass
    cdef Steady passes             # from pass to pass
    cdef int64_t skipped           # cycles of repetitions that were recognised, not executed
    cdef const int32_t[::1] order          # of the last run; segments lie between marks
    cdef const AccessRec[::1] accesses
    cdef const int64_t[::1] marks
    cdef int64_t *took             # by segment, cycles when it was executed last
    cdef int64_t segments          # executed, of these arrays

    def __cinit__(self, dict params, insns, uops, bint cached=True, CoreState state=None,
                  bint one_page=False):
        cdef Hardware *unit = &self.hardware
        cdef Py_ssize_t i
        unit.core = params
        self.insns = insns
        self.uops = uops
        for i in range(self.insns.shape[0]):
            if self.insns[i].first + self.insns[i].uops > self.uops.shape[0]:
                raise ValueError("an instruction's uops lie outside the table")
        for i in range(self.uops.shape[0]):
            self._check_uop(i)
        if (unit.core.rob + 64 > SLOTS or unit.core.queue_uops + 64 > SLOTS
                or unit.core.load_buffer >= LOADS):
            raise ValueError("a buffer of the core is larger than this build supports")
        unit.slot_alloc = <int64_t *>calloc(SLOTS, 8)
        unit.slot_retire = <int64_t *>calloc(SLOTS, 8)
        unit.load_retire = <int64_t *>calloc(LOADS, 8)
        unit.share = <int64_t *>calloc(self.insns.shape[0] + 1, 8)
        if not (unit.slot_alloc and unit.slot_retire and unit.load_retire and unit.share):
            raise MemoryError
        frontend_open(&unit.front, &unit.core, cached)
        loop_open(&unit.loop, &unit.core)
        self.state = state
        unit.predictors = &self.own_predictors
        if state is None:
            predictors_open(unit.predictors, &unit.core)
        else:
            unit.predictors = &state.predictors
            fetch_open(&unit.fetch, &state.fetch, unit.front.cached)
        self.lock(True)
        scheduler_open(&unit.scheduler, &unit.core)
        lsu_open(&unit.lsu, &unit.core, <int>self.insns.shape[0])
        unit.lsu.one_page = one_page
        steady_open(&self.steady, <int>self.insns.shape[0], self._branches(), True)
        steady_open(&self.passes, <int>self.insns.shape[0], self._branches(), False)
        self.order = None

    def __dealloc__(self):
        free(self.hardware.slot_alloc)
        free(self.hardware.slot_retire)
        free(self.hardware.load_retire)
        free(self.hardware.share)
        predictors_close(&self.own_predictors)
        scheduler_close(&self.hardware.scheduler)
        lsu_close(&self.hardware.lsu)
        steady_close(&self.steady)
        steady_close(&self.passes)
        free(self.took)

    cdef bint _branches(self) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.insns.shape[0]):
            if self.insns[i].branch:
                return True
        return False

    cdef int _check_uop(self, Py_ssize_t i) except -1:
        cdef const UopRec *uop = &self.uops[i]
        cdef bint placed = uop.kind <= STORE_DATA
        if placed and not uop.ports & ((1 << self.hardware.core.ports) - 1):
            raise ValueError("a uop has no port of this core")
        if uop.pool >= self.hardware.core.pools or uop.kind > NOP or uop.occupancy > 200:
            raise ValueError("a uop's fields are out of range")
        for register in (uop.src0, uop.src1, uop.src2, uop.src3,
                         uop.dst0, uop.dst1, uop.dst2, uop.dst3):
            if register != NO_REGISTER and register >= REGISTERS:
                raise ValueError("a uop names a register out of range")
        return 0

    @property
    def cycle(self) -> int:
        """Cycle in which the last instruction retired."""
        return self.hardware.retired + self.skipped

    def events(self) -> list:
        """Counts since the start, in the order of `EVENTS`."""
        return [self.hardware.events[i] for i in range(EVENT_COUNT)]

    def shares(self) -> list:
        """Cycles of retirement that waited for each static instruction, since `clear`."""
        return [self.hardware.share[i] for i in range(self.insns.shape[0])]

    def stalls(self) -> list:
        """Cycles of rename since the start by what kept it: `CAUSES`, then the ports."""
        return [self.hardware.stalls[i] for i in range(FIRST_PORT + self.hardware.core.ports)]

    def waits(self) -> list:
        """Cycles of retirement since the start by what it waited for: `CAUSES`, then the ports."""
        return [self.hardware.waits[i] for i in range(FIRST_PORT + self.hardware.core.ports)]

    def clear(self) -> None:
        """Set the counters to zero; the state of the core stays."""
        steady_clear(&self.steady, &self.hardware)
        steady_clear(&self.passes, &self.hardware)
        memset(self.hardware.events, 0, sizeof(self.hardware.events))
        memset(self.hardware.share, 0, 8 * self.insns.shape[0])

    def lock(self, bint locked) -> None:
        """Whether the fast BTB now keeps its lock where a return changes its target.

        A misprediction, and some changes of return thunks, end that.
        """
        self.hardware.predictors.locked = locked
        self.hardware.predictors.unlocked = 0

    def simulate_memory(self, bint on) -> None:
        """Whether fetch and memory accesses go through the state's caches and TLBs.

        Off (as at first), everything is found in the first level, at no cost.
        """
        if self.state is None:
            raise ValueError("a pipeline without a core state has no caches")
        self.hardware.memory = &self.state.memory if on else NULL
        self.hardware.front.loop = LOOP_UNKNOWN
        self.hardware.front.cached = self.hardware.fetch.cached

    def drain(self) -> int:
        """Let everything under way finish; return the cycle in which execution goes on."""
        cdef Hardware *unit = &self.hardware
        cdef int64_t cycle = max(unit.retired, unit.completed, unit.front.cycle,
                                 unit.lsu.last_commit, unit.rename_cycle)
        frontend_redirect(&unit.front, cycle, SERIALIZED)
        rename_wait(unit, cycle, SERIALIZED)
        unit.rename_used = 0
        unit.retired = cycle
        unit.after_taken = True
        self.lock(True)
        if self.state is not None:
            memory_settle(&self.state.memory)
            fetch_redirect(&unit.fetch, &unit.front)
        return cycle + self.skipped

    def run(self, const int32_t[::1] order, const AccessRec[::1] accesses,
            const int64_t[::1] marks, int64_t[::1] cycles, StageRec[::1] stages=None,
            UopStageRec[::1] uop_stages=None) -> None:
        """Execute `order` (numbers of static instructions) once.

        `accesses` belong to positions of `order`. `cycles[k]` receives the cycle in which
        everything before position `marks[k]` had retired; `stages`, if given, what each
        position went through, `uop_stages` what their uops did, one after the other. After the
        last instruction, control is taken to return to the first.

        If marks lie at begin and end, what is between two marks is a segment: repetitions of
        segments in a steady state are recognised, and counted without being executed. The
        arrays must not change between runs with the same ones. With `stages`, and with a core
        state, everything is executed.
        """
        cdef bint recorded = stages is not None
        cdef Py_ssize_t n = order.shape[0], i, m = 0, end
        cdef Walk walk
        cdef bint segmented
        cdef int64_t began = self.hardware.retired
        self._check(order, marks, cycles, stages)
        if n == 0:
            return
        if uop_stages is not None:
            end = 0
            for i in range(n):
                end += self.insns[order[i]].uops
            if not recorded or uop_stages.shape[0] != end:
                raise ValueError("records of uops without those of instructions, or not as many")
            self.hardware.noted = &uop_stages[0] if end else NULL
        segmented = not recorded and self._segments(order, accesses, marks)
        if not segmented:
            self.order = None
            steady_forget(&self.steady, &self.hardware)
            steady_forget(&self.passes, &self.hardware)
        walk_begin(&walk, self.insns, self.uops, order, accesses)
        with nogil:
            i = 0
            while i < n:
                if m < marks.shape[0] and marks[m] <= i:
                    if segmented:
                        if m > 0:
                            self.took[m - 1] = self.hardware.retired - began
                        began = self.hardware.retired
                        end = self._skip(m, cycles)
                        if end > m:
                            m = end
                            i = marks[m]
                            walk_to_access(&walk, first_access(accesses, i))
                        self.segments += i < n
                    while m < marks.shape[0] and marks[m] <= i:
                        cycles[m] = self.hardware.retired + self.skipped
                        m += 1
                    if i == n:
                        break
                end = marks[m] if m < marks.shape[0] and marks[m] < n else n
                if recorded:
                    self._record(&walk, i, end, &stages[0])
                else:
                    self._execute(&walk, i, end, NULL)
                i = end
            if segmented and m < marks.shape[0]:
                self.took[m - 1] = self.hardware.retired - began
            while m < marks.shape[0]:
                cycles[m] = self.hardware.retired + self.skipped
                m += 1
            self.hardware.noted = NULL
            if recorded and self.skipped:
                shift_records(stages, uop_stages, self.skipped)

    cdef void _execute(
        self, Walk *walk, Py_ssize_t begin, Py_ssize_t end, StageRec *stage
    ) noexcept nogil:
        """Execute positions from `begin` to before `end`; `stage`: of the last, if asked for."""
        cdef Hardware *unit = &self.hardware
        cdef Position at
        cdef Py_ssize_t i
        for i in range(begin, end):
            walk_step(walk, i, &at)
            step(unit, at.insn, at.uops, at.number, at.next_pc, at.access, at.access_count, stage)

    cdef void _record(
        self, Walk *walk, Py_ssize_t begin, Py_ssize_t end, StageRec *stages
    ) noexcept nogil:
        """Execute positions from `begin` to before `end`, and keep what they went through."""
        cdef int64_t before[EVENT_COUNT]
        cdef Py_ssize_t i
        for i in range(begin, end):
            memcpy(before, self.hardware.events, sizeof(before))
            self._execute(walk, i, i + 1, &self.stage)
            self._note(before)
            stages[i] = self.stage

    cdef int _check(self, const int32_t[::1] order, const int64_t[::1] marks,
                    const int64_t[::1] cycles, StageRec[::1] stages) except -1:
        cdef Py_ssize_t i
        cdef uint32_t highest = 0       # of unsigned numbers: a negative one is the highest
        if marks.shape[0] != cycles.shape[0]:
            raise ValueError("marks and cycles differ in length")
        for i in range(order.shape[0]):
            highest = max(highest, <uint32_t>order[i])
        if order.shape[0] and highest >= <uint64_t>self.insns.shape[0]:
            raise ValueError("an executed instruction has no record")
        if stages is not None and stages.shape[0] != order.shape[0]:
            raise ValueError("stages and order differ in length")
        return 0

    cdef void _note(self, const int64_t *before) noexcept nogil:
        """Complete the last instruction's record by what was counted since `before`."""
        cdef const int64_t *now = self.hardware.events
        self.stage.bubbles = <uint16_t>(now[BUBBLES] - before[BUBBLES])
        self.stage.mispredicted = (
            now[MISS_CONDITIONAL] + now[MISS_INDIRECT] + now[MISS_RETURN]
            > before[MISS_CONDITIONAL] + before[MISS_INDIRECT] + before[MISS_RETURN])
        self.stage.forwarded = <uint8_t>(now[FORWARDS] - before[FORWARDS])
        self.stage.memory_renamed = <uint8_t>(now[RENAMES] - before[RENAMES])
        self.stage.blocked = <uint8_t>(now[BLOCKS] - before[BLOCKS])

    cdef int _segments(self, const int32_t[::1] order, const AccessRec[::1] accesses,
                       const int64_t[::1] marks) except -1:
        """Remember the arrays to be run; whether their repetitions can be recognised."""
        cdef Py_ssize_t i, count = marks.shape[0] - 1
        if self.state is not None or count < 1 or marks[0] != 0 or marks[count] != order.shape[0]:
            return False
        for i in range(count):
            if marks[i] >= marks[i + 1]:
                return False
        if (self.order is not None and order.shape[0] == self.order.shape[0]
                and accesses.shape[0] == self.accesses.shape[0]
                and marks.shape[0] == self.marks.shape[0] and &order[0] == &self.order[0]
                and &marks[0] == &self.marks[0]
                and (accesses.shape[0] == 0 or &accesses[0] == &self.accesses[0])):
            return True
        self.order = order
        self.accesses = accesses
        self.marks = marks
        self.segments = 0
        steady_forget(&self.steady, &self.hardware)
        steady_forget(&self.passes, &self.hardware)
        free(self.took)
        self.took = <int64_t *>calloc(count, 8)
        if self.took == NULL:
            raise MemoryError
        return True

    cdef Py_ssize_t _skip(self, Py_ssize_t segment, int64_t[::1] cycles) noexcept nogil:
        """Before `segment`: the segment with which execution goes on.

        Those between them only repeat, in a steady state, and are counted.
        """
        cdef Py_ssize_t count = self.marks.shape[0] - 1, same = 0, i
        cdef Steady *unit = &self.passes
        cdef int64_t period = 0, length
        if segment == 0:
            period = steady_period(unit, &self.hardware, self.segments, True)
        if period == 0 and count >= MANY:
            unit = &self.steady
            period = steady_period(
                unit, &self.hardware, self.segments, 2 * segment < count)
        if period == 0 or period > count:
            return segment
        while segment + same < count and alike(
                self.insns, self.order, self.accesses, self.marks, segment + same,
                (segment + same + count - period) % count):
            same += 1
        same -= same % period
        if same == 0:
            return segment
        steady_repeat(unit, &self.hardware, self.segments, same // period)
        self.segments += same
        for i in range(segment, segment + same):
            cycles[i] = self.hardware.retired + self.skipped
            length = self.took[(i + count - period) % count]
            self.took[i] = length
            self.skipped += length
        return segment + same
