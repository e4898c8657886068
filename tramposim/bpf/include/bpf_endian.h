/* SPDX-License-Identifier: GPL-2.0-only */
#include "bpf/bpf_endian.h"
