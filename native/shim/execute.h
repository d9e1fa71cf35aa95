/* Becomes a program, or tells why not. */
#ifndef FLOPD_EXECUTE_H
#define FLOPD_EXECUTE_H

#include <stdbool.h>

struct execute_failure {
	int error;
	bool is_interpreter;       /* the file is there; the interpreter that it names is not */
};

/* Looks a bare name up along the PATH of `envp`. Returns only when it failed. */
struct execute_failure execute_program(char **argv, char **envp);

#endif
