// The vendors that are read natively, and the kernel messages that are understood.
#include "nvidia-xid.h"
#include "vendor.h"

// Stands in where a vendor's file is not part of the build: without `open` there is no such library.
__attribute__((weak)) const struct vendor nvidia_vendor = {.name = "nvidia"};
__attribute__((weak)) const struct vendor ascend_vendor = {.name = "ascend"};

const struct vendor *const vendors[] = {&nvidia_vendor, &ascend_vendor, NULL};

kernel_line *const kernel_lines[] = {nvidia_xid, NULL};
