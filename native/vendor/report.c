// What the crew knows as JSON: NativeDevices and NativeEvent of src/native.ts. Each device is copied under its team's
// lock and written out afterwards, so that neither a worker nor the reader's tick waits for the writing.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../clock.h"
#include "json.h"
#include "roster.h"

// In the order of `absentReasons`.
static const char *const reason_names[] = {"present", "unsupported", "denied", "lost", "late", "error", "notYet"};
static const char *const signal_names[SIGNAL_COUNT] = {
#define X(id, name) name,
    SIGNALS(X)
#undef X
};

#define TEXT(json, key, field) json_text(json, key, field, sizeof field)

struct copy {
  int32_t number, parent;
  enum reason absence;
  bool is_hung;
  struct device facts;
  struct sample shown;
  char names[MAX_PROCESSES][COMM_SIZE];
};

static void report_vendor(struct json *json, struct team *team) {
  static const char *const states[] = {"opening", "missing", "open", "failed"};
  pthread_mutex_lock(&team->lock);
  struct vendor_report report = team->report;
  enum team_state state = team->state;
  pthread_mutex_unlock(&team->lock);
  json_open(json, NULL, '{');
  json_string(json, "name", team->vendor->name, 64);
  json_string(json, "state", states[state], 16);
  TEXT(json, "problem", report.problem);
  TEXT(json, "driverVersion", report.driver_version);
  TEXT(json, "library", report.library);
  json_close(json, '}');
}

static int32_t number_of_parent(const struct team *team, const struct device *device) {
  if (device->parent[0] == '\0') return NO_NUMBER;
  for (size_t i = 0; i < team->count; i++)
    if (strcmp(team->entries[i]->facts.id, device->parent) == 0) return team->entries[i]->number;
  return NO_NUMBER;
}

// Without the numbers, which are columns, and without the unused ends of the lists: they are most of it, and memory
// that nobody has touched yet.
static void copy_sample(struct sample *to, const struct sample *from) {
  memcpy(to->signals, from->signals, sizeof to->signals);
  memcpy(to->codes, from->codes, from->code_count * sizeof *to->codes);
  memcpy(to->processes, from->processes, from->process_count * sizeof *to->processes);
  memcpy(to->links, from->links, from->link_count * sizeof *to->links);
  memcpy(to->problem, from->problem, sizeof to->problem);
  to->code_count = from->code_count;
  to->process_count = from->process_count;
  to->processes_reason = from->processes_reason;
  to->link_count = from->link_count;
}

static bool copy_entry(struct team *team, size_t index, struct copy *copy) {
  pthread_mutex_lock(&team->lock);
  bool is_there = index < team->count;
  if (is_there) {
    const struct entry *entry = team->entries[index];
    copy->number = entry->number;
    copy->absence = entry_absence(team, entry, monotonic_ns());
    copy->is_hung = entry->is_hung;
    copy->facts = entry->facts;
    copy->parent = number_of_parent(team, &copy->facts);
    copy_sample(&copy->shown, &entry->shown);
    memcpy(copy->names, entry->names, entry->shown.process_count * COMM_SIZE);
  }
  pthread_mutex_unlock(&team->lock);
  return is_there;
}

static void report_lists(struct json *json, const struct copy *copy) {
  const struct sample *shown = &copy->shown;
  bool has_processes = shown->processes_reason == PRESENT;
  json_open(json, "processes", '[');
  for (size_t i = 0; i < shown->process_count && has_processes; i++) {
    json_open(json, NULL, '{');
    json_number(json, "pid", shown->processes[i].pid);
    json_number(json, "memoryBytes", shown->processes[i].memory_bytes);
    json_text(json, "name", copy->names[i], COMM_SIZE);
    json_close(json, '}');
  }
  json_close(json, ']');
  if (has_processes) json_null(json, "processesAbsent");
  else json_string(json, "processesAbsent", reason_names[shown->processes_reason <= NOT_YET ? shown->processes_reason : ERROR], 16);
  json_open(json, "links", '[');
  for (size_t i = 0; i < shown->link_count; i++) {
    const struct link *link = &shown->links[i];
    json_open(json, NULL, '{');
    json_string(json, "kind", link->kind, sizeof link->kind);
    TEXT(json, "peer", link->peer);
    json_number(json, "count", link->count);
    if (link->up < 0) json_null(json, "up");
    else json_bool(json, "up", link->up != 0);
    json_close(json, '}');
  }
  json_close(json, ']');
  json_open(json, "signals", '{');
  for (int i = 0; i < SIGNAL_COUNT; i++)
    if (isfinite(shown->signals[i])) json_number(json, signal_names[i], shown->signals[i]);
  json_close(json, '}');
  json_open(json, "codes", '[');
  for (size_t i = 0; i < shown->code_count; i++) json_number(json, NULL, shown->codes[i]);
  json_close(json, ']');
}

