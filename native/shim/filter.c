/*
 * Which system calls a job in a sandbox is refused: those that no job needs and that open more of the kernel than a
 * program computes with. The list is that of the well-known container profiles, less what needs capabilities that a job
 * has not: namespaces (where it would have them), mounts, keys, BPF, perf, io_uring, other machines' business. EPERM, as
 * the kernel itself answers; ENOSYS where programs then fall back to an older call (clone3, io_uring).
 * ptrace and process_vm_readv stay: debuggers, and MPI between processes of a job, which has a PID namespace of its own.
 *
 * Classic BPF by hand, no library. 32-bit programs of x86 are held to the same by a second list, since their numbers
 * are others; x32, which nobody uses, is ENOSYS.
 */
#include "shim.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_SPEC_ALLOW
#define SECCOMP_FILTER_FLAG_SPEC_ALLOW (1UL << 2)
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080 /* of unshare alone; in clone these bits are the signal */
#endif

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef NATIVE_ARCH
enum { PROGRAM_MAX = 512, RULES_MAX = 80, BRANCH_MAX = 4 };
enum { NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP };
/* What setarch, debuggers and sanitizers ask for: Linux, 32 bits, Linux 2.6, no randomisation; and asking. */
static const unsigned personalities[] = { 0, 0x8, 0x20000, 0x20008, 0x40000, 0xffffffff };

/* Calls whose numbers are the same everywhere, newer than some headers. */
enum { OPEN_TREE = 428, MOVE_MOUNT, FSOPEN, FSCONFIG, FSMOUNT, FSPICK, IO_URING_SETUP = 425, IO_URING_ENTER,
	IO_URING_REGISTER, CLONE3 = 435, MOUNT_SETATTR = 442, QUOTACTL_FD = 443, OPEN_TREE_ATTR = 467 };

static const unsigned short everywhere[] = { OPEN_TREE, MOVE_MOUNT, FSOPEN, FSCONFIG, FSMOUNT, FSPICK, MOUNT_SETATTR,
	QUOTACTL_FD, OPEN_TREE_ATTR };
static const unsigned short unknown[] = { CLONE3, IO_URING_SETUP, IO_URING_ENTER, IO_URING_REGISTER };

struct calls {
	unsigned short unshare, clone, personality; /* looked at by their first argument */
	const unsigned short *refused;
	size_t count;
};

static const unsigned short native_refused[] = {
	SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_setns, SYS_keyctl, SYS_add_key, SYS_request_key, SYS_bpf,
	SYS_perf_event_open, SYS_userfaultfd, SYS_kexec_load, SYS_init_module, SYS_finit_module, SYS_delete_module,
	SYS_swapon, SYS_swapoff, SYS_reboot, SYS_settimeofday, SYS_clock_settime, SYS_acct, SYS_quotactl, SYS_nfsservctl,
	SYS_open_by_handle_at, SYS_lookup_dcookie, SYS_vhangup, SYS_syslog, SYS_sethostname, SYS_setdomainname,
#ifdef SYS_kexec_file_load
	SYS_kexec_file_load,
#endif
#ifdef __x86_64__
	SYS_iopl, SYS_ioperm, SYS_uselib, SYS_ustat, SYS_sysfs, SYS__sysctl, SYS_create_module, SYS_get_kernel_syms,
	SYS_query_module,
#endif
};
static const struct calls native_calls = { SYS_unshare, SYS_clone, SYS_personality, native_refused,
	sizeof native_refused / sizeof *native_refused };

#ifdef __x86_64__
/* By the kernel's table for i386, in the order of the list above: arch/x86/entry/syscalls/syscall_32.tbl. */
static const unsigned short i386_refused[] = { 21, 52, 22, 217, 61, 346, 288, 286, 287, 357, 336, 374, 283, 128, 350, 129,
	87, 115, 88, 79, 25, 264, 404, 51, 131, 169, 342, 253, 111, 103, 74, 121, 110, 101, 86, 62, 135, 149, 127, 130, 167 };
static const struct calls i386_calls = { 310, 120, 136, i386_refused, sizeof i386_refused / sizeof *i386_refused };
#endif

enum { OTHERS = 3 + sizeof everywhere / sizeof *everywhere + sizeof unknown / sizeof *unknown };
_Static_assert(OTHERS + sizeof native_refused / sizeof *native_refused <= RULES_MAX, "rules have room");
#ifdef __x86_64__
_Static_assert(OTHERS + sizeof i386_refused / sizeof *i386_refused <= RULES_MAX, "rules have room");
#endif

struct program {
	struct sock_filter lines[PROGRAM_MAX];
	unsigned short size;
};

static void add(struct program *program, unsigned short code, unsigned value, unsigned char yes, unsigned char no)
{
	if (program->size < PROGRAM_MAX) program->lines[program->size++] = (struct sock_filter){ code, yes, no, value };
}

