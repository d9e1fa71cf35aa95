// The reader of the host: a thread of its own fills one row per tick and folds it into the current window. All
// functions are called from JavaScript threads; errors are negative errno values.
#ifndef FLOPD_READER_H
#define FLOPD_READER_H

#include <stddef.h>
#include <stdint.h>

#include "row.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { WINDOW_STATISTICS = 4 };

// In the order of `windowHeader` in src/native.ts.
enum { HEADER_GENERATION, HEADER_SEQUENCE, HEADER_TICKS, HEADER_START_NS, HEADER_END_NS, HEADER_BUSY_NS, HEADER_LATE_TICKS,
       HEADER_DEVICE_REVISION, HEADER_LENGTH };

// The columns of one generation, valid until `reader_columns_done`.
struct generation;
struct generation_columns {
  struct generation *generation;
  size_t count;
  const struct column *columns;
};

struct reader_options {
  const char *proc_root, *sys_root;
  unsigned period_ms;
  const char *const *vendors;  // names, ends with NULL; NULL: none
  const char *kernel_log;      // NULL: none
  bool (*wake)(void);          // see crew_options
  const void *owner;           // the environment that opens it
};

// Starts the thread; waits a moment for its first tick, but not for a file that hangs. -EBUSY when a reader is open.
int reader_open(const struct reader_options *options);

// -EBADF when none is open. `columns->count` is 0 while the first look at the host is not done.
int reader_columns(struct generation_columns *columns);
void reader_columns_done(struct generation_columns *columns);

// See takeWindow in src/native.ts; the number of columns, or -EBADF.
int reader_take(double header[HEADER_LENGTH], double *values, size_t values_length, uint8_t *reasons, size_t reasons_length);

// See readDevices and takeDeviceEvents in src/native.ts: text to be freed, NULL without memory. Without a reader there
// are no devices and no events.
char *reader_devices(size_t *length);
char *reader_device_events(size_t *length);

// Stops the thread; does nothing when none is open. A thread that hangs in a read is left to end by itself.
void reader_close(void);

// Closes the reader if `owner` opened it.
void reader_close_owned(const void *owner);

#ifdef __cplusplus
}
#endif

#endif
