// Drives the vendor ascend as the crew does, by orders on stdin, one answer in JSON per line. Built with AddressSanitizer
// and UBSan together with the vendor's files.
//
//   open                    {opened, missing, library, driverVersion, problem}
//   list                    {outcome, problem, devices}
//   read DEVICE PACE        {outcome, problem, values, signals, codes, processes, links, has}; PACE 0 fast, 1 second, 2 slow
//   wait MS                 an event, null, or "none" where the vendor has no events
//   play FILE               puts the file in the place of the fake's script
//   close
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vendor/vendor.h"

extern const struct vendor ascend_vendor;

static const struct vendor *const vendor = &ascend_vendor;
static void *session;
enum { HELD = 64 };
static struct device devices[HELD];
static struct sample samples[HELD];
static size_t count;

static const char *const reasons[] = {"present", "unsupported", "denied", "lost", "late", "error", "notYet"};
static const char *const outcomes[] = {"ok", "deviceLost", "denied", "failed", "vendorLost"};

static void put_text(const char *key, const char *text) { printf("\"%s\":\"%s\",", key, text); }

static void put_number(const char *key, double value) {
  if (value != value) printf("\"%s\":null,", key);
  else printf("\"%s\":%.17g,", key, value);
}

static void open_library(void) {
  struct vendor_report report = {0};
  bool missing = false;
  session = vendor->open(&report, &missing);
  printf("{");
  put_text("library", report.library);
  put_text("driverVersion", report.driver_version);
  put_text("problem", report.problem);
  printf("\"opened\":%s,\"missing\":%s}\n", session != NULL ? "true" : "false", missing ? "true" : "false");
}

static void put_device(const struct device *device) {
  printf("{");
  put_text("id", device->id);
  put_text("parent", device->parent);
  put_text("name", device->name);
  put_text("busId", device->bus_id);
  put_text("serial", device->serial);
  put_text("firmware", device->firmware);
  put_text("profile", device->profile);
  put_number("numaNode", device->numa_node);
  put_number("nodeNumber", device->node_number);
  put_number("units", device->units);
  put_number("maxClockHertz", device->max_clock_hertz);
  printf("\"index\":%d}", device->index);
}

// Devices that were there keep what they had, as in the crew.
static void list(void) {
  static struct device fresh[HELD], kept[HELD];
  static struct sample kept_samples[HELD];
  struct vendor_report report = {0};
  size_t fresh_count = 0;
  enum outcome outcome = vendor->enumerate(session, fresh, HELD, &fresh_count, &report);
  if (outcome == OUTCOME_OK) {
    for (size_t i = 0; i < fresh_count; i++) {
      kept[i] = fresh[i];
      memset(&kept_samples[i], 0, sizeof kept_samples[i]);
      for (int n = 0; n < NUMBER_COUNT; n++) sample_absent(&kept_samples[i], (enum number)n, NOT_YET);
      for (int n = 0; n < SIGNAL_COUNT; n++) kept_samples[i].signals[n] = NAN;
      for (size_t before = 0; before < count; before++) {
        if (strcmp(devices[before].id, fresh[i].id) != 0) continue;
        vendor->release(&kept[i]);
        kept[i].extra = devices[before].extra;
        kept[i].has = devices[before].has;
        devices[before].extra = NULL;
        kept_samples[i] = samples[before];
      }
    }
    for (size_t i = 0; i < count; i++) vendor->release(&devices[i]);
    count = fresh_count;
    memcpy(devices, kept, sizeof devices);
    memcpy(samples, kept_samples, sizeof samples);
  }
  printf("{");
  put_text("outcome", outcomes[outcome]);
  put_text("problem", report.problem);
  printf("\"devices\":[");
  for (size_t i = 0; i < count; i++) {
    if (i > 0) printf(",");
    put_device(&devices[i]);
  }
  printf("]}\n");
}