static void load(struct program *program, size_t offset)
{
	add(program, BPF_LD | BPF_W | BPF_ABS, (unsigned)offset, 0, 0);
}

static void give(struct program *program, unsigned what)
{
	add(program, BPF_RET | BPF_K, what, 0, 0);
}

/* The first argument's low half: all that these calls look at. */
static const size_t FIRST = offsetof(struct seccomp_data, args);

static void refuse_bits(struct program *program, unsigned bits)
{
	load(program, FIRST);
	add(program, BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
	give(program, SECCOMP_RET_ERRNO | EPERM);
	give(program, SECCOMP_RET_ALLOW);
}

static void refuse_others(struct program *program)
{
	load(program, FIRST);
	for (size_t i = 0; i < sizeof personalities / sizeof *personalities; i++) {
		add(program, BPF_JMP | BPF_JEQ | BPF_K, personalities[i], 0, 1);
		give(program, SECCOMP_RET_ALLOW);
	}
	give(program, SECCOMP_RET_ERRNO | EPERM);
}

struct rule {
	unsigned short number;
	enum { REFUSED, UNKNOWN, CLONE, UNSHARE, PERSONALITY } what;
};

static int by_number(const void *left, const void *right)
{
	return ((const struct rule *)left)->number - ((const struct rule *)right)->number;
}

static void add_rule(struct program *program, const struct rule *rule)
{
	unsigned short at = program->size;
	add(program, BPF_JMP | BPF_JEQ | BPF_K, rule->number, 0, 0);
	switch (rule->what) {
	case REFUSED: give(program, SECCOMP_RET_ERRNO | EPERM); break;
	case UNKNOWN: give(program, SECCOMP_RET_ERRNO | ENOSYS); break;
	case CLONE: refuse_bits(program, NAMESPACES); break;
	case UNSHARE: refuse_bits(program, NAMESPACES | CLONE_NEWTIME); break;
	case PERSONALITY: refuse_others(program); break;
	}
	program->lines[at].jf = (unsigned char)(program->size - at - 1);
}

/* Of rules in order of their numbers, with the number loaded. A jump is 255 lines at most: half of the rules are fewer. */
static void add_tree(struct program *program, const struct rule *rules, size_t count)
{
	if (count <= BRANCH_MAX) {
		for (size_t i = 0; i < count; i++) add_rule(program, &rules[i]);
		give(program, SECCOMP_RET_ALLOW);
		return;
	}
	unsigned short at = program->size;
	add(program, BPF_JMP | BPF_JGE | BPF_K, rules[count / 2].number, 0, 0);
	add_tree(program, rules, count / 2);
	program->lines[at].jt = (unsigned char)(program->size - at - 1);
	add_tree(program, rules + count / 2, count - count / 2);
}

static void add_calls(struct program *program, const struct calls *calls)
{
	struct rule rules[RULES_MAX] = { { calls->clone, CLONE }, { calls->unshare, UNSHARE },
		{ calls->personality, PERSONALITY } };
	size_t count = 3;
	for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) rules[count++] = (struct rule){ unknown[i], UNKNOWN };
	for (size_t i = 0; i < sizeof everywhere / sizeof *everywhere; i++)
		rules[count++] = (struct rule){ everywhere[i], REFUSED };
	for (size_t i = 0; i < calls->count; i++)
		rules[count++] = (struct rule){ calls->refused[i], REFUSED };
	qsort(rules, count, sizeof *rules, by_number);
	load(program, offsetof(struct seccomp_data, nr));
	add_tree(program, rules, count);
}

int filter_calls(const struct spec *spec)
{
	if (!spec->filtered) return 0;
	static struct program program;
	program.size = 0;
	load(&program, offsetof(struct seccomp_data, arch));
#ifdef __x86_64__
	/* A jump is 255 lines at most: each list begins where the one before ends. */
	static struct program other;
	other.size = 0;
	add_calls(&other, &i386_calls);
	add(&program, BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_I386, 0, (unsigned char)other.size);
	for (int i = 0; i < other.size; i++) {
		struct sock_filter line = other.lines[i];
		add(&program, line.code, line.k, line.jt, line.jf);
	}
	load(&program, offsetof(struct seccomp_data, arch));
#endif
	add(&program, BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0);
	give(&program, SECCOMP_RET_ERRNO | ENOSYS);
#ifdef __x86_64__
	load(&program, offsetof(struct seccomp_data, nr));
	add(&program, BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1); /* x32 */
	give(&program, SECCOMP_RET_ERRNO | ENOSYS);
#endif
	add_calls(&program, &native_calls);
	struct sock_fprog filter = { program.size, program.lines };
	/* Without SPEC_ALLOW kernels before 5.16 make a filtered program pay for each store. */
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter) == 0) return 0;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0 ? 0 : errno;
}
#else
int filter_calls(const struct spec *spec)
{
	return spec->filtered ? ENOSYS : 0;
}
#endif
