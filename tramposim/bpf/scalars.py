"""What the verifier knows of a number in a register: bits and bounds (struct bpf_reg_state).

Source: kernel/bpf/verifier.c (reg_bounds_sync, coerce_reg_to_size).
"""

from __future__ import annotations

from dataclasses import dataclass

from tramposim.bpf import tnum
from tramposim.bpf.alu import M32, M64, signed
from tramposim.bpf.tnum import Tnum

__all__ = [
    "Scalar",
    "constant",
    "load",
    "sign_extended",
    "truncated",
    "unknown",
]

S64_MIN, S64_MAX = -(1 << 63), (1 << 63) - 1
S32_MIN, S32_MAX = -(1 << 31), (1 << 31) - 1
_ROUNDS = 3
"""How often bounds are deduced from each other."""


@dataclass(slots=True)
class Scalar:
    """A number: known bits, and bounds of all 64 and of the low 32 bits, both signs.

    Registers of one `link` differ by `delta` only (struct bpf_reg_state: id, off); 0: none.
    """

    bits: Tnum = tnum.UNKNOWN
    umin: int = 0
    umax: int = M64
    smin: int = S64_MIN
    smax: int = S64_MAX
    umin32: int = 0
    umax32: int = M32
    smin32: int = S32_MIN
    smax32: int = S32_MAX
    link: int = 0
    delta: int = 0

    @property
    def value(self) -> int | None:
        """The number if it is known."""
        return self.bits.value if self.bits.mask == 0 else None

    def key(self) -> tuple[object, ...]:
        """All that is known except links."""
        return (self.bits, self.umin, self.umax, self.smin, self.smax,
                self.umin32, self.umax32, self.smin32, self.smax32)  # fmt: skip

    def copy(self) -> Scalar:
        """The same."""
        return Scalar(self.bits, self.umin, self.umax, self.smin, self.smax, self.umin32,
                      self.umax32, self.smin32, self.smax32, self.link, self.delta)  # fmt: skip

    def contains(self, other: Scalar) -> bool:
        """Whether everything that `other` may be, this may be."""
        return (
            self.umin <= other.umin
            and other.umax <= self.umax
            and self.smin <= other.smin
            and other.smax <= self.smax
            and self.umin32 <= other.umin32
            and other.umax32 <= self.umax32
            and self.smin32 <= other.smin32
            and other.smax32 <= self.smax32
            and not other.bits.mask & ~self.bits.mask
            and self.bits.value == other.bits.value & ~self.bits.mask
        )

    @property
    def impossible(self) -> bool:
        """Whether no number fits (a branch that cannot be taken was followed)."""
        return (self.umin > self.umax or self.smin > self.smax
                or self.umin32 > self.umax32 or self.smin32 > self.smax32)  # fmt: skip

    def sync(self) -> Scalar:
        """Improve every bound by all the others; returns itself."""
        self.update()
        for _ in range(_ROUNDS):
            self._deduce32()
            self._deduce64()
            self._deduce_mixed()
        wide = tnum.intersect(self.bits, tnum.span(self.umin, self.umax))
        narrow = tnum.intersect(wide.low, tnum.span(self.umin32, self.umax32))
        self.bits = Tnum(wide.high.value | narrow.value, wide.high.mask | narrow.mask)
        self.update()
        return self

    def update(self) -> None:
        """Improve bounds by the known bits."""
        value, mask = self.bits
        low, high = value & M32, mask & M32
        self.smin = max(self.smin, signed(value | mask & 1 << 63, 64))
        self.smax = min(self.smax, signed(value | mask & S64_MAX, 64))
        self.umin = max(self.umin, value)
        self.umax = min(self.umax, value | mask)
        self.smin32 = max(self.smin32, signed(low | high & 1 << 31, 32))
        self.smax32 = min(self.smax32, signed(low | high & S32_MAX, 32))
        self.umin32 = max(self.umin32, low)
        self.umax32 = min(self.umax32, low | high)

    def _unsigned32(self, low: int, high: int) -> None:
        self.umin32 = max(self.umin32, low)
        self.umax32 = min(self.umax32, high)

    def _signed32(self, low: int, high: int) -> None:
        self.smin32 = max(self.smin32, low)
        self.smax32 = min(self.smax32, high)

    def _deduce32(self) -> None:
        if self.umin >> 32 == self.umax >> 32:
            self._unsigned32(self.umin & M32, self.umax & M32)
            if signed(self.umin, 32) <= signed(self.umax, 32):
                self._signed32(signed(self.umin, 32), signed(self.umax, 32))
        if self.smin >> 32 == self.smax >> 32:
            if self.smin & M32 <= self.smax & M32:
                self._unsigned32(self.smin & M32, self.smax & M32)
            if signed(self.smin, 32) <= signed(self.smax, 32):
                self._signed32(signed(self.smin, 32), signed(self.smax, 32))
        upper = (self.smin >> 32) + 1 & M32 == self.smax >> 32 & M32
        if upper and signed(self.smin, 32) < 0 <= signed(self.smax, 32):
            self._signed32(signed(self.smin, 32), signed(self.smax, 32))
        if signed(self.umin32, 32) <= signed(self.umax32, 32):
            self._signed32(signed(self.umin32, 32), signed(self.umax32, 32))
        if self.smin32 & M32 <= self.smax32 & M32:
            self._unsigned32(self.smin32 & M32, self.smax32 & M32)

    def _deduce64(self) -> None:
        if signed(self.umin, 64) <= signed(self.umax, 64):
            self.smin = max(self.smin, signed(self.umin, 64))
            self.smax = min(self.smax, signed(self.umax, 64))
        if self.smin & M64 <= self.smax & M64:
            self.umin = max(self.umin, self.smin & M64)
            self.umax = min(self.umax, self.smax & M64)
        elif self.umax < self.smin & M64:
            self.smin = signed(self.umin, 64)
            self.umax = min(self.umax, self.smax)
        elif self.smax & M64 < self.umin:
            self.smax = signed(self.umax, 64)
            self.umin = max(self.umin, self.smin & M64)

    def _deduce_mixed(self) -> None:
        self.umin = max(self.umin, self.umin & ~M32 | self.umin32)
        self.umax = min(self.umax, self.umax & ~M32 | self.umax32)
        self.smin = max(self.smin, self.smin & ~M32 | self.umin32)
        self.smax = min(self.smax, self.smax & ~M32 | self.umax32)
        if self.smin32 >= 0 and self.smin >= S32_MIN and self.smax <= S32_MAX:
            self.smin = self.umin = self.smin32
            self.smax = self.umax = self.smax32
            self.bits = tnum.intersect(self.bits, tnum.span(self.smin, self.smax))


