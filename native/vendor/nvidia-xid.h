// Xid messages in the kernel's log: see nvidia-xid.c.
#ifndef FLOPD_NVIDIA_XID_H
#define FLOPD_NVIDIA_XID_H

#include "kernel-log.h"

kernel_line nvidia_xid;

#endif
