"""Whether two states of the predictors predict the same."""

from libc.stdint cimport int64_t, uint8_t

from tramposim._native.predictors cimport Predictors

cdef void predictors_normal(Predictors *unit, int64_t now) noexcept nogil
cdef size_t predictors_tables_size() noexcept nogil
cdef void predictors_save_tables(const Predictors *unit, uint8_t *to) noexcept nogil
cdef bint predictors_same_tables(const Predictors *unit, const uint8_t *saved) noexcept nogil
