"""The core: executed instructions through fetch, rename, execution and retirement.

One pass in program order. Every stage has a clock; an instruction takes from each stage the
first cycle that its units grant, so that no event queue is needed: older instructions always
claim resources first, as an oldest-first scheduler would. State persists between passes:
repeating a trace warms predictors and renaming as repeated calls do.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from tramposim._native.corestate cimport CoreState
from tramposim._native.fetch cimport (
    Fetch, fetch_block, fetch_open, fetch_redirect, fetch_resteer, fetch_taken)
from tramposim._native.frontend cimport (
    FrontEnd, frontend_deliver, frontend_open, frontend_redirect, frontend_taken)
from tramposim._native.lsu cimport (
    LoadOutcome, Lsu, Store, lsu_close, lsu_commit, lsu_load, lsu_open, lsu_store, lsu_store_room)
from tramposim._native.memory cimport (
    Memory, memory_data, memory_settle, memory_translate)
from tramposim._native.predictors cimport (
    Predictors, find_branch, predict_direction, predict_indirect, predict_return,
    predictors_close, predictors_open, push_return)
from tramposim._native.scheduler cimport (
    Scheduler, scheduler_advance, scheduler_close, scheduler_issue, scheduler_open,
    scheduler_room)
from tramposim._native.stages cimport StageRec
from tramposim._native.uarch cimport (
    BLOCK, BLOCKED_FORWARDING, BRANCH, CALL, CAUSES_COUNT, CONDITIONAL, DENSE, DEPENDENCY,
    DIVIDER, DRAIN, EARLY_FLAGS, ELIMINATED, EXEC, FIRST_PORT, FOLDS, FUSED_HEAD, FORWARDING,
    INDIRECT_CALL, INDIRECT_JUMP, JUMP, LOAD, LOAD_BUFFER, LOCKED,
    LOCKED_OPERATION, MAX_POOLS, MEMORY_ACCESS, MISPREDICT, MOVE_STACK, NEEDS_SUM, NOP,
    NOT_BRANCH, NO_REGISTER, ORDERS_LOADS, PAIR, READ_STACK, REGISTERS, RENAME_WIDTH,
    REORDER_BUFFER, RETIRE_WIDTH, RETURN, SCHEDULER, SERIALIZED, STORE_ADDRESS, STORE_BUFFER,
    STORE_DATA, UNRENAMED, ZERO, AccessRec, CoreParams, InsnRec, UopRec)

cdef enum:
    SLOTS = 1024        # ring of rename slots: at least the ROB and the uop queue
    LOADS = 512         # ring of loads: at least the load buffer

EVENTS = (
    "instructions", "uops", "slots", "taken_branches", "taken_bubbles",
    "conditional_mispredicts", "indirect_mispredicts", "return_mispredicts",
    "store_forwards", "store_renames", "store_blocks", "loads", "stores", "locked", "target_changes",
)
"""Names of the counters that `Pipeline.events` returns, in order."""

CAUSES = (
    "uop cache", "decode", "length-changing prefix", "branch prediction", "misprediction",
    "serialisation", "rename width", "reorder buffer", "scheduler", "load buffer",
    "store buffer", "dependency", "store forwarding", "blocked store forwarding",
    "locked operation", "divider", "memory access", "retire width",
)
"""What can hold execution up, in the order of `Pipeline.stalls` and `waits`; ports follow."""

cdef enum:
    INSTRUCTIONS, UOPS, SLOTS_USED, TAKEN, BUBBLES, MISS_CONDITIONAL, MISS_INDIRECT, \
        MISS_RETURN, FORWARDS, RENAMES, BLOCKS, LOADS_DONE, STORES_DONE, LOCKS, CHANGES, EVENT_COUNT


cdef class Pipeline:
    """A core and the static records of the instructions that it will execute."""

    cdef CoreParams core
    cdef FrontEnd front
    cdef Fetch fetch
    cdef Memory *memory            # NULL: everything is found in the first level
    cdef Predictors *predictors
    cdef Predictors own_predictors
    cdef readonly CoreState state
    cdef Scheduler scheduler
    cdef Lsu lsu
    cdef const InsnRec[::1] insns
    cdef const UopRec[::1] uops
    cdef int64_t ready[REGISTERS]
    cdef int64_t *slot_alloc
    cdef int64_t *slot_retire
    cdef int64_t *load_retire
    cdef int64_t slot_count, load_count
    cdef int64_t rename_cycle
    cdef int64_t stalls_[CAUSES_COUNT]  # cycles of rename by what kept it
    cdef int64_t waits_[CAUSES_COUNT]   # cycles of retirement by what it waited for
    cdef int rename_used
    cdef int64_t retired, completed
    cdef int retire_used
    cdef int64_t fence, memory_done
    cdef uint64_t last_load
    cdef bint stack_moved, after_taken
    cdef uint64_t folded           # registers whose value is a sum not yet formed
    cdef int64_t events_[EVENT_COUNT]
    cdef int64_t *share
    cdef StageRec stage            # of the instruction executed last

    def __cinit__(self, dict params, insns, uops, bint cached=True, CoreState state=None,
                  bint by_path=True):
        cdef Py_ssize_t i
        self.core = params
        self.insns = insns
        self.uops = uops
        for i in range(self.insns.shape[0]):
            if self.insns[i].first + self.insns[i].uops > self.uops.shape[0]:
                raise ValueError("an instruction's uops lie outside the table")
        for i in range(self.uops.shape[0]):
            self._check_uop(i)
        if (self.core.rob + 64 > SLOTS or self.core.queue_uops + 64 > SLOTS
                or self.core.load_buffer >= LOADS):
            raise ValueError("a buffer of the core is larger than this build supports")
        self.slot_alloc = <int64_t *>calloc(SLOTS, 8)
        self.slot_retire = <int64_t *>calloc(SLOTS, 8)
        self.load_retire = <int64_t *>calloc(LOADS, 8)
        self.share = <int64_t *>calloc(self.insns.shape[0] + 1, 8)
        if not (self.slot_alloc and self.slot_retire and self.load_retire and self.share):
            raise MemoryError
        frontend_open(&self.front, &self.core, cached)
        self.state = state
        self.predictors = &self.own_predictors
        if state is None:
            predictors_open(self.predictors, &self.core)
        else:
            self.predictors = &state.predictors
            fetch_open(&self.fetch, &state.fetch, self.front.cached)
        self.predictors.by_path = by_path
        self.predictors.unlocked = 0
        scheduler_open(&self.scheduler, &self.core)
        lsu_open(&self.lsu, &self.core, <int>self.insns.shape[0])

    def __dealloc__(self):
        free(self.slot_alloc)
        free(self.slot_retire)
        free(self.load_retire)
        free(self.share)
        predictors_close(&self.own_predictors)
        scheduler_close(&self.scheduler)
        lsu_close(&self.lsu)

    cdef int _check_uop(self, Py_ssize_t i) except -1:
        cdef const UopRec *uop = &self.uops[i]
        cdef bint placed = uop.kind <= STORE_DATA
        if placed and not uop.ports & ((1 << self.core.ports) - 1):
            raise ValueError("a uop has no port of this core")
        if uop.pool >= self.core.pools or uop.kind > NOP or uop.occupancy > 200:
            raise ValueError("a uop's fields are out of range")
        for register in (uop.src0, uop.src1, uop.src2, uop.src3,
                         uop.dst0, uop.dst1, uop.dst2, uop.dst3):
            if register != NO_REGISTER and register >= REGISTERS:
                raise ValueError("a uop names a register out of range")
        return 0

    @property
    def cycle(self) -> int:
        """Cycle in which the last instruction retired."""
        return self.retired

    def events(self) -> list:
        """Counts since the start, in the order of `EVENTS`."""
        return [self.events_[i] for i in range(EVENT_COUNT)]

    def shares(self) -> list:
        """Cycles of retirement that waited for each static instruction, since `clear`."""
        return [self.share[i] for i in range(self.insns.shape[0])]

    def stalls(self) -> list:
        """Cycles of rename since the start by what kept it: `CAUSES`, then the ports."""
        return [self.stalls_[i] for i in range(FIRST_PORT + self.core.ports)]

    def waits(self) -> list:
        """Cycles of retirement since the start by what it waited for: `CAUSES`, then the ports."""
        return [self.waits_[i] for i in range(FIRST_PORT + self.core.ports)]

    def clear(self) -> None:
        """Set the counters to zero; the state of the core stays."""
        memset(self.events_, 0, sizeof(self.events_))
        memset(self.share, 0, 8 * self.insns.shape[0])

    def simulate_memory(self, bint on) -> None:
        """Whether fetch and memory accesses go through the state's caches and TLBs.

        Off (as at first), everything is found in the first level, at no cost.
        """
        if self.state is None:
            raise ValueError("a pipeline without a core state has no caches")
        self.memory = &self.state.memory if on else NULL
        self.front.cached = self.fetch.cached

    def drain(self) -> int:
        """Let everything under way finish; return the cycle in which execution goes on."""
        cdef int64_t cycle = max(self.retired, self.completed, self.front.cycle,
                                 self.lsu.last_commit, self.rename_cycle)
        frontend_redirect(&self.front, cycle, SERIALIZED)
        self._wait(cycle, SERIALIZED)
        self.rename_used = 0
        self.retired = cycle
        self.after_taken = True
        self.predictors.unlocked = 0
        if self.state is not None:
            memory_settle(&self.state.memory)
            fetch_redirect(&self.fetch, &self.front)
        return cycle

    def run(self, const int32_t[::1] order, const AccessRec[::1] accesses,
            const int64_t[::1] marks, int64_t[::1] cycles, StageRec[::1] stages=None) -> None:
        """Execute `order` (numbers of static instructions) once.

        `accesses` belong to positions of `order`. `cycles[k]` receives the cycle in which
        everything before position `marks[k]` had retired; `stages`, if given, what each
        position went through. After the last instruction, control is taken to return to the
        first.
        """
        cdef bint recorded = stages is not None
        cdef int64_t before[EVENT_COUNT]
        cdef Py_ssize_t n = order.shape[0], i, m = 0, a = 0, end
        cdef bint fused
        cdef int32_t number, following
        cdef Py_ssize_t known = self.insns.shape[0]
        if marks.shape[0] != cycles.shape[0]:
            raise ValueError("marks and cycles differ in length")
        for i in range(n):
            if order[i] < 0 or order[i] >= known:
                raise ValueError("an executed instruction has no record")
        if recorded and stages.shape[0] != n:
            raise ValueError("stages and order differ in length")
        if n == 0:
            return
        with nogil:
            for i in range(n):
                if recorded:
                    memcpy(before, self.events_, sizeof(before))
                while m < marks.shape[0] and marks[m] <= i:
                    cycles[m] = self.retired
                    m += 1
                number = order[i]
                following = order[i + 1] if i + 1 < n else order[0]
                # What a fused instruction accesses, the branch that it is fused into does.
                fused = i > 0 and self.insns[order[i - 1]].flags & FUSED_HEAD
                while a < accesses.shape[0] and accesses[a].insn + fused < <uint32_t>i:
                    a += 1
                end = a
                if not self.insns[number].flags & FUSED_HEAD:
                    while end < accesses.shape[0] and accesses[end].insn <= <uint32_t>i:
                        end += 1
                self._step(number, self.insns[following].pc,
                           &accesses[a] if end > a else NULL, <int>(end - a))
                if recorded:
                    self._note(before)
                    stages[i] = self.stage
                a = end
            while m < marks.shape[0]:
                cycles[m] = self.retired
                m += 1

    cdef void _note(self, const int64_t *before) noexcept nogil:
        """Complete the last instruction's record by what was counted since `before`."""
        cdef const int64_t *now = self.events_
        self.stage.bubbles = <uint16_t>(now[BUBBLES] - before[BUBBLES])
        self.stage.mispredicted = (
            now[MISS_CONDITIONAL] + now[MISS_INDIRECT] + now[MISS_RETURN]
            > before[MISS_CONDITIONAL] + before[MISS_INDIRECT] + before[MISS_RETURN])
        self.stage.forwarded = <uint8_t>(now[FORWARDS] - before[FORWARDS])
        self.stage.memory_renamed = <uint8_t>(now[RENAMES] - before[RENAMES])
        self.stage.blocked = <uint8_t>(now[BLOCKS] - before[BLOCKS])

    cdef int64_t _slot(self, int64_t earliest) noexcept nogil:
        """Take the next rename slot, at `earliest` or later; return its cycle."""
        cdef int64_t cycle = self.rename_cycle
        cdef int64_t oldest
        cdef int cause = self.front.cause
        if earliest > cycle:
            cycle = earliest
        oldest = self.slot_retire[(self.slot_count - self.core.rob) & (SLOTS - 1)]
        if self.slot_count >= self.core.rob and oldest > cycle:
            cycle = oldest
            cause = REORDER_BUFFER
        if cycle > self.rename_cycle:
            self.stalls_[cause] += cycle - self.rename_cycle
            self.rename_cycle = cycle
            self.rename_used = 0
        elif self.rename_used >= self.core.rename_width:
            self.stalls_[<int>RENAME_WIDTH] += 1
            self.rename_cycle += 1
            self.rename_used = 0
        self.rename_used += 1
        self.slot_alloc[self.slot_count & (SLOTS - 1)] = self.rename_cycle
        self.slot_count += 1
        return self.rename_cycle

    cdef void _step(self, int32_t number, uint64_t next_pc, const AccessRec *access,
                    int access_count) noexcept nogil:
        """One instruction from delivery to retirement."""
        cdef const InsnRec *insn = &self.insns[number]
        cdef const UopRec *uop
        cdef int64_t delivered, alloc, sources, start, done, latest = 0, room = 0
        cdef int64_t resolved = 0, first_slot = self.slot_count, k
        cdef int64_t value = 0, issued = -1, arrives
        cdef Store *store = NULL
        cdef LoadOutcome outcome
        cdef const AccessRec *used
        cdef UopRec narrow
        cdef int u, reads = 0, writes = 0, wanted, size, store_size = 0
        cdef int64_t *ready = self.ready
        cdef bint locked = False
        cdef int cause = RENAME_WIDTH, why
        self.events_[INSTRUCTIONS] += 1
        if self.slot_count > self.core.queue_uops:
            room = self.slot_alloc[(self.slot_count - self.core.queue_uops) & (SLOTS - 1)]
        if self.memory != NULL:
            fetch_block(&self.fetch, self.memory, &self.front, insn)
        delivered = frontend_deliver(&self.front, insn, room)
        alloc = self.rename_cycle if self.rename_cycle > delivered else delivered
        for u in range(insn.uops):
            uop = &self.uops[insn.first + u]
            self.events_[UOPS] += 1
            if uop.flags & READ_STACK and self.stack_moved:
                self.stack_moved = False
                for k in range(self.core.stack_sync_slots):
                    alloc = self._slot(delivered)
            for k in range(uop.slots):
                alloc = self._slot(delivered)
            sources = alloc
            if uop.src0 != NO_REGISTER:
                value = ready[uop.src0]
                if value > sources:
                    sources = value
                if uop.src1 != NO_REGISTER:
                    if ready[uop.src1] > sources:
                        sources = ready[uop.src1]
                    if uop.src2 != NO_REGISTER:
                        if ready[uop.src2] > sources:
                            sources = ready[uop.src2]
                        if uop.src3 != NO_REGISTER and ready[uop.src3] > sources:
                            sources = ready[uop.src3]
            why = DEPENDENCY if sources > alloc + 1 else -1
            if uop.flags & DRAIN and self.completed > sources:
                sources = self.completed
                why = SERIALIZED
            start = -1
            if uop.kind == EXEC:
                alloc = self._enter(uop.pool, alloc)
                start = scheduler_issue(&self.scheduler, uop, alloc, sources)
                done = start + uop.latency
                if uop.folding & NEEDS_SUM and (self.folded >> (uop.src0 & 63)) & 1:
                    done += self.core.folded_source_wait
            elif uop.kind == LOAD:
                if self.load_count >= self.core.load_buffer:
                    start = self.load_retire[
                        (self.load_count - self.core.load_buffer) & (LOADS - 1)]
                    if start > alloc:
                        alloc = self._wait(start, LOAD_BUFFER)
                alloc = self._enter(uop.pool, alloc)
                if self.fence > sources:
                    sources = self.fence
                if uop.flags & LOCKED:
                    self.events_[LOCKS] += 1
                    locked = True
                    why = LOCKED_OPERATION
                    if self.memory_done > sources:
                        sources = self.memory_done
                    if self.lsu.last_commit > sources:
                        sources = self.lsu.last_commit
                used = NULL
                wanted = reads
                for k in range(access_count):
                    if not access[k].flags & 1:
                        if wanted == 0:
                            used = &access[k]
                            break
                        wanted -= 1
                if used != NULL and used.address == self.last_load:
                    narrow = uop[0]
                    narrow.ports = self._narrow(uop.ports)
                    start = scheduler_issue(&self.scheduler, &narrow, alloc, sources)
                else:
                    start = scheduler_issue(&self.scheduler, uop, alloc, sources)
                self.last_load = used.address if used != NULL else 0
                self.events_[LOADS_DONE] += 1
                done = start + (uop.latency if uop.latency else self.core.l1_latency)
                arrives = 0
                if self.memory != NULL and used != NULL:
                    arrives = self._from_memory(insn, used, start)
                reads += 1
                if uop.flags & LOCKED:
                    done += arrives - start - self.core.l1_latency if arrives else 0
                    self.fence = done
                elif used != NULL:
                    outcome = lsu_load(&self.lsu, used.address, used.size, number, start, alloc,
                                       <int>(done - start),
                                       not (uop.flags & UNRENAMED or insn.flags & DENSE),
                                       not uop.flags & MOVE_STACK)
                    if outcome.ready > done:
                        why = BLOCKED_FORWARDING if outcome.blocked else FORWARDING
                    done = outcome.ready
                    self.events_[FORWARDS] += outcome.forwarded
                    self.events_[RENAMES] += outcome.renamed
                    self.events_[BLOCKS] += outcome.blocked
                    if outcome.forwarded or outcome.renamed:
                        arrives = 0
                if arrives > done:
                    done = arrives
                    why = MEMORY_ACCESS
                self.load_count += 1
                if done > self.memory_done:
                    self.memory_done = done
                if insn.flags & ORDERS_LOADS and done > self.fence:
                    self.fence = done
            elif uop.kind == STORE_ADDRESS:
                start = lsu_store_room(&self.lsu)
                if start > alloc:
                    alloc = self._wait(start, STORE_BUFFER)
                alloc = self._enter(uop.pool, alloc)
                start = scheduler_issue(&self.scheduler, uop, alloc, sources)
                done = start + 1
                used = NULL
                wanted = writes
                for k in range(access_count):
                    if access[k].flags & 1:
                        if wanted == 0:
                            used = &access[k]
                            break
                        wanted -= 1
                writes += 1
                size = used.size if used != NULL else 0
                if used != NULL and insn.flags & PAIR:
                    size = <int>(access[access_count - 1].address - used.address
                                 + access[access_count - 1].size)
                    if size < used.size:
                        size = used.size
                store_size = size
                store = lsu_store(&self.lsu, used.address if used != NULL else 0, size, number)
                store.issued = start
                if self.memory != NULL and used != NULL:
                    done = memory_translate(self.memory, used.address, size, insn.pc, start) + 1
                self.events_[STORES_DONE] += 1
            elif uop.kind == STORE_DATA:
                alloc = self._enter(uop.pool, alloc)
                start = scheduler_issue(&self.scheduler, uop, alloc, sources)
                done = start + 1
                if store != NULL:
                    store.data = start
                    store.value = value if uop.src0 != NO_REGISTER else alloc
                    store.commit = done
            elif uop.kind == ELIMINATED:
                done = value if value > 0 and uop.src0 != NO_REGISTER else alloc
                if uop.flags & MOVE_STACK:
                    self.stack_moved = self.core.stack_engine != 0
            else:
                done = alloc
            if uop.dst0 != NO_REGISTER:
                ready[uop.dst0] = done
                self.folded &= ~(<uint64_t>1 << uop.dst0)
                if uop.folding & FOLDS and uop.kind == ELIMINATED:
                    self.folded |= <uint64_t>1 << uop.dst0
                if uop.flags & EARLY_FLAGS:
                    done = (done if done > alloc else alloc) + 1
                if uop.dst1 != NO_REGISTER:
                    ready[uop.dst1] = done
                    if uop.dst2 != NO_REGISTER:
                        ready[uop.dst2] = done
                        if uop.dst3 != NO_REGISTER:
                            ready[uop.dst3] = done
            if uop.kind <= STORE_DATA and (issued < 0 or start < issued):
                issued = start
            if start > sources and start > alloc + 1 and why != MEMORY_ACCESS:
                why = DIVIDER if uop.occupancy > 1 else FIRST_PORT + self.scheduler.port
            if done > latest:
                latest = done
                cause = why if why >= 0 else RENAME_WIDTH
            if uop.flags & BRANCH:
                resolved = done
            if uop.flags & BLOCK:
                frontend_redirect(&self.front, done, SERIALIZED)
                fetch_redirect(&self.fetch, &self.front)
                alloc = self._wait(done, SERIALIZED)
        if latest > self.completed:
            self.completed = latest
        self._retire(number, latest, first_slot, reads, LOCKED_OPERATION if locked else cause)
        self.stage.delivered = delivered
        self.stage.renamed = alloc
        self.stage.issued = issued
        self.stage.uops = insn.uops
        self.stage.executed = latest
        self.stage.retired = self.retired
        if store != NULL:
            # A locked store reaches the cache as part of its operation.
            done = self.fence if locked else self.retired
            if self.memory != NULL and not locked and store_size:
                # The line is asked for when the store retires; stores behind it wait in order.
                done = memory_data(self.memory, store.address, store_size, insn.pc,
                                   done - self.core.l1_latency)
            lsu_commit(&self.lsu, store, done)
        if insn.branch != NOT_BRANCH:
            self._branch(insn, next_pc, resolved)
        self.after_taken = insn.branch != NOT_BRANCH and next_pc != insn.pc + insn.size

    cdef int64_t _from_memory(self, const InsnRec *insn, const AccessRec *access,
                              int64_t issue) noexcept nogil:
        """When a load that issues in cycle `issue` has its data from caches or memory."""
        issue = memory_translate(self.memory, access.address, access.size, insn.pc, issue)
        return memory_data(self.memory, access.address, access.size, insn.pc, issue)

    cdef uint32_t _narrow(self, uint32_t ports) noexcept nogil:
        """The ports on which loads of one and the same word can start together."""
        cdef uint32_t kept = 0, lowest
        cdef int k
        for k in range(self.core.same_line_load_ports):
            lowest = ports & (~ports + 1)
            kept |= lowest
            ports &= ~lowest
        return kept if kept else ports

    cdef int64_t _enter(self, int pool, int64_t alloc) noexcept nogil:
        """Wait for a scheduler entry; rename stalls with it."""
        cdef int64_t cycle = scheduler_room(&self.scheduler, pool, alloc)
        if cycle > alloc:
            return self._wait(cycle, SCHEDULER)
        return alloc

    cdef int64_t _wait(self, int64_t cycle, int cause) noexcept nogil:
        """Rename stalls until `cycle`."""
        if cycle > self.rename_cycle:
            self.stalls_[cause] += cycle - self.rename_cycle
            self.rename_cycle = cycle
            self.rename_used = 1
        return self.rename_cycle

    cdef void _retire(self, int32_t number, int64_t latest, int64_t first_slot,
                      int reads, int cause) noexcept nogil:
        cdef int64_t before = self.retired
        cdef int64_t slot
        cdef int i
        if latest < self.rename_cycle:
            latest = self.rename_cycle
            cause = RENAME_WIDTH
        if latest > self.retired:
            self.waits_[cause] += latest - self.retired
            self.retired = latest
            self.retire_used = 0
        for slot in range(first_slot, self.slot_count):
            if self.retire_used >= self.core.retire_width:
                self.retired += 1
                self.retire_used = 0
                self.waits_[<int>RETIRE_WIDTH] += 1
            self.retire_used += 1
            self.slot_retire[slot & (SLOTS - 1)] = self.retired
        for i in range(reads):
            self.load_retire[(self.load_count - 1 - i) & (LOADS - 1)] = self.retired
        self.events_[SLOTS_USED] += self.slot_count - first_slot
        self.share[number] += self.retired - before

    cdef void _branch(self, const InsnRec *insn, uint64_t next_pc, int64_t resolved) noexcept nogil:
        """Predict, compare with what happened, charge bubbles or a redirect."""
        cdef bint taken = insn.branch != CONDITIONAL or next_pc != insn.pc + insn.size
        cdef bint right = True
        cdef bint shared = False
        cdef int bubbles, level, penalty = 0
        self.predictors.now = self.front.predicted
        if insn.branch == CONDITIONAL:
            right = predict_direction(self.predictors, insn.pc, taken)
            if not right:
                self.events_[MISS_CONDITIONAL] += 1
                penalty = self.core.redirect_conditional
        elif insn.branch == RETURN:
            right = predict_return(self.predictors, insn.pc, next_pc, self.after_taken)
            shared = self.predictors.shared
            self.events_[CHANGES] += self.predictors.changed
            if not right:
                self.events_[MISS_RETURN] += 1
                penalty = self.core.redirect_return
        elif insn.branch == INDIRECT_JUMP or insn.branch == INDIRECT_CALL:
            right = predict_indirect(self.predictors, insn.pc, next_pc)
            self.events_[CHANGES] += self.predictors.changed
            if not right:
                self.events_[MISS_INDIRECT] += 1
                penalty = self.core.redirect_indirect
        if insn.branch == CALL or insn.branch == INDIRECT_CALL:
            push_return(self.predictors, insn.pc + insn.size)
        if taken:
            self.events_[TAKEN] += 1
            level = find_branch(self.predictors, insn.pc, insn.branch == JUMP)
            bubbles = self.core.fast_btb_bubble
            if level or insn.crowd > self.core.fast_btb_density:
                bubbles = self.core.main_btb_bubble
            if level == 2:
                bubbles = self.core.last_btb_bubble
            if insn.crowd > self.core.main_btb_density:
                bubbles = self.core.crowded_bubble
            if shared:
                bubbles += self.core.thunk_return_bubble
            self.events_[BUBBLES] += bubbles
            self.front.unlocked = self.predictors.unlocked
            frontend_taken(&self.front, bubbles)
            if self.memory != NULL:
                fetch_taken(&self.fetch, &self.front, bubbles)
                if level == 3 and right:
                    fetch_resteer(&self.fetch, self.memory, &self.front, insn.pc)
        if not right:
            self.predictors.unlocked = 0
            frontend_redirect(&self.front, resolved + penalty, MISPREDICT)
            fetch_redirect(&self.fetch, &self.front)

