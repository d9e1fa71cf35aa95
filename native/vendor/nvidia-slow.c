// What is read every ten seconds, and at once after an event: processes, limits, links, signals of health. Calls here
// may block for some ten milliseconds.
#include <stdio.h>
#include <stdlib.h>

#include "nvidia.h"

enum { PROCESS_ROOM = 512, MOST_PROCESSES = 65536, MOST_PID = 1 << 22 };

static void set_signal(struct nvidia_read *r, enum signal_name signal, const char *where, int code, unsigned value) {
  nvidia_note(r, where, code);
  r->sample->signals[signal] = code == NVML_OK && value != UINT32_MAX ? value : NAN;
}

// Processes.

typedef int list_call(nvml_device, unsigned *, void *);

// Asks with room for the longest stride that any version of the library wrote, and again with what it says it needs.
static int ask_list(list_call *call, nvml_device handle, void *room, unsigned *count, void **more) {
  *count = PROCESS_ROOM;
  *more = NULL;
  int code = call(handle, count, room);
  for (int tries = 0; tries < 2 && code == NVML_INSUFFICIENT_SIZE; tries++) {
    unsigned need = *count <= MOST_PROCESSES ? *count + 64 : MOST_PROCESSES;
    free(*more);
    *more = calloc(need, 64);
    if (*more == NULL) return NVML_UNKNOWN;
    *count = need;
    code = call(handle, count, *more);
    if (code == NVML_OK && *count > need) *count = need;
  }
  if (code == NVML_OK && *more == NULL && *count > PROCESS_ROOM) *count = PROCESS_ROOM;
  return code;
}

// The same process may stand in several lists.
static void add_process(struct sample *sample, uint32_t pid, uint64_t memory) {
  double bytes = memory == UINT64_MAX ? NAN : (double)memory;
  for (size_t i = 0; i < sample->process_count; i++) {
    if (sample->processes[i].pid != pid) continue;
    if (!(sample->processes[i].memory_bytes >= bytes)) sample->processes[i].memory_bytes = bytes;
    return;
  }
  if (sample->process_count == MAX_PROCESSES) return;
  struct process *process = &sample->processes[sample->process_count++];
  memset(process, 0, sizeof *process);
  process->pid = pid;
  process->memory_bytes = bytes;
}

static uint32_t pid_at(const char *entries, size_t stride, unsigned i) {
  uint32_t pid;
  memcpy(&pid, entries + i * stride, sizeof pid);
  return pid;
}

// False when the list is no list of processes: some drivers write entries of another size.
static bool take_list(struct sample *sample, const char *entries, size_t stride, unsigned count) {
  for (unsigned i = 0; i < count; i++)
    if (pid_at(entries, stride, i) == 0 || pid_at(entries, stride, i) > MOST_PID) return false;
  for (unsigned i = 0; i < count; i++) {
    uint64_t memory;
    memcpy(&memory, entries + i * stride + offsetof(struct nvml_process, memory), sizeof memory);
    add_process(sample, pid_at(entries, stride, i), memory);
  }
  return true;
}

struct list_kind {
  const char *where;
  list_call *calls[3];  // newest first
};

static int read_list(struct nvidia_read *r, const struct list_kind *kind) {
  static const size_t strides[] = {sizeof(struct nvml_process), sizeof(struct nvml_process),
                                   sizeof(struct nvml_process1)};
  char room[PROCESS_ROOM * 64] = {0};
  int code = NVML_FUNCTION_NOT_FOUND;
  for (int i = r->extra->has_wide_processes ? 1 : 0; i < 3; i++) {
    if (kind->calls[i] == NULL) continue;
    unsigned count;
    void *more;
    code = ask_list(kind->calls[i], r->device->handle, room, &count, &more);
    bool is_list = code == NVML_OK && take_list(r->sample, more != NULL ? more : room, strides[i], count);
    free(more);
    if (is_list) return NVML_OK;
    if (code == NVML_OK) {
      r->extra->has_wide_processes = true;
      code = NVML_UNKNOWN;
    } else if (nvidia_reason(code) != UNSUPPORTED) return code;
  }
  return code;
}

