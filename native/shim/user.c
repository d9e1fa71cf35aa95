/*
 * Who the job is: its user and limits, and that it can gain nothing (PR_SET_NO_NEW_PRIVS, so that neither setuid files
 * nor file capabilities count). The kernel's keyrings are no namespace: they are taken care of one by one.
 */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
	const char *name;
	int resource;
	bool late;
} rlimit_names[] = {
	{ "AS", RLIMIT_AS, false }, { "CORE", RLIMIT_CORE, false }, { "CPU", RLIMIT_CPU, false },
	{ "DATA", RLIMIT_DATA, false }, { "FSIZE", RLIMIT_FSIZE, false }, { "LOCKS", RLIMIT_LOCKS, false },
	{ "MEMLOCK", RLIMIT_MEMLOCK, false }, { "MSGQUEUE", RLIMIT_MSGQUEUE, false }, { "NICE", RLIMIT_NICE, false },
	{ "NOFILE", RLIMIT_NOFILE, false }, { "RSS", RLIMIT_RSS, false }, { "RTPRIO", RLIMIT_RTPRIO, false },
	{ "SIGPENDING", RLIMIT_SIGPENDING, false }, { "STACK", RLIMIT_STACK, false },
	/* Counts all processes of a user, and a sandbox that is set up by the agent's must not stumble over it. */
	{ "NPROC", RLIMIT_NPROC, true },
};

void set_rlimits(const struct spec *spec, bool late, int channel_fd)
{
	for (char **pair = spec->rlimits; pair != NULL && pair[0] != NULL && pair[1] != NULL; pair += 2) {
		int error = late ? 0 : EINVAL;
		for (size_t i = 0; i < sizeof rlimit_names / sizeof *rlimit_names; i++) {
			if (strcmp(rlimit_names[i].name, pair[0]) != 0) continue;
			rlim_t value = (rlim_t)strtoull(pair[1], NULL, 10);
			struct rlimit limit = { value, value };
			error = 0;
			if (rlimit_names[i].late == late && setrlimit(rlimit_names[i].resource, &limit) < 0) error = errno;
		}
		char what[REFUSAL_BYTES_MAX];
		snprintf(what, sizeof what, "RLIMIT_%.32s", pair[0]);
		if (error != 0) channel_refuse(channel_fd, what, error);
	}
}

static int drop_all_capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2] = { { 0 } };
	return syscall(SYS_capset, &header, none) < 0 ? errno : 0;
}

int become_user(const struct spec *spec, bool drop_capabilities)
{
	if (spec->beside == NULL && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return errno;
	if (drop_capabilities) {
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
		for (int capability = 0; capability < 64; capability++) prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
	}
	if (spec->has_user) {
		if (setgroups(spec->group_count, spec->groups) < 0) return errno;
		if (setresgid(spec->gid, spec->gid, spec->gid) < 0) return errno;
		if (setresuid(spec->uid, spec->uid, spec->uid) < 0) return errno;
	}
	return drop_capabilities || spec->has_user ? drop_all_capabilities() : 0;
}

void leave_keyring(void)
{
	/* Fails where the kernel has no keys, or the user has too many: then it is the agent's, as it always was. */
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0) errno = 0;
}

void clear_keyring(const struct spec *spec)
{
	if (spec->has_user && syscall(SYS_keyctl, KEYCTL_CLEAR, KEY_SPEC_USER_KEYRING) < 0) errno = 0;
}

int give_to_user(int folder, const struct spec *spec)
{
	int error = 0;
	if (!spec->has_user && spec->wrap == NULL) return 0;
	int meter = openat(folder, "meter", O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (meter < 0) return errno;
	struct stat stat;
	if (fstat(meter, &stat) < 0 || !S_ISREG(stat.st_mode) || stat.st_nlink != 1) error = EINVAL;
	else if (spec->has_user && fchown(meter, spec->uid, spec->gid) < 0) error = errno;
	close(meter);
	if (error != 0 || !spec->has_user) return error;
	int workspace = openat(folder, "workspace", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (workspace >= 0) { /* where there is none, the change to it tells */
		if (fchown(workspace, spec->uid, spec->gid) < 0) error = errno;
		close(workspace);
	}
	/* Inside a sandbox the workspace is bound; outside the user must get to it. All files beside it are 0600. */
	if (error == 0 && spec->wrap == NULL && fchmod(folder, 0711) < 0) error = errno;
	return error;
}
