# cython: language_level=3
"""Random numbers that are the same on every machine, inlined into native loops.

Only integer operations and IEEE double +, -, *, / are used (no libm, and the build forbids
fused multiply-add contraction), so a seed gives the same bits everywhere.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

ctypedef struct Xoshiro:
    uint64_t s[4]


cdef inline uint64_t splitmix64(uint64_t *state) noexcept nogil:
    cdef uint64_t z
    state[0] += 0x9E3779B97F4A7C15ULL
    z = state[0]
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL
    return z ^ (z >> 31)


cdef inline void xoshiro_seed(Xoshiro *state, uint64_t seed, uint64_t stream) noexcept nogil:
    """Fill the state from a seed and a stream number; streams of one seed are unrelated."""
    cdef uint64_t a = seed, b = stream
    cdef uint64_t mix = splitmix64(&a) ^ (splitmix64(&b) * 0xD1342543DE82EF95ULL)
    cdef int i
    for i in range(4):
        state.s[i] = splitmix64(&mix)


cdef inline uint64_t rotate_left(uint64_t x, int k) noexcept nogil:
    return (x << k) | (x >> (64 - k))


cdef inline uint64_t xoshiro_next(Xoshiro *state) noexcept nogil:
    """One step of xoshiro256++ (Blackman and Vigna, ACM TOMS 47(4), 2021)."""
    cdef uint64_t result = rotate_left(state.s[0] + state.s[3], 23) + state.s[0]
    cdef uint64_t t = state.s[1] << 17
    state.s[2] ^= state.s[0]
    state.s[3] ^= state.s[1]
    state.s[1] ^= state.s[2]
    state.s[0] ^= state.s[3]
    state.s[2] ^= t
    state.s[3] = rotate_left(state.s[3], 45)
    return result


cdef inline double portable_log(double x) noexcept nogil:
    """Natural logarithm of a positive normal double, good to about 1e-15."""
    cdef uint64_t bits
    cdef int64_t exponent
    cdef double m, s, z, series
    memcpy(&bits, &x, 8)
    exponent = <int64_t>(bits >> 52) - 1023
    bits = (bits & 0x000FFFFFFFFFFFFFULL) | 0x3FF0000000000000ULL
    memcpy(&m, &bits, 8)
    if m > 1.4142135623730951:
        m *= 0.5
        exponent += 1
    # ln m = 2 atanh s with |s| < 0.172: terms fall by 34 each, ten reach double precision
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    series = 1.0 / 19.0
    series = series * z + 1.0 / 17.0
    series = series * z + 1.0 / 15.0
    series = series * z + 1.0 / 13.0
    series = series * z + 1.0 / 11.0
    series = series * z + 1.0 / 9.0
    series = series * z + 1.0 / 7.0
    series = series * z + 1.0 / 5.0
    series = series * z + 1.0 / 3.0
    series = series * z + 1.0
    return <double>exponent * 0.6931471805599453 + 2.0 * s * series


cdef inline double portable_exp(double x) noexcept nogil:
    """e**x for -700 < x < 700 (the caller's duty), good to about 1e-14."""
    cdef int64_t k = <int64_t>(x * 1.4426950408889634 + (0.5 if x >= 0.0 else -0.5))
    cdef double r = (x - <double>k * 0.693147180369123816490) - <double>k * 1.90821492927058770002e-10
    cdef double series = 1.0, scale
    cdef int i
    cdef uint64_t bits = <uint64_t>(k + 1023) << 52
    for i in range(14, 0, -1):
        series = 1.0 + r / <double>i * series
    memcpy(&scale, &bits, 8)
    return series * scale


cdef inline double uniform(Xoshiro *state) noexcept nogil:
    """Uniform on (0, 1], 53 bits: never zero, so that its logarithm is finite."""
    return <double>((xoshiro_next(state) >> 11) + 1) * 1.1102230246251565e-16


cdef inline double exponential(Xoshiro *state) noexcept nogil:
    """Exponential with mean 1, at most 36.8 (53 bits of uniform)."""
    return -portable_log(uniform(state))
