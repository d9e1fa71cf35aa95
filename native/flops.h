// The floating-point speed of this host's CPUs, measured.
#ifndef FLOPD_FLOPS_H
#define FLOPD_FLOPS_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

// Runs chains of fused multiply-adds on `threads` threads at once for about `duration_ms` and waits for them.
// Sets the sum of their FLOP/s and the instruction set. 0, or a negative errno.
int flops_measure(bool is_double, unsigned threads, unsigned duration_ms, double *flops, const char **isa);

#ifdef __cplusplus
}
#endif

#endif