static void put_sample(const struct sample *sample) {
  static const char *const numbers[] = {
#define X(id, family, label, when) #id,
      NUMBERS(X)
#undef X
  };
  static const char *const signals[] = {
#define X(id, name) name,
      SIGNALS(X)
#undef X
  };
  printf("\"values\":{");
  for (int i = 0; i < NUMBER_COUNT; i++) {
    if (sample->reasons[i] == PRESENT) put_number(numbers[i], sample->values[i]);
    else put_text(numbers[i], reasons[sample->reasons[i]]);
  }
  printf("\"end\":0},\"signals\":{");
  for (int i = 0; i < SIGNAL_COUNT; i++) put_number(signals[i], sample->signals[i]);
  printf("\"end\":0},\"codes\":[");
  for (size_t i = 0; i < sample->code_count; i++) printf("%s%u", i > 0 ? "," : "", sample->codes[i]);
  printf("],\"processes\":[");
  for (size_t i = 0; i < sample->process_count; i++)
    printf("%s[%u,%.17g]", i > 0 ? "," : "", sample->processes[i].pid, sample->processes[i].memory_bytes);
  printf("],\"links\":[");
  for (size_t i = 0; i < sample->link_count; i++)
    printf("%s[\"%s\",\"%s\",%u,%d]", i > 0 ? "," : "", sample->links[i].kind, sample->links[i].peer,
           sample->links[i].count, sample->links[i].up);
  printf("],");
  put_text("processesAbsent", reasons[sample->processes_reason]);
}

static void read_device(const char *arguments) {
  unsigned index = 0, pace = 0;
  sscanf(arguments, "%u %u", &index, &pace);
  if (index >= count || pace >= PACE_COUNT) exit(2);
  struct sample *sample = &samples[index];
  sample->problem[0] = '\0';
  enum outcome outcome = vendor->read(session, &devices[index], (enum pace)pace, sample);
  printf("{");
  put_text("outcome", outcomes[outcome]);
  put_text("problem", sample->problem);
  put_sample(sample);
  printf("\"has\":[");
  bool is_first = true;
  for (int i = 0; i < NUMBER_COUNT; i++) {
    if ((devices[index].has >> i & 1) == 0) continue;
    printf("%s%d", is_first ? "" : ",", i);
    is_first = false;
  }
  printf("]}\n");
}

static void put_event(const struct vendor_event *event) {
  printf("{");
  put_text("id", event->id);
  put_text("detail", event->detail);
  printf("\"kind\":%d,\"code\":%u,\"count\":%u}", (int)event->kind, event->code, event->count);
}

static void wait_event(const char *arguments) {
  struct vendor_event event = {0};
  int got = vendor->wait(session, atoi(arguments), &event);
  if (got > 0) put_event(&event);
  else printf(got == 0 ? "null" : "\"none\"");
  printf("\n");
}

// Every event until none came for so many milliseconds: in how many pieces
// a storm comes is the machine's affair.
static void gather_events(const char *arguments) {
  struct vendor_event event = {0};
  printf("[");
  for (bool is_first = true; vendor->wait(session, atoi(arguments), &event) > 0; is_first = false) {
    if (!is_first) printf(",");
    put_event(&event);
    memset(&event, 0, sizeof event);
  }
  printf("]\n");
}

static void close_library(void) {
  for (size_t i = 0; i < count; i++) vendor->release(&devices[i]);
  count = 0;
  if (session != NULL) vendor->close(session, true);
  session = NULL;
}

int main(void) {
  char line[512];
  while (fgets(line, sizeof line, stdin) != NULL) {
    char *arguments = line + strcspn(line, " \n");
    if (*arguments != '\0') *arguments++ = '\0';
    arguments[strcspn(arguments, "\n")] = '\0';
    if (strcmp(line, "open") == 0) open_library();
    else if (strcmp(line, "list") == 0) list();
    else if (strcmp(line, "read") == 0) read_device(arguments);
    else if (strcmp(line, "wait") == 0) wait_event(arguments);
    else if (strcmp(line, "gather") == 0) gather_events(arguments);
    else if (strcmp(line, "close") == 0) {
      close_library();
      printf("true\n");
    } else if (strcmp(line, "play") == 0) {
      bool is_done = rename(arguments, getenv("FLOPD_FAKE_DCMI")) == 0;
      // The fake looks at its script once a millisecond.
      nanosleep(&(struct timespec){0, 3000000}, NULL);
      printf("%s\n", is_done ? "true" : "false");
    } else return 2;
    fflush(stdout);
  }
  close_library();
  return 0;
}
