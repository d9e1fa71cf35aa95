// The second half of the fake: MIG, processes, events and pipe counters.
#ifndef FAKE_NVML_MORE_H
#define FAKE_NVML_MORE_H

// --- MIG: `migMode 1`, `instances K`, and lines of the targets `N.0` … ---

API nvmlDeviceGetMigMode(void *device, unsigned *mode, unsigned *pending) {
  ENTER(device);
  *pending = 0;
  give(target, "migMode", pending, 4);
  return give(target, "migMode", mode, 4);
}

API nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count) {
  ENTER(device);
  *count = PARTS - 1;
  return OK;
}

// Where a line `absent 1` stands the slot is empty.
API nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **part) {
  ENTER(device);
  char name[2 * SCRIPT_TARGET];
  if (script_parse_whole(script_text(target, "instances", "0")) <= index || index >= PARTS - 1) return NOT_FOUND;
  snprintf(name, sizeof name, "%s.%u", target, index);
  if (script_text(name, "absent", NULL) != NULL) return NOT_FOUND;
  *part = (char *)device + 1 + index;
  return OK;
}

NUMBER(nvmlDeviceGetGpuInstanceId, "gpuInstance", unsigned)
NUMBER(nvmlDeviceGetComputeInstanceId, "computeInstance", unsigned)

// --- Processes: `process PID BYTES [graphics|mps]`, one line each ---

static int give_processes(const char *target, const char *kind, unsigned *count, char *to) {
  unsigned found = 0, room = *count;
  for (const struct script_entry *entry = script_get(target, "process"); entry != NULL; entry = entry->more) {
    char *end;
    uint64_t pid = strtoull(entry->value, &end, 0), bytes = strtoull(end, &end, 0);
    const char *own = *end == '\0' ? "compute" : end + strspn(end, " ");
    if (strcmp(own, kind) != 0) continue;
    if (found < room) {
      put(to + found * 24, 0, pid, 8);
      put(to + found * 24, 8, bytes, 8);
      put(to + found * 24, 16, UINT64_MAX, 8);
    }
    found++;
  }
  *count = found;
  return found > room ? TOO_SMALL : OK;
}

API nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, void *processes) {
  ENTER(device);
  return give_processes(target, "compute", count, processes);
}

API nvmlDeviceGetGraphicsRunningProcesses_v3(void *device, unsigned *count, void *processes) {
  ENTER(device);
  return give_processes(target, "graphics", count, processes);
}

API nvmlDeviceGetMPSComputeRunningProcesses_v3(void *device, unsigned *count, void *processes) {
  ENTER(device);
  return give_processes(target, "mps", count, processes);
}

// --- Events: the script's TYPE is the library's bit, DATA its data ---

struct set {
  pthread_mutex_t lock;
  uint64_t masks[DEVICES];
};

API nvmlEventSetCreate(void **set) {
  ENTER_LIBRARY();
  struct set *made = calloc(1, sizeof *made);
  pthread_mutex_init(&made->lock, NULL);
  *set = made;
  return OK;
}

API nvmlEventSetFree(void *set) {
  ENTER_LIBRARY();
  pthread_mutex_destroy(&((struct set *)set)->lock);
  free(set);
  return OK;
}

API nvmlDeviceGetSupportedEventTypes(void *device, uint64_t *types) {
  ENTER(device);
  *types = script_parse_whole(script_text(target, "eventTypes", "0xb"));
  return OK;
}

API nvmlDeviceRegisterEvents(void *device, uint64_t types, void *set) {
  ENTER(device);
  uint64_t known = script_parse_whole(script_text(target, "eventTypes", "0xb"));
  if ((types & ~known) != 0) return UNSUPPORTED;
  struct set *own = set;
  pthread_mutex_lock(&own->lock);
  own->masks[((char *)device - places) / PARTS] |= types;
  pthread_mutex_unlock(&own->lock);
  return OK;
}

static bool is_registered(void *context, const struct script_event *event) {
  struct set *set = context;
  unsigned long device = strtoul(event->target, NULL, 10);
  pthread_mutex_lock(&set->lock);
  bool is_wanted = device < DEVICES && (set->masks[device] & event->type) != 0;
  pthread_mutex_unlock(&set->lock);
  return is_wanted;
}

