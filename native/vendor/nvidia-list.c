// Who is there: devices, and the MIG instances that they are cut into.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "../text.h"
#include "nvidia.h"

enum { MAX_INSTANCES = 64 };  // of one device; seven is what the largest has

bool nvidia_text(char *to, size_t size, int code, const char *from, size_t from_size) {
  to[0] = '\0';
  if (code != NVML_OK) return false;
  struct text text = {from, from + strnlen(from, from_size)};
  while (text.end > text.at && text_is_blank(text.end[-1])) text.end--;
  text_skip_blanks(&text);
  text_label(to, size, text);
  return to[0] != '\0';
}

bool nvidia_bus_id(char *to, size_t size, int code, const struct nvml_pci *pci) {
  to[0] = '\0';
  if (code != NVML_OK) return false;
  unsigned domain, bus, device, function;
  char text[33] = "";
  const char *forms[] = {pci->bus_id, pci->old_bus_id};
  const size_t sizes[] = {sizeof pci->bus_id, sizeof pci->old_bus_id};
  for (int i = 0; i < 2; i++) {
    int end = 0;
    memcpy(text, forms[i], sizes[i]);
    text[sizes[i]] = '\0';
    bool is_read = sscanf(text, "%8x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &end) == 4;
    if (!is_read || text[end] != '\0' || !isxdigit((unsigned char)text[0])) continue;
    snprintf(to, size, "%08X:%02X:%02X.%X", domain, bus, device, function);
    return true;
  }
  if (pci->domain == UINT32_MAX || pci->bus > 0xff || pci->device > 0x1f) return false;
  snprintf(to, size, "%08X:%02X:%02X.0", pci->domain, pci->bus, pci->device);
  return true;
}

int nvidia_identify(const struct nvml *nvml, nvml_device handle, unsigned index, char *id, size_t id_size, char *bus_id,
                    size_t bus_size) {
  char uuid[256] = "";
  ROOM(struct nvml_pci) pci;
  nvml_room(&pci);
  int code = NVML(nvml, uuid, handle, uuid, NVML_TEXT);
  bool has_id = nvidia_text(id, id_size, code, uuid, sizeof uuid);
  bool has_place = nvidia_bus_id(bus_id, bus_size, NVML(nvml, pci, handle, &pci.it), &pci.it);
  if (!has_id && has_place) snprintf(id, id_size, "%s", bus_id);
  else if (!has_id) snprintf(id, id_size, "nvidia-%u", index);
  return code;
}

void nvidia_peer(struct nvidia_session *s, const char *bus_id, char *id, size_t size) {
  id[0] = '\0';
  pthread_mutex_lock(&s->lock);
  for (size_t i = 0; i < s->place_count; i++)
    if (strcmp(s->places[i].bus_id, bus_id) == 0) snprintf(id, size, "%s", s->places[i].id);
  pthread_mutex_unlock(&s->lock);
}

// FP32 lanes of one multiprocessor, by compute capability (CUDA's programming guide); 0: unknown.
static unsigned lanes_per_unit(int major, int minor) {
  switch (major) {
    case 3:
      return 192;
    case 5:
      return 128;
    case 6:
      return minor == 0 ? 64 : 128;
    case 7:
      return 64;
    case 8:
      return minor == 0 ? 64 : 128;
    case 9:
    case 10:
    case 11:
    case 12:
      return 128;
    default:
      return 0;
  }
}

static int numa_node_of(const struct nvml *nvml, nvml_device handle) {
  // The CPU's node that is near. The library's call for "the node of the device" means the device's own memory, where
  // that is a node; it serves where the other is missing.
  unsigned long nodes[16] = {0};
  if (NVML(nvml, memory_affinity, handle, 16, nodes, 0) == NVML_OK)
    for (int word = 0; word < 16; word++)
      if (nodes[word] != 0) return word * 64 + __builtin_ctzl(nodes[word]);
  unsigned node = UINT32_MAX;
  return NVML(nvml, numa_node, handle, &node) == NVML_OK && node < 1024 ? (int)node : -1;
}

static void read_compute(const struct nvml *nvml, nvml_device handle, struct device *d) {
  int major = 0, minor = -1;
  unsigned cores = UINT32_MAX, mhz = UINT32_MAX;
  bool has_capability = NVML(nvml, capability, handle, &major, &minor) == NVML_OK && major > 0 && major < 100 &&
                        minor >= 0 && minor < 100;
  if (has_capability) snprintf(d->compute_capability, sizeof d->compute_capability, "%d.%d", major, minor);
  if (NVML(nvml, cores, handle, &cores) == NVML_OK && cores > 0 && cores < 1000000) d->lanes = cores;
  unsigned per_unit = has_capability ? lanes_per_unit(major, minor) : 0;
  if (per_unit > 0 && fmod(d->lanes, per_unit) == 0) d->units = d->lanes / per_unit;
  if (NVML(nvml, max_clock, handle, NVML_CLOCK_SM, &mhz) == NVML_OK && mhz > 0 && mhz < 10000)
    d->max_clock_hertz = mhz * 1e6;
}

static bool has_gpm(const struct nvml *nvml, nvml_device handle) {
  if (nvml->gpm_alloc == NULL || nvml->gpm_free == NULL || nvml->gpm_metrics == NULL) return false;
  unsigned mode = 0;
  // Guests with a share of a device are told that it works, and it does not.
  if (NVML(nvml, virtualization, handle, &mode) == NVML_OK && mode == NVML_VIRTUALIZATION_GUEST) return false;
  ROOM(struct nvml_gpm_support) support = {{.version = 1}};
  return NVML(nvml, gpm_support, handle, &support.it) == NVML_OK && support.it.supported == 1;
}

static void empty_device(struct device *d, unsigned index) {
  memset(d, 0, sizeof *d);
  d->index = (int)index;
  d->numa_node = d->node_number = -1;
  d->lanes = d->units = d->max_clock_hertz = NAN;
}

static void read_facts(const struct nvml *nvml, nvml_device handle, struct nvidia_known *known) {
  struct device *d = &known->device;
  char text[256] = "";
  int code = NVML(nvml, name, handle, text, NVML_TEXT);
  nvidia_text(d->name, sizeof d->name, code, text, sizeof text);
  memset(text, 0, sizeof text);
  code = NVML(nvml, serial, handle, text, NVML_TEXT);
  nvidia_text(d->serial, sizeof d->serial, code, text, sizeof text);
  memset(text, 0, sizeof text);
  code = NVML(nvml, vbios, handle, text, NVML_TEXT);
  nvidia_text(d->firmware, sizeof d->firmware, code, text, sizeof text);
  unsigned minor = UINT32_MAX;
  if (NVML(nvml, minor, handle, &minor) == NVML_OK && minor < 100000) d->node_number = (int)minor;
  d->numa_node = numa_node_of(nvml, handle);
  read_compute(nvml, handle, d);
  known->has_gpm = has_gpm(nvml, handle);
  d->has_pipes = known->has_gpm && nvml->gpm_sample != NULL;
}

// Brings what is known of the device with this number up to date. Its handle is NULL while it cannot be asked. The
// code, when it means that nothing can be asked any more.
static int refresh_known(struct nvidia_session *s, unsigned index) {
  const struct nvml *nvml = &s->nvml;
  struct nvidia_known *known = &s->known[index];
  bool was_known = known->device.id[0] != '\0';
  nvml_device handle = NULL;
  int code = nvml->handle(index, &handle);
  if (code == NVML_OK && handle == NULL) code = NVML_UNKNOWN;
  if (nvidia_outcome(code) == OUTCOME_VENDOR_LOST) return code;
  char id[sizeof known->device.id] = "", bus_id[sizeof known->device.bus_id] = "";
  if (code == NVML_OK) {
    code = nvidia_identify(nvml, handle, index, id, sizeof id, bus_id, sizeof bus_id);
    if (nvidia_outcome(code) == OUTCOME_VENDOR_LOST) return code;
    // Without an id at all is one thing; an id that cannot be had just now is another.
    if (nvidia_reason(code) == UNSUPPORTED) code = NVML_OK;
  }
  if (code != NVML_OK && was_known) {
    known->handle = handle;
    return NVML_OK;
  }
  if (code == NVML_OK && was_known && known->handle == handle && strcmp(known->device.id, id) == 0) return NVML_OK;
  empty_device(&known->device, index);
  known->handle = handle;
  known->has_gpm = false;
  if (id[0] == '\0') snprintf(id, sizeof id, "nvidia-%u", index);
  memcpy(known->device.id, id, sizeof id);
  memcpy(known->device.bus_id, bus_id, sizeof bus_id);
  if (code == NVML_OK) read_facts(nvml, handle, known);
  return NVML_OK;
}

static struct nvidia_extra *new_extra(struct nvidia_session *s, struct device *d) {
  struct nvidia_extra *extra = calloc(1, sizeof *extra);
  if (extra != NULL) extra->nvml = &s->nvml;
  d->extra = extra;
  return extra;
}

struct instance {
  nvml_device handle;
  unsigned gpu, compute;
};

static int by_instance(const void *a, const void *b) {
  const struct instance *x = a, *y = b;
  if (x->gpu != y->gpu) return x->gpu < y->gpu ? -1 : 1;
  return (x->compute > y->compute) - (x->compute < y->compute);
}

// The instances of a device in the order of their GPU instances.
static size_t list_instances(const struct nvml *nvml, nvml_device parent, struct instance *instances) {
  unsigned mode = 0, pending = 0, most = 0;
  if (NVML(nvml, mig_mode, parent, &mode, &pending) != NVML_OK || mode != 1) return 0;
  if (NVML(nvml, mig_count, parent, &most) != NVML_OK) return 0;
  size_t count = 0;
  for (unsigned i = 0; i < most && i < MAX_INSTANCES; i++) {
    struct instance *each = &instances[count];
    *each = (struct instance){NULL, UINT32_MAX, UINT32_MAX};
    // An empty slot is an error of its own; nothing that stops us from asking for the next.
    if (NVML(nvml, mig_handle, parent, i, &each->handle) != NVML_OK || each->handle == NULL) continue;
    if (NVML(nvml, gpu_instance, each->handle, &each->gpu) != NVML_OK) each->gpu = i;
    if (NVML(nvml, compute_instance, each->handle, &each->compute) != NVML_OK) each->compute = 0;
    count++;
  }
  qsort(instances, count, sizeof *instances, by_instance);
  return count;
}

// `1g.10gb`: the end of the name, or from what the instance is made of.
static void name_profile(struct device *d, const struct nvml_attributes *made_of) {
  const char *mark = strstr(d->name, "MIG ");
  if (mark != NULL && mark[4] != '\0') {
    snprintf(d->profile, sizeof d->profile, "%s", mark + 4);
    return;
  }
  if (made_of == NULL || made_of->gpu_slices == 0 || made_of->gpu_slices > MAX_INSTANCES) return;
  unsigned long long gib = (made_of->memory_mib + 1023) / 1024;
  if (made_of->compute_slices > 0 && made_of->compute_slices < made_of->gpu_slices)
    snprintf(d->profile, sizeof d->profile, "%uc.%ug.%llugb", made_of->compute_slices, made_of->gpu_slices, gib);
  else snprintf(d->profile, sizeof d->profile, "%ug.%llugb", made_of->gpu_slices, gib);
}

static bool add_instance(struct nvidia_session *s, const struct nvidia_known *parent, const struct instance *instance,
                         size_t position, struct device *d) {
  const struct nvml *nvml = &s->nvml;
  char text[256] = "";
  empty_device(d, (unsigned)position);
  int code = NVML(nvml, uuid, instance->handle, text, NVML_TEXT);
  if (!nvidia_text(d->id, sizeof d->id, code, text, sizeof text))
    snprintf(d->id, sizeof d->id, "MIG-%.70s/%u/%u", parent->device.id, instance->gpu, instance->compute);
  memcpy(d->parent, parent->device.id, sizeof d->parent);
  memset(text, 0, sizeof text);
  code = NVML(nvml, name, instance->handle, text, NVML_TEXT);
  bool has_name = nvidia_text(d->name, sizeof d->name, code, text, sizeof text);
  if (!has_name) memcpy(d->name, parent->device.name, sizeof d->name);
  ROOM(struct nvml_attributes) made_of;
  nvml_room(&made_of);
  bool is_told = NVML(nvml, attributes, instance->handle, &made_of.it) == NVML_OK;
  name_profile(d, is_told ? &made_of.it : NULL);
  // Where it sits, how it is counted in /dev, and what it can do are its device's.
  memcpy(d->bus_id, parent->device.bus_id, sizeof d->bus_id);
  memcpy(d->compute_capability, parent->device.compute_capability, sizeof d->compute_capability);
  d->numa_node = parent->device.numa_node;
  d->node_number = parent->device.node_number;
  d->max_clock_hertz = parent->device.max_clock_hertz;
  if (is_told && made_of.it.units > 0 && made_of.it.units < 10000) d->units = made_of.it.units;
  d->lanes = d->units * (parent->device.lanes / parent->device.units);
  d->has_pipes = parent->has_gpm && nvml->gpm_mig_sample != NULL && instance->gpu != UINT32_MAX;
  d->handle = instance->handle;
  struct nvidia_extra *extra = new_extra(s, d);
  if (extra == NULL) return false;
  extra->parent = parent->handle;
  extra->gpu_instance = instance->gpu;
  return true;
}

static bool add_device(struct nvidia_session *s, const struct nvidia_known *known, struct device *devices,
                       size_t capacity, size_t *count) {
  struct device *d = &devices[*count];
  *d = known->device;
  d->handle = known->handle;
  if (new_extra(s, d) == NULL) return false;
  (*count)++;
  struct instance instances[MAX_INSTANCES];
  size_t cuts = known->handle != NULL ? list_instances(&s->nvml, known->handle, instances) : 0;
  for (size_t i = 0; i < cuts && *count < capacity; i++) {
    if (!add_instance(s, known, &instances[i], i, &devices[*count])) return false;
    (*count)++;
  }
  return true;
}

static bool make_known(struct nvidia_session *s, unsigned count) {
  if (count > s->known_count) {
    struct nvidia_known *more = realloc(s->known, count * sizeof *more);
    if (more == NULL) return false;
    memset(more + s->known_count, 0, (count - s->known_count) * sizeof *more);
    s->known = more;
  }
  s->known_count = count;
  return true;
}

static void publish_places(struct nvidia_session *s) {
  struct nvidia_place *places = calloc(s->known_count + 1, sizeof *places);
  if (places == NULL) return;
  for (size_t i = 0; i < s->known_count; i++) {
    memcpy(places[i].bus_id, s->known[i].device.bus_id, sizeof places[i].bus_id);
    memcpy(places[i].id, s->known[i].device.id, sizeof places[i].id);
  }
  pthread_mutex_lock(&s->lock);
  struct nvidia_place *old = s->places;
  s->places = places;
  s->place_count = s->known_count;
  pthread_mutex_unlock(&s->lock);
  free(old);
}

enum outcome nvidia_enumerate(void *session, struct device *devices, size_t capacity, size_t *count,
                              struct vendor_report *report) {
  struct nvidia_session *s = session;
  const char *where = "nvmlDeviceGetCount";
  unsigned present = 0;
  *count = 0;
  int code = s->nvml.count(&present);
  if (present > capacity) present = (unsigned)capacity;
  if (code == NVML_OK && !make_known(s, present)) {
    snprintf(report->problem, sizeof report->problem, "out of memory");
    return OUTCOME_FAILED;
  }
  bool is_whole = true;
  for (unsigned i = 0; i < present && code == NVML_OK && is_whole; i++) {
    where = "nvmlDeviceGetHandleByIndex";
    code = refresh_known(s, i);
    if (code == NVML_OK && *count < capacity) is_whole = add_device(s, &s->known[i], devices, capacity, count);
  }
  if (code == NVML_OK && is_whole) {
    char version[256] = "";
    int told = NVML(&s->nvml, driver_version, version, NVML_TEXT);
    nvidia_text(report->driver_version, sizeof report->driver_version, told, version, sizeof version);
    publish_places(s);
    return OUTCOME_OK;
  }
  for (size_t i = 0; i < *count; i++) nvidia_release(&devices[i]);
  *count = 0;
  if (code == NVML_OK) snprintf(report->problem, sizeof report->problem, "out of memory");
  else nvidia_problem(report->problem, sizeof report->problem, where, code);
  return code == NVML_OK ? OUTCOME_FAILED : nvidia_outcome(code);
}

void nvidia_release(struct device *device) {
  struct nvidia_extra *extra = device->extra;
  if (extra == NULL) return;
  nvidia_gpm_release(extra);
  free(extra);
  device->extra = NULL;
}