static void report_index(struct json *json, const char *key, int index) {
  json_number(json, key, index < 0 ? NAN : index);
}

static void report_device(struct json *json, const struct team *team, const struct copy *copy) {
  static const char hung[] = "a call into the vendor's library has not come back";
  const struct device *facts = &copy->facts;
  json_open(json, NULL, '{');
  json_number(json, "number", copy->number);
  json_string(json, "vendor", team->vendor->name, 64);
  json_number(json, "index", facts->index);
  json_string(json, "id", facts->id, sizeof facts->id);
  report_index(json, "parent", copy->parent);
  TEXT(json, "profile", facts->profile);
  TEXT(json, "name", facts->name);
  TEXT(json, "busId", facts->bus_id);
  TEXT(json, "serial", facts->serial);
  TEXT(json, "firmwareVersion", facts->firmware);
  report_index(json, "numaNode", facts->numa_node);
  report_index(json, "nodeNumber", facts->node_number);
  TEXT(json, "computeCapability", facts->compute_capability);
  json_number(json, "lanes", facts->lanes);
  json_number(json, "units", facts->units);
  json_number(json, "maxClockHertz", facts->max_clock_hertz);
  json_bool(json, "hasPipes", facts->has_pipes);
  report_lists(json, copy);
  if (copy->absence == PRESENT) json_null(json, "absent");
  else json_string(json, "absent", reason_names[copy->absence], 16);
  if (copy->is_hung) json_string(json, "problem", hung, sizeof hung);
  else TEXT(json, "problem", copy->shown.problem);
  json_close(json, '}');
}

char *crew_report(struct crew *crew, size_t *length) {
  struct json json = {0};
  struct copy *copy = malloc(sizeof *copy);
  if (copy == NULL) return NULL;
  json_open(&json, NULL, '{');
  // Before what it stands for: what changes meanwhile is told by a later one.
  json_number(&json, "revision", (double)crew_revision());
  json_open(&json, "vendors", '[');
  for (size_t i = 0; i < crew->team_count; i++) report_vendor(&json, crew->teams[i]);
  json_close(&json, ']');
  json_open(&json, "devices", '[');
  for (size_t i = 0; i < crew->team_count; i++)
    for (size_t e = 0; copy_entry(crew->teams[i], e, copy); e++) report_device(&json, crew->teams[i], copy);
  json_close(&json, ']');
  json_close(&json, '}');
  free(copy);
  return json_finish(&json, length);
}

char *crew_events(struct crew *crew, size_t *length) {
  static const char *const kinds[] = {"xid", "ecc", "fault", "lost", "returned"};
  struct json json = {0};
  struct happening *happenings = malloc(MAX_KINDS * sizeof *happenings);
  if (happenings == NULL) return NULL;
  size_t count = event_store_take(&crew->events, happenings);
  json_open(&json, NULL, '[');
  for (size_t i = 0; i < count; i++) {
    const struct happening *happening = &happenings[i];
    json_open(&json, NULL, '{');
    report_index(&json, "number", happening->number);
    TEXT(&json, "busId", happening->bus_id);
    json_string(&json, "kind", kinds[happening->kind], 16);
    json_number(&json, "code", happening->code);
    json_number(&json, "count", (double)happening->count);
    TEXT(&json, "detail", happening->detail);
    json_close(&json, '}');
  }
  json_close(&json, ']');
  free(happenings);
  return json_finish(&json, length);
}
