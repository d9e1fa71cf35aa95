// The vendors that are read natively, and the kernel messages that are understood.
#include "nvidia-xid.h"
#include "vendor.h"

extern const struct vendor nvidia_vendor, ascend_vendor;

const struct vendor *const vendors[] = {&nvidia_vendor, &ascend_vendor, NULL};

kernel_line *const kernel_lines[] = {nvidia_xid, NULL};
