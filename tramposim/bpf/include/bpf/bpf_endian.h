/* SPDX-License-Identifier: GPL-2.0-only */
/* Byte order of the network and back, for little-endian programs. */
#ifndef __BPF_ENDIAN__
#define __BPF_ENDIAN__

#define bpf_htons(x) __builtin_bswap16(x)
#define bpf_ntohs(x) __builtin_bswap16(x)
#define bpf_htonl(x) __builtin_bswap32(x)
#define bpf_ntohl(x) __builtin_bswap32(x)
#define bpf_cpu_to_be64(x) __builtin_bswap64(x)
#define bpf_be64_to_cpu(x) __builtin_bswap64(x)
#define __bpf_htons bpf_htons
#define __bpf_ntohs bpf_ntohs
#define __bpf_htonl bpf_htonl
#define __bpf_ntohl bpf_ntohl

#endif
