# cython: language_level=3
"""Python's face of the random numbers that native loops inline from `rng.pxd`."""

from libc.stdint cimport uint64_t

from tramposim._native.rng cimport (
    Xoshiro, exponential, portable_exp, portable_log, uniform, xoshiro_next, xoshiro_seed,
)


cdef class Generator:
    """One stream of random numbers."""

    cdef Xoshiro state

    def __init__(self, uint64_t seed, uint64_t stream=0):
        xoshiro_seed(&self.state, seed, stream)

    @staticmethod
    def from_state(state):
        """A generator with these four words of xoshiro256++ state; not all may be zero."""
        words = tuple(state)
        if len(words) != 4 or not any(words):
            raise ValueError("xoshiro256++ takes four words, not all of them zero")
        cdef Generator generator = Generator(0)
        cdef int i
        for i in range(4):
            generator.state.s[i] = words[i]
        return generator

    def next_u64(self):
        """Next 64 random bits."""
        return xoshiro_next(&self.state)

    def uniform(self):
        """Next number of (0, 1]."""
        return uniform(&self.state)

    def exponential(self):
        """Next exponential number with mean 1."""
        return exponential(&self.state)


def log(double x):
    """Natural logarithm of a positive normal double, the same bits on every machine."""
    if not 2.2250738585072014e-308 <= x <= 1.7976931348623157e308:
        raise ValueError("log takes a positive normal number")
    return portable_log(x)


def exp(double x):
    """e**x for -700 < x < 700, the same bits on every machine."""
    if not -700.0 < x < 700.0:
        raise ValueError("exp takes a number between -700 and 700")
    return portable_exp(x)
