/*
 * Named points at which a test build (-DFLOPD_FAULT_POINTS, native/build/flopd-shim-faults) kills its shim with
 * SIGKILL: the first shim that passes the point named in the file `shim-fault` beside the attempts' folders takes that
 * file away (it becomes `shim-fault.hit`) and dies. In the shim as it is delivered they are nothing.
 * It also reports processes that cannot be killed after 2 s instead of 30.
 *
 *   spec.read      the order was understood; nothing was done yet
 *   cgroup.made    the control groups of the plan were made (also when it has none)
 *   user.set       the job's process, or the init of its sandbox, was forked and has its user or tried to
 *   claimed        the record `started` is there; the program does not run yet. Hit in the job's process
 *   running        the program runs, the agent does not know yet
 *   output.first   the first bytes are on disk
 *   exit.seen      the main process's end was learnt
 *   tree.empty     no process of the job is left
 *   end.written    the end record is complete, under another name
 *   end.renamed    it is in its place
 *   told           the agent was told, as far as one listens
 */
#ifndef FLOPD_SHIM_FAULT_POINTS_H
#define FLOPD_SHIM_FAULT_POINTS_H

#ifdef FLOPD_FAULT_POINTS
/* Notes which process is the shim, for points that are passed in another one. */
void fault_arm(void);
void fault_hit(const char *point);
#else
static inline void fault_arm(void) {}
static inline void fault_hit(const char *point) { (void)point; }
#endif

#endif
