// What the parsers of kernel messages make of the lines of standard input: `code bus detail` each, or `-`. Each line
// lies alone in memory of exactly its size, so that a sanitizer finds one byte read too many.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vendor/kernel-log.h"

static void tell(const char *from, size_t length) {
  char *exact = malloc(length > 0 ? length : 1);
  struct text message, line = {exact, exact + length};
  struct vendor_event event;
  bool found = false;
  memcpy(exact, from, length);
  if (kernel_message(line, &message))
    for (size_t i = 0; kernel_lines[i] != NULL && !found; i++) found = kernel_lines[i](message, &event);
  if (found) printf("%u %s %s\n", event.code, event.bus_id, event.detail);
  else printf("-\n");
  free(exact);
}

int main(void) {
  char *line = NULL;
  size_t size = 0;
  for (ssize_t length; (length = getline(&line, &size, stdin)) > 0;)
    tell(line, (size_t)length - (line[length - 1] == '\n'));
  free(line);
  return 0;
}
