"""Runs functions of the linked guest runtime in Unicorn, for tests: registers, counts, faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import unicorn as uc
from unicorn import arm64_const as arm
from unicorn import x86_const as x86

from tramposim.machine.kerneldata import Cpu, kernel_memory
from tramposim.machine.runtime import Region, load_runtime
from tramposim.spec import Arch, Kernel

PAGE = 0x1000
VA = (1 << 52) - 1
CNTVCT = (3, 3, 14, 0, 2)
RDTSC = (b"\x0f\x31", b"\x0f\x01\xf9")
X86_ARGUMENTS = (
    x86.UC_X86_REG_RDI, x86.UC_X86_REG_RSI, x86.UC_X86_REG_RDX,
    x86.UC_X86_REG_RCX, x86.UC_X86_REG_R8, x86.UC_X86_REG_R9,
)  # fmt: skip
STOP = {Arch.X86_64: 0xFFFFFFFF80000000, Arch.ARM64: 0xFFFF80007FFF0000}


class Guest:
    """A kernel's runtime and data in an emulator; `call` runs one function to its return."""

    def __init__(
        self, kernel: Kernel, cpus: int = 1, addresses: Mapping[str, int] | None = None
    ) -> None:
        self.kernel = kernel
        self.runtime = load_runtime(kernel, addresses, cpus)
        self.memory, self.cpus = kernel_memory(self.runtime)
        self.executed: list[int] = []
        self.accesses: list[tuple[str, int, int]] = []
        self.owners: list[int] = []
        self._emulator: uc.Uc | None = None
        self.ticks = 0

    def _physical(self, address: int) -> int:
        return address & VA if self.kernel.arch is Arch.X86_64 else address

    def _map(self, regions: list[Region]) -> None:
        pages = set()
        for region in regions:
            last = region.address + len(region.data) - 1
            pages |= set(range(region.address // PAGE, last // PAGE + 1))
        start = None
        for page in sorted(pages):
            start = page if start is None else start
            if page + 1 not in pages:
                self.emulator.mem_map(self._physical(start * PAGE), (page + 1 - start) * PAGE)
                start = None
        for region in regions:
            self.emulator.mem_write(self._physical(region.address), region.data)

    @property
    def emulator(self) -> uc.Uc:
        assert self._emulator is not None
        return self._emulator

    def boot(self, extra: Iterable[Region] = ()) -> Guest:
        """Maps everything and sets the registers of CPU 0."""
        if self.kernel.arch is Arch.X86_64:
            self._emulator = uc.Uc(uc.UC_ARCH_X86, uc.UC_MODE_64)
            self.emulator.ctl_set_cpu_model(x86.UC_CPU_X86_ICELAKE_SERVER)
        else:
            self._emulator = uc.Uc(uc.UC_ARCH_ARM64, uc.UC_MODE_ARM)
            self.emulator.ctl_set_cpu_model(arm.UC_CPU_ARM64_MAX)
        stop = STOP[self.kernel.arch]
        regions = [*self.runtime.regions, *self.memory.regions(), *extra]
        self._map([*regions, Region(stop, bytes(PAGE), "stop", True)])
        self.emulator.hook_add(uc.UC_HOOK_CODE, self._step)
        self.emulator.hook_add(uc.UC_HOOK_MEM_READ | uc.UC_HOOK_MEM_WRITE, self._access)
        if self.kernel.arch is Arch.ARM64:
            self.emulator.hook_add(uc.UC_HOOK_INSN, self._read_system, aux1=arm.UC_ARM64_INS_MRS)
        if self.kernel.arch is Arch.X86_64:
            # Processes run with interrupts enabled.
            self.emulator.reg_write(x86.UC_X86_REG_EFLAGS, 0x202)
        self.run_on(self.cpus[0])
        return self

    def run_on(self, cpu: Cpu) -> None:
        """Makes the emulator that CPU."""
        self.cpu = cpu
        if self.kernel.arch is Arch.X86_64:
            self.emulator.reg_write(x86.UC_X86_REG_GS_BASE, cpu.percpu_offset)
        else:
            self.emulator.reg_write(arm.UC_ARM64_REG_TPIDR_EL1, cpu.percpu_offset)
            self.emulator.reg_write(arm.UC_ARM64_REG_SP_EL0, cpu.task)

    def _step(self, _: uc.Uc, address: int, size: int, data: object) -> None:
        if self.kernel.arch is Arch.X86_64:
            address |= -1 << 52 & (1 << 64) - 1
            # Unicorn does not know the size of the first instruction after an interruption.
            code = bytes(self.emulator.mem_read(self._physical(address), min(size, 3)))
            if code in RDTSC:
                self._read_tsc(address + size)
        self.executed.append(address)

    def _read_system(self, _: uc.Uc, register: int, system: object, data: object) -> bool:
        """The virtual counter, made to advance by 1000 per reading; other registers as they are."""
        if (system.op0, system.op1, system.crn, system.crm, system.op2) != CNTVCT:
            return False
        self.ticks += 1000
        self.emulator.reg_write(register, self.ticks)
        return True

    def _read_tsc(self, behind: int) -> None:
        """The time stamp counter, made to advance by 1000 per reading."""
        self.ticks += 1000
        self.emulator.reg_write(x86.UC_X86_REG_RAX, self.ticks & 0xFFFFFFFF)
        self.emulator.reg_write(x86.UC_X86_REG_RDX, self.ticks >> 32)
        self.emulator.reg_write(x86.UC_X86_REG_RIP, behind)

    def _access(self, _: uc.Uc, kind: int, address: int, size: int, *rest: object) -> None:
        self.accesses.append(("w" if kind == uc.UC_MEM_WRITE else "r", address, size))
        self.owners.append(len(self.executed) - 1)

    def call(self, target: str | int, *arguments: int, budget: int = 20000) -> int:
        """Calls a function; returns its result. `executed` then holds its instructions."""
        address = self.runtime.address(target) if isinstance(target, str) else target
        stop = STOP[self.kernel.arch]
        self.executed, self.accesses, self.owners = [], [], []
        emulator = self.emulator
        if self.kernel.arch is Arch.X86_64:
            stack = self.cpu.stack_top - 8
            self.write(stack, stop)
            emulator.reg_write(x86.UC_X86_REG_RSP, stack)
            for register, value in zip(X86_ARGUMENTS, arguments, strict=False):
                emulator.reg_write(register, value)
            result, pc = x86.UC_X86_REG_RAX, x86.UC_X86_REG_RIP
        else:
            emulator.reg_write(arm.UC_ARM64_REG_SP, self.cpu.stack_top)
            emulator.reg_write(arm.UC_ARM64_REG_LR, stop)
            for number, value in enumerate(arguments):
                emulator.reg_write(arm.UC_ARM64_REG_X0 + number, value)
            result, pc = arm.UC_ARM64_REG_X0, arm.UC_ARM64_REG_PC
        start = address
        while True:
            try:
                emulator.emu_start(self._start(start), self._start(stop), count=budget)
                break
            except uc.UcError:
                # What the kernel's handler of page faults looks up.
                if self.executed[-1] not in self.runtime.exceptions:
                    raise
                start = self.runtime.exceptions[self.executed[-1]]
        end = emulator.reg_read(pc)
        assert end & VA == stop & VA, f"stopped at {end:#x} after {len(self.executed)}"
        return int(emulator.reg_read(result))

    def _start(self, address: int) -> int:
        return address

    def counts(self) -> Counter[str]:
        """Instructions executed by the last call, per function."""
        found: Counter[str] = Counter()
        for address in self.executed:
            for region in self.runtime.regions:
                if region.address <= address < region.address + len(region.data):
                    found[region.name] += 1
                    break
            else:
                found[hex(address)] += 1
        return found

    def read_bytes(self, address: int, size: int) -> bytes:
        return bytes(self.emulator.mem_read(self._physical(address), size))

    def write_bytes(self, address: int, data: bytes) -> None:
        self.emulator.mem_write(self._physical(address), data)

    def signed(self, target: str, *arguments: int, budget: int = 20000) -> int:
        """Calls a function; its result as a signed number."""
        result = self.call(target, *(a & (1 << 64) - 1 for a in arguments), budget=budget)
        return result - (1 << 64) if result >> 63 else result

    def read(self, address: int, size: int = 8) -> int:
        data = self.emulator.mem_read(self._physical(address), size)
        return int.from_bytes(data, "little")

    def write(self, address: int, value: int, size: int = 8) -> None:
        self.emulator.mem_write(self._physical(address), value.to_bytes(size, "little"))
