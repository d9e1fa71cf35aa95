// Xid messages of NVIDIA's kernel module:
//
//   NVRM: Xid (PCI:0000:65:00): 79, pid=1234, name=python, GPU has fallen off the bus.
//   NVRM: Xid (PCI:0000:65:00 GPU-I:05): 94, pid=7194, Contained: ...     of a partition: told of its device
//   NVRM: Xid (0000:03:00): 13, 0001 00000000 ...                         drivers before 346
//
// The form is that of the driver's own messages; what follows the number is free text.
#include "nvidia-xid.h"

#include <ctype.h>

// `0000:65:00` with two parts or more, a function at its end or not; stops behind it.
static bool take_address(struct text *t, struct text *address) {
  unsigned colons = 0;
  address->at = t->at;
  while (t->at < t->end && (isxdigit((unsigned char)*t->at) || *t->at == ':' || *t->at == '.')) {
    colons += *t->at == ':';
    t->at++;
  }
  address->end = t->at;
  return colons == 2 && text_length(*address) >= 7 && text_length(*address) <= 16;
}

bool nvidia_xid(struct text message, struct vendor_event *event) {
  struct text address;
  uint64_t code;
  if (!text_take(&message, "NVRM: Xid (")) return false;
  text_take(&message, "PCI:");
  if (!take_address(&message, &address)) return false;
  // The instance of a partition, if any.
  if (message.at < message.end && *message.at == ' ') {
    const char *close = memchr(message.at, ')', text_length(message));
    if (close == NULL) return false;
    message.at = close;
  }
  if (!text_take(&message, "):")) return false;
  text_skip_blanks(&message);
  if (!text_digits(&message, &code) || code == 0 || code > UINT16_MAX) return false;
  // A number that goes on in letters is no number; a cut line may end right behind it.
  if (message.at < message.end && !text_take(&message, ",") && !text_is_blank(*message.at)) return false;
  text_skip_blanks(&message);
  memset(event, 0, sizeof *event);
  event->kind = EVENT_XID;
  event->code = (uint32_t)code;
  event->count = 1;
  text_label(event->bus_id, sizeof event->bus_id, address);
  text_label(event->detail, sizeof event->detail, message);
  return true;
}
