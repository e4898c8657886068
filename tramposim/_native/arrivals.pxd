# cython: language_level=3
"""Arrival sources: when the next call arrives, inlined into native loops.

Times are absolute, in subcycles (2**-16 core cycles); NEVER means that none comes any more.
"""

from libc.stdint cimport int64_t, uint64_t

from tramposim._native.rng cimport Xoshiro, exponential, portable_exp

cdef enum SourceKind:
    PERIODIC = 0
    POISSON = 1
    ON_OFF = 2
    PARETO = 3
    REPLAY = 4
    CLOSED = 5
    STEPPED = 6

cdef extern from *:
    """
    #define TRAMPOSIM_LAST_TIME (INT64_MAX / 2)
    #define TRAMPOSIM_NEVER INT64_MAX
    """
    const int64_t LAST_TIME "TRAMPOSIM_LAST_TIME"
    const int64_t NEVER "TRAMPOSIM_NEVER"

ctypedef struct Source:
    SourceKind kind
    Xoshiro random
    int64_t now              # time of the last arrival (or phase change)
    int64_t step             # periodic: whole subcycles of the period; closed: think time
    uint64_t step_fraction   # periodic: 2**-64 subcycles of the period
    uint64_t fraction
    int started
    double mean              # mean gap (pareto: smallest gap; on/off: mean gap while on)
    double inverse_shape     # pareto
    double on_mean, off_mean
    int64_t phase_end        # on/off: when the burst ends
    const int64_t *times     # replay: arrivals; stepped: when each step of a cycle ends
    const double *means      # stepped: mean gap in each step, 0 in a step without calls
    size_t length, position
    int64_t cycle_start      # stepped


cdef inline int64_t later(int64_t now, double gap) noexcept nogil:
    """`now` plus a gap, rounded to whole subcycles; NEVER past the end of time."""
    if not gap < <double>(LAST_TIME - now):
        return NEVER
    return now + <int64_t>(gap + 0.5)


cdef inline int64_t stepped_next(Source *source) noexcept nogil:
    """Next arrival of a Poisson process whose rate changes in steps, over and over.

    An exponential number of mean gaps passes between calls, whatever the rates in between
    (time rescaling), so nothing is drawn anew at a change of rate.
    """
    cdef double gaps = exponential(&source.random), mean, left
    cdef int64_t end
    while True:
        end = source.cycle_start + source.times[source.position]
        mean = source.means[source.position]
        left = <double>(end - source.now)
        if mean > 0.0 and gaps * mean < left:
            source.now += <int64_t>(gaps * mean)
            return source.now
        if mean > 0.0:
            gaps -= left / mean
        source.now = end
        source.position += 1
        if source.position == source.length:
            source.position = 0
            source.cycle_start = end
        if end > LAST_TIME:
            source.now = NEVER
            return NEVER


cdef inline int64_t source_next(Source *source) noexcept nogil:
    """Time of the next arrival; closed sources have only their first one."""
    cdef int64_t time
    if source.now > LAST_TIME:
        return NEVER
    if source.kind == PERIODIC:
        if source.started:
            source.now += source.step
            source.fraction += source.step_fraction
            if source.fraction < source.step_fraction:
                source.now += 1
        source.started = 1
        return source.now if source.now <= LAST_TIME else NEVER
    if source.kind == POISSON:
        source.now = later(source.now, exponential(&source.random) * source.mean)
        return source.now
    if source.kind == ON_OFF:
        while True:
            time = later(source.now, exponential(&source.random) * source.mean)
            if time <= source.phase_end:
                source.now = time
                return time
            # gaps have no memory: what is left of this one is drawn anew in the next burst
            source.now = later(
                source.phase_end, exponential(&source.random) * source.off_mean
            )
            if source.now > LAST_TIME:
                return NEVER
            source.phase_end = later(
                source.now, exponential(&source.random) * source.on_mean
            )
    if source.kind == PARETO:
        source.now = later(
            source.now,
            source.mean * portable_exp(exponential(&source.random) * source.inverse_shape),
        )
        return source.now
    if source.kind == REPLAY:
        if source.position >= source.length:
            source.now = NEVER
        else:
            source.now = source.times[source.position]
            source.position += 1
        return source.now
    if source.kind == STEPPED:
        return stepped_next(source)
    time = source.now
    source.now = NEVER
    return time


cdef class ArrivalSource:
    cdef Source source
    cdef const int64_t[::1] times
    cdef const double[::1] means
