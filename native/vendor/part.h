// The columns of all devices in the reader's row. Of the reader's thread alone; it copies what the crew read last and
// never waits for a vendor.
#ifndef FLOPD_VENDOR_PART_H
#define FLOPD_VENDOR_PART_H

#include "../row.h"
#include "crew.h"

struct device_part;

// NULL without memory. Holds the crew until closed.
struct device_part *device_part_open(struct crew *crew);
void device_part_close(struct device_part *part);

// Adds the columns to a new row.
void device_part_announce(struct device_part *part, struct row *row);

// Fills them. Hot: every tick. Sets row->stale when there are devices or numbers that have no columns yet.
void device_part_read(struct device_part *part, struct row *row, int64_t now_ns, double elapsed);

// It is not yet known what there is: new columns may come any time.
bool device_part_is_settling(struct device_part *part, int64_t now_ns);

#endif
