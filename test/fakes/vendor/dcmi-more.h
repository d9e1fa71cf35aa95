// The rest of dcmi.c: memory, errors, processes, the generic call with parts, and events.

static int memory_v3(const char *target, char *info) {
  if (!has(target, "memorySize")) return UNSUPPORTED;
  memset(info, 0, 112);
  put(info, 0, whole_of(target, "memorySize", 0), 8);
  put(info, 8, whole_of(target, "memoryAvailable", 0), 8);
  put(info, 16, whole_of(target, "memoryClock", 0), 4);
  return OK;
}
static int memory_v2(const char *target, char *info) {
  if (!has(target, "memorySize")) return UNSUPPORTED;
  put(info, 0, whole_of(target, "memorySize", 0), 8);
  put(info, 8, whole_of(target, "memoryClock", 0), 4);
  put(info, 12, whole_of(target, "memoryPercent", 0), 4);
  return OK;
}
CLASSIC(dcmi_get_device_memory_info_v3, memory_v3, (char *info), (info))
CLASSIC(dcmi_get_device_memory_info_v2, memory_v2, (char *info), (info))

// `code N`, one line each; may be more than the caller's room, which the count says.
static int codes(const char *target, int *count, unsigned *list, unsigned capacity) {
  *count = 0;
  for (const struct script_entry *each = script_get(target, "code"); each != NULL; each = each->more) {
    if ((unsigned)*count < capacity) list[*count] = (unsigned)script_parse_whole(each->value);
    (*count)++;
  }
  return OK;
}
BOTH(dcmi_get_device_errorcode_v2, dcmiv2_get_device_error_code_list, codes, (int *count, unsigned *list, unsigned room),
     (count, list, room))

// `ecc.KIND ENABLED SINGLE DOUBLE SINGLE_TOTAL DOUBLE_TOTAL SINGLE_ISOLATED DOUBLE_ISOLATED [SINGLE_NEXT DOUBLE_NEXT]`:
// the last two are written by libraries that know them.
static int ecc(const char *target, int kind, char *info) {
  char key[32];
  unsigned v[9];
  snprintf(key, sizeof key, "ecc.%d", kind);
  const char *text = script_text(target, key, NULL);
  if (text == NULL) return UNSUPPORTED;
  int got = sscanf(text, "%u %u %u %u %u %u %u %u %u", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7], &v[8]);
  if (got < 7) return INVALID;
  memcpy(info, v, (size_t)(got == 9 ? 9 : 7) * 4);
  return OK;
}
BOTH(dcmi_get_device_ecc_info, dcmiv2_get_device_ecc_info, ecc, (int kind, char *info), (kind, info))

// `process PID BYTES`, one line each; `processes none` says that there are none.
static int processes(const char *target, char *list, int *count) {
  if (!has(target, "process") && !has(target, "processes")) return UNSUPPORTED;
  *count = 0;
  for (const struct script_entry *each = script_get(target, "process"); each != NULL; each = each->more) {
    char *end;
    put(list, (size_t)*count * 16, strtoull(each->value, &end, 0), 4);
    put(list, (size_t)*count * 16 + 8, strtoull(end, NULL, 0), 8);
    (*count)++;
  }
  return OK;
}
BOTH(dcmi_get_device_resource_info, dcmiv2_get_device_proc_mem_info, processes, (char *list, int *count), (list, count))

// --- The generic call ---

// `part ID TEMPLATE CORES MEMORY_MB [BUSY TOTAL_KB FREE_KB]`, one line each.
struct part {
  unsigned id, busy;
  char name[16];
  float cores;
  unsigned long long mb, total, free;
  int known;
};

static bool parse_part(const struct script_entry *entry, struct part *part) {
  memset(part, 0, sizeof *part);
  part->known = sscanf(entry->value, "%u %15s %f %llu %u %llu %llu", &part->id, part->name, &part->cores, &part->mb,
                       &part->busy, &part->total, &part->free);
  return part->known >= 4;
}