def unknown() -> Scalar:
    """Any number."""
    return Scalar()


def constant(value: int) -> Scalar:
    """A known number."""
    value &= M64
    low = value & M32
    return Scalar(tnum.const(value), value, value, signed(value, 64), signed(value, 64),
                  low, low, signed(low, 32), signed(low, 32))  # fmt: skip


def truncated(scalar: Scalar, size: int) -> Scalar:
    """Its low `size` bytes, zero-extended (coerce_reg_to_size; zext_32_to_64 for 4)."""
    if size == 8:
        return scalar
    bits = scalar.bits.cast(8 * size)
    mask = (1 << 8 * size) - 1
    new = Scalar(bits, link=scalar.link, delta=scalar.delta)
    if scalar.umin & ~mask == scalar.umax & ~mask:
        new.umin, new.umax = scalar.umin & mask, scalar.umax & mask
    else:
        new.umin, new.umax = 0, mask
    new.smin, new.smax = new.umin, new.umax
    if size == 4:
        new.umin32, new.umax32 = scalar.umin32, scalar.umax32
        new.smin32, new.smax32 = scalar.smin32, scalar.smax32
        new.umin, new.umax = max(new.umin, new.umin32), min(new.umax, new.umax32)
    return new.sync()


def sign_extended(scalar: Scalar, size: int, wide: bool) -> Scalar:
    """Its low `size` bytes as a signed number of 64 (`wide`) or 32 bits."""
    count = 8 * size
    least, most = -(1 << count - 1), (1 << count - 1) - 1
    if scalar.value is not None:
        value = signed(scalar.value, count)
        return constant(value if wide else value & M32)
    new = Scalar()
    low, high = (scalar.smin, scalar.smax) if wide else (scalar.smin32, scalar.smax32)
    if low >> count == high >> count:
        bounds = sorted((signed(low, count), signed(high, count)))
        same_sign = (signed(low, count) < 0) == (signed(high, count) < 0)
        least, most = bounds if same_sign else (least, most)
    if wide:
        new.smin, new.smax = least, most
        return new.sync()
    new.smin32, new.smax32 = least, most
    return truncated(new.sync(), 4)


def load(size: int, is_signed: bool = False) -> Scalar:
    """What a load of unknown bytes gives."""
    if is_signed:
        return sign_extended(unknown(), size, True)
    return truncated(unknown(), size)
