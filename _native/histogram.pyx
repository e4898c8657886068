# cython: language_level=3
"""Histogram of times with log buckets, as HdrHistogram has them."""

from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from libc.string cimport memset

from tramposim._native.histogram cimport BUCKETS, SUB_BITS, bucket_of, record


def bucket_range(int bucket):
    """Lowest and highest value (both included) that a bucket counts."""
    if not 0 <= bucket < BUCKETS:
        raise IndexError(f"bucket {bucket}; there are {BUCKETS}")
    cdef int shift = (bucket >> SUB_BITS) - 1 if bucket >> SUB_BITS else 0
    cdef uint64_t low = <uint64_t>(bucket - (shift << SUB_BITS)) << shift
    return low, low + (<uint64_t>1 << shift) - 1


cdef class LatencyHistogram:
    """Counts of non-negative times; percentiles are exact to 1/512 of the value.

    `minimum`, `maximum`, `total` and `count` are exact. The unit is the recorder's.
    """

    def __cinit__(self):
        memset(self.counts, 0, sizeof(self.counts))
        self.low = INT64_MAX

    def record(self, int64_t value):
        """Count one value."""
        if value < 0:
            raise ValueError("times are not negative")
        record(self, value)

    def merge(self, LatencyHistogram other not None):
        """Add the counts of another histogram of the same unit."""
        cdef int i
        cdef uint64_t before = self.sum_low
        for i in range(BUCKETS):
            self.counts[i] += other.counts[i]
        self.count += other.count
        self.sum_low += other.sum_low
        self.sum_high += other.sum_high + (self.sum_low < before)
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)

    @property
    def minimum(self):
        """Smallest value; 0 when nothing was recorded."""
        return self.low if self.count else 0

    @property
    def maximum(self):
        """Largest value; 0 when nothing was recorded."""
        return self.high

    @property
    def total(self):
        """Exact sum of all values."""
        return (int(self.sum_high) << 64) + int(self.sum_low)

    def percentile(self, double percent):
        """Value that `percent` of the recorded ones do not exceed (upper end of its bucket).

        Never beyond the exact maximum or below the exact minimum; 0 when nothing was recorded.
        """
        if not 0.0 <= percent <= 100.0:
            raise ValueError("a percentile lies between 0 and 100")
        if not self.count:
            return 0
        cdef double wanted = percent / 100.0 * <double>self.count
        cdef uint64_t rank = <uint64_t>wanted
        if <double>rank < wanted or rank == 0:
            rank += 1
        rank = min(rank, self.count)
        cdef uint64_t seen = 0
        cdef int i
        for i in range(BUCKETS):
            seen += self.counts[i]
            if seen >= rank:
                break
        return max(self.low, min(self.high, bucket_range(i)[1]))

    def buckets(self):
        """(lowest, highest, count) of every bucket that counted something, in order."""
        return [
            (*bucket_range(i), self.counts[i]) for i in range(BUCKETS) if self.counts[i]
        ]
