// What the synthetic vendor counts, for tests in C.
#ifndef FLOPD_TEST_SYNTHETIC_H
#define FLOPD_TEST_SYNTHETIC_H

#include <stdatomic.h>

extern atomic_int synthetic_sessions, synthetic_extras, synthetic_calls;  // open, allocated, in flight
extern atomic_ulong synthetic_events, synthetic_reads;                    // so far

#endif