// A lost device spoils the set.
API nvmlEventSetWait_v2(void *set, void *data, unsigned timeout_ms) {
  ENTER_LIBRARY();
  struct set *own = set;
  for (unsigned i = 0; i < device_count(); i++) {
    char target[SCRIPT_TARGET];
    target_of(&places[i * PARTS], target);
    if (own->masks[i] != 0 && script_text(target, "!gone", NULL) != NULL) return LOST;
  }
  struct script_event event;
  if (!script_wait(timeout_ms, is_registered, set, &event)) return TIMEOUT;
  const char *part = strchr(event.target, '.');
  put(data, 0, (uint64_t)(uintptr_t)&places[strtoul(event.target, NULL, 10) * PARTS], 8);
  put(data, 8, event.type, 8);
  put(data, 16, event.data, 8);
  put(data, 24, part != NULL ? strtoull(part + 1, NULL, 10) : UINT32_MAX, 4);
  put(data, 28, UINT32_MAX, 4);
  return OK;
}

// --- Pipe counters: `gpm 1` says that there are some, `gpm.ID VALUE` what they give ---

struct sample {
  const void *handle;
  double taken;
};

API nvmlGpmQueryDeviceSupport(void *device, void *support) {
  ENTER(device);
  uint32_t version, supported = 0;
  memcpy(&version, support, 4);
  if (version != 1) return 25;
  give(target, "gpm", &supported, 4);
  put(support, 4, supported, 4);
  return OK;
}

API nvmlGpmSampleAlloc(void **sample) {
  ENTER_LIBRARY();
  *sample = calloc(1, sizeof(struct sample));
  return OK;
}

API nvmlGpmSampleFree(void *sample) {
  ENTER_LIBRARY();
  free(sample);
  return OK;
}

static int take_sample(const void *handle, struct sample *sample, const char *target) {
  if (script_text(target, "gpm", NULL) == NULL) return UNSUPPORTED;
  *sample = (struct sample){handle, script_seconds()};
  return OK;
}

API nvmlGpmSampleGet(void *device, void *sample) {
  ENTER(device);
  if (script_parse_whole(script_text(target, "migMode", "0")) == 1) return UNSUPPORTED;
  return take_sample(device, sample, target);
}

// The instance is named by its number on the device, which is not its place.
API nvmlGpmMigSampleGet(void *device, unsigned instance, void *sample) {
  ENTER(device);
  for (unsigned part = 0; part < PARTS - 1; part++) {
    char name[2 * SCRIPT_TARGET];
    snprintf(name, sizeof name, "%s.%u", target, part);
    if (script_parse_whole(script_text(name, "gpuInstance", "255")) != instance) continue;
    return take_sample((char *)device + 1 + part, sample, target);
  }
  return INVALID;
}

// `set gpmStrict 1`: an id that is not in the script fails the whole call.
API nvmlGpmMetricsGet(char *metrics) {
  ENTER_LIBRARY();
  uint32_t version, count;
  struct sample *first, *second;
  memcpy(&version, metrics, 4);
  memcpy(&count, metrics + 4, 4);
  memcpy(&first, metrics + 8, 8);
  memcpy(&second, metrics + 16, 8);
  char target[SCRIPT_TARGET];
  if (version != 1 || first == NULL || second == NULL || count > 333) return INVALID;
  if (first->handle != second->handle || !target_of(first->handle, target)) return INVALID;
  if (second->taken - first->taken < 0.1) return INVALID;
  for (uint32_t i = 0; i < count; i++) {
    char *metric = metrics + 24 + i * 40, key[32];
    uint32_t id;
    memcpy(&id, metric, 4);
    snprintf(key, sizeof key, "gpm.%u", id);
    const char *text = script_text(target, key, NULL);
    if (text == NULL && script_text("", "gpmStrict", NULL) != NULL) return INVALID;
    double value = text == NULL ? NAN : script_parse_real(text);
    put(metric, 4, text == NULL ? UNSUPPORTED : OK, 4);
    memcpy(metric + 8, &value, 8);
  }
  return OK;
}

#endif