static void read_processes(struct nvidia_read *r) {
  const struct nvml *nvml = r->nvml;
  const struct list_kind kinds[] = {
      {"nvmlDeviceGetComputeRunningProcesses", {nvml->compute3, nvml->compute2, nvml->compute1}},
      {"nvmlDeviceGetGraphicsRunningProcesses", {nvml->graphics3, nvml->graphics2, nvml->graphics1}},
      {"nvmlDeviceGetMPSComputeRunningProcesses", {nvml->mps3, nvml->mps2, nvml->mps1}},
  };
  enum reason reason = UNSUPPORTED;
  r->sample->process_count = 0;
  for (size_t i = 0; i < 3; i++) {
    int code = read_list(r, &kinds[i]);
    if (!nvidia_note(r, kinds[i].where, code)) return;
    // One list that cannot be had, though it is there, makes the whole unknown: it would look complete.
    enum reason own = nvidia_reason(code);
    if (own == DENIED || own == ERROR) reason = own;
    else if (own == PRESENT && reason == UNSUPPORTED) reason = PRESENT;
  }
  if (reason != PRESENT) r->sample->process_count = 0;
  r->sample->processes_reason = (uint8_t)reason;
}

// Limits, errors, signals.

static void read_limit(struct nvidia_read *r) {
  unsigned milliwatts = UINT32_MAX;
  int code = NVML(r->nvml, power_enforced, r->device->handle, &milliwatts);
  if (nvidia_reason(code) == UNSUPPORTED) {
    milliwatts = UINT32_MAX;
    code = NVML(r->nvml, power_limit, r->device->handle, &milliwatts);
  }
  nvidia_set_u32(r, NUMBER_POWER_LIMIT, "nvmlDeviceGetEnforcedPowerLimit", code, milliwatts, 1e-3, 100000000);
}

static void read_ecc(struct nvidia_read *r) {
  static const char where[] = "nvmlDeviceGetTotalEccErrors";
  static const struct {
    enum number number;
    unsigned kind;
  } totals[] = {{NUMBER_ECC_CORRECTED, NVML_ECC_CORRECTED}, {NUMBER_ECC_UNCORRECTED, NVML_ECC_UNCORRECTED}};
  for (int i = 0; i < 2 && r->fatal == NVML_OK; i++) {
    uint64_t count = UINT64_MAX;
    int code = NVML(r->nvml, ecc, r->device->handle, totals[i].kind, NVML_ECC_AGGREGATE, &count);
    nvidia_set_u64(r, totals[i].number, where, code, count, 1);
  }
  if (r->fatal != NVML_OK) return;
  uint64_t count = UINT64_MAX;
  int code = NVML(r->nvml, ecc, r->device->handle, NVML_ECC_UNCORRECTED, NVML_ECC_VOLATILE, &count);
  nvidia_note(r, where, code);
  bool is_told = code == NVML_OK && count != UINT64_MAX && count != UINT32_MAX;
  r->sample->signals[SIGNAL_ECC_UNCORRECTED_VOLATILE] = is_told ? (double)count : NAN;
}

static void read_repairs(struct nvidia_read *r) {
  unsigned corrected = UINT32_MAX, uncorrected = UINT32_MAX, pending = UINT32_MAX, failed = UINT32_MAX;
  int code = NVML(r->nvml, remapped_rows, r->device->handle, &corrected, &uncorrected, &pending, &failed);
  set_signal(r, SIGNAL_ROW_REMAP_PENDING, "nvmlDeviceGetRemappedRows", code, pending);
  set_signal(r, SIGNAL_ROW_REMAP_FAILED, "nvmlDeviceGetRemappedRows", code, failed);
  if (r->fatal != NVML_OK) return;
  pending = UINT32_MAX;
  code = NVML(r->nvml, pages_pending, r->device->handle, &pending);
  set_signal(r, SIGNAL_PAGES_PENDING, "nvmlDeviceGetRetiredPagesPendingStatus", code, pending);
}

