// The kernel's log: a thread reads it and hands on what the vendors' parsers recognise. Only what is written while it
// is followed counts; what stood there before is history.
#ifndef FLOPD_KERNEL_LOG_H
#define FLOPD_KERNEL_LOG_H

#include "../text.h"
#include "vendor.h"

// Reads one message, without the kernel's prefix; false when it is none of this vendor's. Pure; text is hostile.
typedef bool kernel_line(struct text message, struct vendor_event *event);

// All of them; ends with NULL.
extern kernel_line *const kernel_lines[];

// Takes the prefix of /dev/kmsg (`6,1234,56789,-;`) or of dmesg (`[ 12.345678] `) off the front. False for a message
// that the kernel did not write itself, and for the lines of properties that follow one.
bool kernel_message(struct text line, struct text *message);

struct kernel_log;

// Opens the file at its present end; NULL where it cannot be read.
struct kernel_log *kernel_log_open(const char *path);

// Follows it until `kernel_log_stop`, and calls `found` for what is recognised.
void kernel_log_follow(struct kernel_log *log, void (*found)(void *context, const struct vendor_event *event),
                       void *context);

// From any thread.
void kernel_log_stop(struct kernel_log *log);

void kernel_log_close(struct kernel_log *log);

#endif
