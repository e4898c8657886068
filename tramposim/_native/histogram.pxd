# cython: language_level=3
"""Log-bucket histogram of times, recorded inline by native loops.

Buckets as in HdrHistogram: values below 1024 exactly, above that 512 buckets per power of
two, so that a bucket is at most 1/512 of its values wide.
"""

from libc.stdint cimport int64_t, uint64_t

cdef extern from *:
    """
    #define tramposim_clz64(x) __builtin_clzll(x)
    """
    int tramposim_clz64(uint64_t) noexcept nogil

cdef enum:
    SUB_BITS = 9
    BUCKETS = (64 - 9) << 9


cdef inline int bucket_of(uint64_t value) noexcept nogil:
    """Bucket of a value below 2**63."""
    cdef int shift
    if value < 2 << SUB_BITS:
        return <int>value
    shift = 63 - SUB_BITS - tramposim_clz64(value)
    return (shift << SUB_BITS) + <int>(value >> shift)


cdef class LatencyHistogram:
    cdef uint64_t counts[BUCKETS]
    cdef uint64_t sum_low, sum_high
    cdef readonly uint64_t count
    cdef int64_t low, high


cdef inline void record(LatencyHistogram histogram, int64_t value) noexcept nogil:
    """Count one value; it must not be negative."""
    histogram.counts[bucket_of(<uint64_t>value)] += 1
    histogram.count += 1
    histogram.sum_low += <uint64_t>value
    if histogram.sum_low < <uint64_t>value:
        histogram.sum_high += 1
    if value < histogram.low:
        histogram.low = value
    if value > histogram.high:
        histogram.high = value