static void read_modes(struct nvidia_read *r) {
  unsigned mode = UINT32_MAX, pending = UINT32_MAX;
  int code = NVML(r->nvml, mig_mode, r->device->handle, &mode, &pending);
  set_signal(r, SIGNAL_MIG_MODE, "nvmlDeviceGetMigMode", code, mode);
  if (r->fatal != NVML_OK) return;
  mode = UINT32_MAX;
  code = NVML(r->nvml, virtualization, r->device->handle, &mode);
  set_signal(r, SIGNAL_VIRTUALIZATION, "nvmlDeviceGetVirtualizationMode", code, mode);
}

static void read_recovery(struct nvidia_read *r) {
  struct nvml_field fields[] = {nvidia_field(NVML_FIELD_RECOVERY_ACTION, 0), nvidia_field(NVML_FIELD_PCIE_REPLAYS, 0)};
  enum reason reason;
  int code = NVML(r->nvml, fields, r->device->handle, 2, fields);
  nvidia_note(r, "nvmlDeviceGetFieldValues", code);
  for (int i = 0; i < 2 && code != NVML_OK; i++) fields[i].code = code;
  r->sample->signals[SIGNAL_RECOVERY_ACTION] = nvidia_field_value(&fields[0], &reason);
  if (r->fatal != NVML_OK) return;
  unsigned replays = UINT32_MAX;
  code = NVML(r->nvml, pcie_replays, r->device->handle, &replays);
  nvidia_set_u32(r, NUMBER_PCIE_REPLAYS, "nvmlDeviceGetPcieReplayCounter", code, replays, 1, UINT32_MAX - 1);
  if (r->sample->reasons[NUMBER_PCIE_REPLAYS] == UNSUPPORTED)
    nvidia_set_field(r, NUMBER_PCIE_REPLAYS, &fields[1], 1, 1e18);
}

static void read_fabric(struct nvidia_read *r) {
  ROOM(struct nvml_fabric) fabric;
  nvml_room(&fabric);
  fabric.it.version = NVML_VERSION(struct nvml_fabric, 3);
  int code = NVML(r->nvml, fabric_v, r->device->handle, &fabric.it);
  if (code == NVML_VERSION_MISMATCH || code == NVML_INVALID_ARGUMENT) {
    nvml_room(&fabric);
    fabric.it.version = (uint32_t)NVML_FABRIC2_SIZE | 2u << 24;
    code = NVML(r->nvml, fabric_v, r->device->handle, &fabric.it);
  }
  // State 0: this device is no part of a fabric, and the status means nothing.
  if (code == NVML_OK && fabric.it.state == 0) fabric.it.state = fabric.it.status = UINT32_MAX;
  set_signal(r, SIGNAL_FABRIC_STATE, "nvmlDeviceGetGpuFabricInfoV", code, fabric.it.state);
  set_signal(r, SIGNAL_FABRIC_STATUS, "nvmlDeviceGetGpuFabricInfoV", code, fabric.it.status);
}

static void read_pcie(struct nvidia_read *r) {
  unsigned generation = UINT32_MAX, width = UINT32_MAX, most = UINT32_MAX;
  int code = NVML(r->nvml, pcie_generation, r->device->handle, &generation);
  set_signal(r, SIGNAL_LINK_GENERATION, "nvmlDeviceGetCurrPcieLinkGeneration", code, generation);
  if (r->fatal != NVML_OK) return;
  code = NVML(r->nvml, pcie_width, r->device->handle, &width);
  set_signal(r, SIGNAL_LINK_WIDTH, "nvmlDeviceGetCurrPcieLinkWidth", code, width);
  if (r->fatal != NVML_OK) return;
  code = NVML(r->nvml, pcie_width_max, r->device->handle, &most);
  set_signal(r, SIGNAL_LINK_WIDTH_MAX, "nvmlDeviceGetMaxPcieLinkWidth", code, most);
}

