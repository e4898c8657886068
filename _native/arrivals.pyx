# cython: language_level=3
"""Arrival sources made and checked for native batches.

Times and gaps are in subcycles (2**-16 core cycles). A random source is made of a seed and
a stream number; the same pair gives the same arrivals on every machine.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from tramposim._native.arrivals cimport (
    CLOSED, LAST_TIME, NEVER, ON_OFF, PARETO, PERIODIC, POISSON, REPLAY, STEPPED, Source, SourceKind,
    later, source_next,
)
from tramposim._native.rng cimport exponential, xoshiro_seed


cdef ArrivalSource make(SourceKind kind, uint64_t seed, uint64_t stream):
    cdef ArrivalSource made = ArrivalSource.__new__(ArrivalSource)
    memset(&made.source, 0, sizeof(Source))
    made.source.kind = kind
    xoshiro_seed(&made.source.random, seed, stream)
    return made


cdef double positive(double gap, str name) except -1.0:
    if not 1.0 <= gap <= 4.0e18:
        raise ValueError(f"{name} must be between 1 and 4e18 subcycles, not {gap:g}")
    return gap


cdef class ArrivalSource:
    """When calls arrive. Made by the static methods; `next` and `take` give the times."""

    def __init__(self):
        raise TypeError("use periodic, poisson, on_off, pareto, replay, stepped or closed")

    @staticmethod
    def periodic(int64_t period, uint64_t period_fraction, int64_t first=0):
        """Every `period` + `period_fraction` / 2**64 subcycles, beginning at `first`."""
        if not 1 <= period <= LAST_TIME or not 0 <= first <= LAST_TIME:
            raise ValueError("a period is at least 1 subcycle and the first call not before 0")
        cdef ArrivalSource made = make(PERIODIC, 0, 0)
        made.source.step = period
        made.source.step_fraction = period_fraction
        made.source.now = first
        return made

    @staticmethod
    def poisson(double mean_gap, uint64_t seed, uint64_t stream):
        """Exponential gaps."""
        cdef ArrivalSource made = make(POISSON, seed, stream)
        made.source.mean = positive(mean_gap, "the mean gap")
        return made

    @staticmethod
    def on_off(double mean_gap, double on_mean, double off_mean, uint64_t seed, uint64_t stream):
        """Markov-modulated: bursts with exponential gaps between exponential silences.

        `mean_gap` holds during a burst. A burst must on average last at least a thousandth
        of a gap, or calls would be so rare among bursts that drawing one takes for ever.
        """
        cdef ArrivalSource made = make(ON_OFF, seed, stream)
        made.source.mean = positive(mean_gap, "the mean gap")
        made.source.on_mean = positive(on_mean, "the mean burst")
        made.source.off_mean = positive(off_mean, "the mean silence")
        if on_mean < mean_gap / 1000.0:
            raise ValueError("a burst must last at least a thousandth of the gap between calls")
        # begins in the state in which a look at a random moment would find it
        if exponential(&made.source.random) * off_mean > on_mean * exponential(&made.source.random):
            made.source.now = later(0, exponential(&made.source.random) * off_mean)
        made.source.phase_end = later(
            made.source.now, exponential(&made.source.random) * on_mean
        )
        return made

    @staticmethod
    def pareto(double mean_gap, double shape, uint64_t seed, uint64_t stream):
        """Pareto gaps with this mean: heavy tails for shapes near 1 (infinite variance to 2)."""
        if not 1.05 <= shape <= 1000.0:
            raise ValueError("the shape of Pareto gaps must be between 1.05 and 1000")
        cdef ArrivalSource made = make(PARETO, seed, stream)
        made.source.mean = positive(mean_gap, "the mean gap") * (shape - 1.0) / shape
        made.source.inverse_shape = 1.0 / shape
        return made

    @staticmethod
    def replay(const int64_t[::1] times not None):
        """Recorded times, ascending and not negative."""
        cdef ArrivalSource made = make(REPLAY, 0, 0)
        cdef Py_ssize_t i
        for i in range(times.shape[0]):
            if not (times[i - 1] if i else 0) <= times[i] <= LAST_TIME:
                raise ValueError(f"time {i} of a replay lies before its predecessor")
        made.times = times
        made.source.times = &times[0] if times.shape[0] else NULL
        made.source.length = times.shape[0]
        return made

    @staticmethod
    def stepped(
        const int64_t[::1] ends not None,
        const double[::1] means not None,
        uint64_t seed,
        uint64_t stream,
    ):
        """Poisson with a mean gap that changes in steps, repeated over and over.

        Step i of a cycle lasts until `ends[i]` after its beginning and has the mean gap
        `means[i]`, or no calls at all if that is 0. Some step must have calls.
        """
        cdef ArrivalSource made = make(STEPPED, seed, stream)
        cdef Py_ssize_t i
        if ends.shape[0] != means.shape[0]:
            raise ValueError("as many ends of steps are needed as mean gaps")
        calls = 0.0
        for i in range(ends.shape[0]):
            if not (ends[i - 1] if i else 0) < ends[i] <= LAST_TIME // 2:
                raise ValueError(f"step {i} must end after the one before it")
            if means[i] != 0.0:
                positive(means[i], "the mean gap")
                calls += (ends[i] - (ends[i - 1] if i else 0)) / means[i]
        if calls < 1e-3:
            raise ValueError("a cycle of steps must have at least a thousandth of a call")
        made.times = ends
        made.means = means
        made.source.times = &ends[0]
        made.source.means = &means[0]
        made.source.length = ends.shape[0]
        return made

    @staticmethod
    def closed(int64_t think=0):
        """The next call arrives `think` subcycles after the previous one is done."""
        if not 0 <= think <= LAST_TIME:
            raise ValueError("a think time is not negative")
        cdef ArrivalSource made = make(CLOSED, 0, 0)
        made.source.step = think
        return made

    def next(self):
        """The next arrival time, or None when the source ends; moves the source on."""
        cdef int64_t time = source_next(&self.source)
        return None if time == NEVER else time

    def take(self, Py_ssize_t count):
        """The next `count` arrival times as a list, without moving the source on."""
        cdef Source copy = self.source
        cdef int64_t time
        times = []
        while len(times) < count:
            time = source_next(&copy)
            if time == NEVER:
                break
            times.append(time)
        return times