static int list_parts(const char *target, char *info) {
  unsigned count = 0;
  struct part part;
  for (const struct script_entry *each = script_get(target, "part"); each != NULL && count < 32; each = each->more)
    if (parse_part(each, &part)) put(info, 4 + count++ * 4, part.id, 4);
  put(info, 0, count, 4);
  return OK;
}

static int one_part(const char *target, char *info, bool is_activity) {
  unsigned id;
  struct part part;
  memcpy(&id, info, 4);
  for (const struct script_entry *each = script_get(target, "part"); each != NULL; each = each->more) {
    if (!parse_part(each, &part) || part.id != id) continue;
    if (is_activity && part.known < 7) return UNSUPPORTED;
    memcpy(info + 8, part.name, sizeof part.name);
    memcpy(info + 112, &part.cores, 4);
    put(info, 136, part.mb, 8);
    if (!is_activity) return OK;
    put(info, 172, part.busy, 4);
    put(info, 176, part.total, 8);
    put(info, 184, part.free, 8);
    return OK;
  }
  return INVALID;
}

static int info(const char *target, unsigned what, unsigned which, char *buffer, unsigned *size) {
  if (what == 52 && which == 1) return *size == 360 ? list_parts(target, buffer) : INVALID;
  if (what == 52 && (which == 0 || which == 5)) return *size == 264 ? one_part(target, buffer, which == 5) : INVALID;
  if (what == 8 && which == 9 && has(target, "cause")) {
    if (*size != 8) return INVALID;
    put(buffer, 0, whole_of(target, "cause", 0), 8);
    return OK;
  }
  if (what == 8 && which == 10) return *size == 36 ? give(target, "rating", buffer) : INVALID;
  return UNSUPPORTED;
}
BOTH(dcmi_get_device_info, dcmiv2_get_device_info, info, (unsigned what, unsigned which, char *buffer, unsigned *size),
     (what, which, buffer, size))

// --- Events: `event DEVICE SEVERITY CODE`; severity + 256 is a recovery ---

struct filter {
  uint64_t words[6];
};

typedef void handler(char *event);

static struct {
  pthread_t thread;
  handler *call;
  atomic_bool is_running, is_ending;
} listener;

static bool accept_all(void *context, const struct script_event *event) {
  (void)context;
  (void)event;
  return true;
}

static void fill_event(const struct script_event *from, char *event) {
  memset(event, 0, 360);
  put(event, 8, from->data, 4);
  put(event, 12, (uint64_t)logic_of((int)strtoul(from->target, NULL, 10)), 2);
  put(event, 18, from->type & 255, 1);
  put(event, 19, from->type < 256, 1);
  snprintf(event + 40, 256, "event %llx of the fake", (unsigned long long)from->data);
}

static void *listen(void *argument) {
  (void)argument;
  struct script_event event;
  char *filled = malloc(360);  // of exactly the size: who reads beyond it is found
  while (!atomic_load(&listener.is_ending)) {
    if (!script_wait(20, accept_all, NULL, &event)) continue;
    fill_event(&event, filled);
    listener.call(filled);
  }
  free(filled);
  return NULL;
}

// Once per process, and for good.
API dcmi_subscribe_fault_event(int card, int chip, struct filter filter, handler *call) {
  ENTER_LIBRARY();
  if (card != -1 || chip != -1 || filter.words[0] != 0 || call == NULL) return INVALID;
  if (atomic_exchange(&listener.is_running, true)) return -8020;
  listener.call = call;
  return pthread_create(&listener.thread, NULL, listen, NULL) == 0 ? OK : -8005;
}

API dcmi_get_fault_event(int card, int chip, int timeout_ms, struct filter filter, char *event) {
  ENTER_LIBRARY();
  if (card != -1 || chip != -1 || filter.words[0] != 0) return INVALID;
  struct script_event came;
  if (!script_wait(timeout_ms, accept_all, NULL, &came)) return TIMEOUT;
  fill_event(&came, event);
  return OK;
}

// Runs before the one of script.h, which frees what the thread looks at.
__attribute__((destructor)) static void end_listener(void) {
  if (!atomic_load(&listener.is_running)) return;
  atomic_store(&listener.is_ending, true);
  pthread_join(listener.thread, NULL);
}