// Each call waits for 20 ms, so with many devices once a second would be too much; with pipe counters there is no need.
static void read_pcie_rates(struct nvidia_read *r) {
  static const struct {
    enum number number;
    unsigned direction;
  } rates[] = {{NUMBER_PCIE_TRANSMIT, NVML_PCIE_TRANSMIT}, {NUMBER_PCIE_RECEIVE, NVML_PCIE_RECEIVE}};
  if (r->extra->gpm.has_pcie) return;
  for (int i = 0; i < 2 && r->fatal == NVML_OK; i++) {
    unsigned kilobytes = UINT32_MAX;
    int code = NVML(r->nvml, pcie_throughput, r->device->handle, rates[i].direction, &kilobytes);
    // In KiB. A tebibyte per second is more than any PCIe carries.
    nvidia_set_u32(r, rates[i].number, "nvmlDeviceGetPcieThroughput", code, kilobytes, 1024, 1 << 30);
  }
}

// Links between devices.

// One entry per peer and state: `count` links of it.
static void add_link(struct sample *sample, const char *peer, int up) {
  for (size_t i = 0; i < sample->link_count; i++)
    if (sample->links[i].up == up && strcmp(sample->links[i].peer, peer) == 0) {
      sample->links[i].count++;
      return;
    }
  if (sample->link_count == MAX_LINKS) return;
  struct link *link = &sample->links[sample->link_count++];
  memset(link, 0, sizeof *link);
  snprintf(link->kind, sizeof link->kind, "nvlink");
  snprintf(link->peer, sizeof link->peer, "%s", peer);
  link->count = 1;
  link->up = up;
}

// A board may have more links than are wired: those are down for good, and only a change means something.
static void read_links(struct nvidia_read *r) {
  unsigned links = 0, down = 0;
  r->sample->link_count = 0;
  for (unsigned i = 0; i < NVML_MAX_LINKS; i++) {
    unsigned state = UINT32_MAX;
    int code = NVML(r->nvml, link_state, r->device->handle, i, &state);
    if (!nvidia_note(r, "nvmlDeviceGetNvLinkState", code)) return;
    if (nvidia_reason(code) == UNSUPPORTED || code == NVML_INVALID_ARGUMENT) break;
    links++;
    int up = code != NVML_OK || state > 1 ? -1 : (int)state;
    down += up == 0;
    char bus_id[64] = "", peer[sizeof((struct link *)NULL)->peer] = "";
    ROOM(struct nvml_pci) pci;
    nvml_room(&pci);
    // A link that is down has nobody at its other end that could be asked for.
    code = up == 0 ? NVML_NOT_SUPPORTED : NVML(r->nvml, link_remote, r->device->handle, i, &pci.it);
    if (!nvidia_note(r, "nvmlDeviceGetNvLinkRemotePciInfo", code)) return;
    if (nvidia_bus_id(bus_id, sizeof bus_id, code, &pci.it)) nvidia_peer(r->session, bus_id, peer, sizeof peer);
    add_link(r->sample, peer, up);
  }
  // All of them down: nothing is plugged in.
  r->sample->signals[SIGNAL_LINKS_DOWN] = down < links ? down : NAN;
}

void nvidia_read_slow(struct nvidia_read *r) {
  static void (*const parts[])(struct nvidia_read *) = {
      nvidia_gpm_prepare, read_processes, read_limit, read_ecc,  read_repairs,    read_modes,
      read_recovery,      read_fabric,    read_pcie,  read_links, read_pcie_rates,
  };
  size_t count = r->extra->parent != NULL ? 2 : sizeof parts / sizeof parts[0];
  for (size_t i = 0; i < count && r->fatal == NVML_OK; i++) parts[i](r);
}
