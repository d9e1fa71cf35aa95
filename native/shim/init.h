/* Descriptors that init.c finds inside a sandbox; 0 is /dev/null, 1 and 2 take the words of the sandbox program. */
#ifndef FLOPD_SHIM_INIT_H
#define FLOPD_SHIM_INIT_H

enum { INIT_CHANNEL = 3, INIT_OUT, INIT_ERR, INIT_SPEC, INIT_EXE };

#endif
