// A fake of NVIDIA's management library that plays a script (script.h; the keys of devices stand in README.md). Layouts
// are written by their offsets, as shared/reference/nvml.md gives them, and not by the header that is under test.
#define SCRIPT_VARIABLE "FLOPD_FAKE_NVML"
#define SCRIPT_CALLS "FLOPD_FAKE_NVML_CALLS"
#define SCRIPT_DEFAULT                                                                                      \
  "set count 2\nset driver 570.86.15\ndevice * name NVIDIA H100 80GB HBM3\ndevice * capability 9 0\n"      \
  "device * cores 16896\ndevice * maxClock 1980\ndevice * clock 1755\ndevice * memoryClock 2619\n"          \
  "device * busy 40\ndevice * memoryBusy 20\ndevice * memoryTotal 85520809984\ndevice * memoryUsed 1073741824\n" \
  "device * power 350000\ndevice * powerLimit 700000\ndevice * energy 1000000+350000/s\ndevice * temperature 45\n"
#include "script.h"

enum { OK = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, TIMEOUT = 10, LOST = 15 };
enum { DEVICES = 1024, PARTS = 16 };  // place 0 of a device is the device itself, N + 1 its partition N

#define API __attribute__((visibility("default"))) int

static char places[DEVICES * PARTS];  // a handle is the address of its place
static atomic_int inits;

static void put(void *to, size_t offset, uint64_t value, size_t size) { memcpy((char *)to + offset, &value, size); }

static bool target_of(const void *handle, char target[SCRIPT_TARGET]) {
  ptrdiff_t place = (const char *)handle - places;
  if (handle == NULL || place < 0 || place >= DEVICES * PARTS) return false;
  int device = (int)(place / PARTS), part = (int)(place % PARTS);
  if (part == 0) snprintf(target, SCRIPT_TARGET, "%d", device);
  else snprintf(target, SCRIPT_TARGET, "%d.%d", device, part - 1);
  return true;
}

static int leave(const char *function, const char *target) {
  int code = script_leave(function, target);
  return code == SCRIPT_LOST ? LOST : code;
}

// Begins a call about a device: `target` is its name in the script.
#define ENTER(handle)                          \
  char target[SCRIPT_TARGET];                  \
  if (!target_of(handle, target)) return INVALID; \
  int code = leave(__func__, target);          \
  if (code != OK) return code

#define ENTER_LIBRARY()          \
  int code = leave(__func__, "");\
  if (code != OK) return code

// One whole number under a key; without it the device does not have that.
static int give(const char *target, const char *key, void *to, size_t size) {
  const char *text = script_text(target, key, NULL);
  if (text == NULL) return UNSUPPORTED;
  put(to, 0, script_parse_whole(text), size);
  return OK;
}

static int give_text(const char *target, const char *key, const char *otherwise, char *to, unsigned size) {
  const char *text = script_text(target, key, otherwise);
  if (text == NULL) return UNSUPPORTED;
  if (strlen(text) >= size) return TOO_SMALL;
  strcpy(to, text);
  return OK;
}

// A function that gives one number of a device.
#define NUMBER(name, key, type)         \
  API name(void *device, type *value) { \
    ENTER(device);                      \
    return give(target, key, value, sizeof *value); \
  }
#define TEXT(name, key, otherwise)                      \
  API name(void *device, char *value, unsigned size) {  \
    ENTER(device);                                      \
    return give_text(target, key, otherwise, value, size); \
  }

// --- The library ---

API nvmlInit_v2(void) {
  ENTER_LIBRARY();
  inits++;
  return OK;
}

API nvmlShutdown(void) {
  ENTER_LIBRARY();
  inits--;
  return OK;
}

API nvmlSystemGetDriverVersion(char *value, unsigned size) {
  ENTER_LIBRARY();
  return give_text("", "driver", "570.86.15", value, size);
}

static unsigned device_count(void) {
  uint64_t count = script_parse_whole(script_text("", "count", "0"));
  return count > DEVICES ? DEVICES : (unsigned)count;
}

API nvmlDeviceGetCount_v2(unsigned *count) {
  ENTER_LIBRARY();
  if (inits <= 0) return 1;
  *count = device_count();
  return OK;
}

API nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
  if (inits <= 0) return 1;
  if (index >= device_count()) return INVALID;
  ENTER(&places[index * PARTS]);
  *device = &places[index * PARTS];
  return OK;
}

// --- Who it is ---

static const char *default_text(const char *target, const char *form, char *text, size_t size) {
  unsigned device = (unsigned)strtoul(target, NULL, 10);
  snprintf(text, size, form, device / 256, device % 256 + 1);
  return text;
}

TEXT(nvmlDeviceGetName, "name", NULL)
TEXT(nvmlDeviceGetSerial, "serial", NULL)
TEXT(nvmlDeviceGetVbiosVersion, "vbios", NULL)
NUMBER(nvmlDeviceGetMinorNumber, "minor", unsigned)
NUMBER(nvmlDeviceGetNumaNodeId, "numaNode", unsigned)
NUMBER(nvmlDeviceGetNumGpuCores, "cores", unsigned)
NUMBER(nvmlDeviceGetVirtualizationMode, "virtualization", unsigned)

API nvmlDeviceGetUUID(void *device, char *value, unsigned size) {
  ENTER(device);
  char text[64];
  const char *point = strchr(target, '.');
  const char *form = point == NULL ? "GPU-%08x-fa4e-fa4e-fa4e-0000000000%02x" : "MIG-%08x-fa4e-fa4e-fa4e-00000000%02x";
  default_text(target, form, text, sizeof text);
  if (point != NULL) snprintf(text + strlen(text), 8, "%02x", atoi(point + 1));
  return give_text(target, "uuid", text, value, size);
}

static void put_pci(void *pci, const char *bus_id) {
  unsigned domain = 0, bus = 0, number = 0, function = 0;
  memset(pci, 0, 68);
  if (sscanf(bus_id, "%x:%x:%x.%x", &domain, &bus, &number, &function) == 4)
    snprintf(pci, 16, "%04X:%02X:%02X.%X", domain & 0xffff, bus & 0xff, number & 0xff, function & 0xf);
  put(pci, 16, domain, 4);
  put(pci, 20, bus, 4);
  put(pci, 24, number, 4);
  snprintf((char *)pci + 36, 32, "%.31s", bus_id);
}

API nvmlDeviceGetPciInfo_v3(void *device, void *pci) {
  ENTER(device);
  char text[64];
  put_pci(pci, script_text(target, "busId", default_text(target, "%08X:%02X:00.0", text, sizeof text)));
  return OK;
}

API nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
  ENTER(device);
  const char *text = script_text(target, "capability", NULL);
  return text != NULL && sscanf(text, "%d %d", major, minor) == 2 ? OK : UNSUPPORTED;
}

API nvmlDeviceGetMemoryAffinity(void *device, unsigned size, unsigned long *nodes, unsigned scope) {
  ENTER(device);
  if (scope > 1 || size == 0) return INVALID;
  memset(nodes, 0, size * sizeof *nodes);
  return give(target, "affinity", nodes, sizeof *nodes);
}

API nvmlDeviceGetAttributes_v2(void *device, void *attributes) {
  ENTER(device);
  if (script_text(target, "units", NULL) == NULL) return UNSUPPORTED;
  memset(attributes, 0, 40);
  give(target, "units", attributes, 4);
  give(target, "gpuSlices", (char *)attributes + 24, 4);
  give(target, "computeSlices", (char *)attributes + 28, 4);
  return give(target, "memoryMib", (char *)attributes + 32, 8) == OK ? OK : UNSUPPORTED;
}

// --- Numbers ---

NUMBER(nvmlDeviceGetPowerUsage, "power", unsigned)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, "powerLimit", unsigned)
NUMBER(nvmlDeviceGetTotalEnergyConsumption, "energy", uint64_t)
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, "reasons", uint64_t)
NUMBER(nvmlDeviceGetFanSpeed, "fan", unsigned)
NUMBER(nvmlDeviceGetRetiredPagesPendingStatus, "pagesPending", unsigned)
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, "pcieGeneration", unsigned)
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, "pcieWidth", unsigned)
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, "pcieWidthMax", unsigned)
NUMBER(nvmlDeviceGetPcieReplayCounter, "pcieReplays", unsigned)

static int give_clock(const char *target, unsigned kind, const char *sm, const char *memory, unsigned *mhz) {
  return kind == 1 ? give(target, sm, mhz, 4) : kind == 2 ? give(target, memory, mhz, 4) : UNSUPPORTED;
}

API nvmlDeviceGetClockInfo(void *device, unsigned kind, unsigned *mhz) {
  ENTER(device);
  return give_clock(target, kind, "clock", "memoryClock", mhz);
}

API nvmlDeviceGetMaxClockInfo(void *device, unsigned kind, unsigned *mhz) {
  ENTER(device);
  return give_clock(target, kind, "maxClock", "maxMemoryClock", mhz);
}

API nvmlDeviceGetUtilizationRates(void *device, void *rates) {
  ENTER(device);
  int busy = give(target, "busy", rates, 4), memory = give(target, "memoryBusy", (char *)rates + 4, 4);
  return busy != OK ? busy : memory;
}

static int give_engine(const char *target, const char *key, unsigned *percent, unsigned *period_us) {
  *period_us = 200000;
  return give(target, key, percent, 4);
}

API nvmlDeviceGetEncoderUtilization(void *device, unsigned *percent, unsigned *period_us) {
  ENTER(device);
  return give_engine(target, "encoder", percent, period_us);
}

API nvmlDeviceGetDecoderUtilization(void *device, unsigned *percent, unsigned *period_us) {
  ENTER(device);
  return give_engine(target, "decoder", percent, period_us);
}

API nvmlDeviceGetMemoryInfo_v2(void *device, void *memory) {
  ENTER(device);
  uint32_t version;
  uint64_t total, used, reserved = 0;
  memcpy(&version, memory, 4);
  if (version != 0x02000028) return 25;
  if (give(target, "memoryTotal", &total, 8) != OK || give(target, "memoryUsed", &used, 8) != OK) return UNSUPPORTED;
  give(target, "memoryReserved", &reserved, 8);
  put(memory, 8, total, 8);
  put(memory, 16, reserved, 8);
  put(memory, 24, total - used - reserved, 8);
  put(memory, 32, used, 8);
  return OK;
}

// The first version counts what the driver reserved as used.
API nvmlDeviceGetMemoryInfo(void *device, void *memory) {
  ENTER(device);
  uint64_t total, used, reserved = 0;
  if (give(target, "memoryTotal", &total, 8) != OK || give(target, "memoryUsed", &used, 8) != OK) return UNSUPPORTED;
  give(target, "memoryReserved", &reserved, 8);
  put(memory, 0, total, 8);
  put(memory, 8, total - used - reserved, 8);
  put(memory, 16, used + reserved, 8);
  return OK;
}

API nvmlDeviceGetTemperatureV(void *device, void *temperature) {
  ENTER(device);
  uint32_t version;
  memcpy(&version, temperature, 4);
  return version == 0x0100000c ? give(target, "temperature", (char *)temperature + 8, 4) : 25;
}

API nvmlDeviceGetTemperature(void *device, unsigned sensor, unsigned *celsius) {
  ENTER(device);
  return sensor == 0 ? give(target, "temperature", celsius, 4) : INVALID;
}

API nvmlDeviceGetTotalEccErrors(void *device, unsigned kind, unsigned counter, uint64_t *count) {
  static const char *const keys[2][2] = {{"eccCorrectedVolatile", "eccCorrected"},
                                         {"eccUncorrectedVolatile", "eccUncorrected"}};
  ENTER(device);
  return kind < 2 && counter < 2 ? give(target, keys[kind][counter], count, 8) : INVALID;
}

API nvmlDeviceGetRemappedRows(void *device, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                              unsigned *failed) {
  ENTER(device);
  *corrected = *uncorrected = *pending = *failed = 0;
  give(target, "remapCorrected", corrected, 4);
  give(target, "remapUncorrected", uncorrected, 4);
  give(target, "remapFailed", failed, 4);
  return give(target, "remapPending", pending, 4);
}

// Takes its 20 ms, as the true one does.
API nvmlDeviceGetPcieThroughput(void *device, unsigned direction, unsigned *kilobytes) {
  ENTER(device);
  if (direction > 1) return INVALID;
  code = give(target, direction == 0 ? "pcieTransmit" : "pcieReceive", kilobytes, 4);
  if (code == OK) script_sleep_ms(20);
  return code;
}

// `field.ID VALUE`: 64-bit numbers, or a double where there is a point in it. Unknown ids fail in their own entry.
API nvmlDeviceGetFieldValues(void *device, int count, char *fields) {
  ENTER(device);
  for (int i = 0; i < count; i++) {
    uint32_t id;
    char key[32];
    memcpy(&id, fields + i * 40, 4);
    snprintf(key, sizeof key, "field.%u", id);
    const char *text = script_text(target, key, NULL);
    bool is_real = text != NULL && strchr(text, '.') != NULL && strchr(text, '+') == NULL;
    double real = is_real ? script_parse_real(text) : 0;
    put(fields + i * 40, 24, is_real ? 0 : 3, 4);
    put(fields + i * 40, 28, text == NULL ? UNSUPPORTED : OK, 4);
    if (is_real) memcpy(fields + i * 40 + 32, &real, 8);
    else if (text != NULL) put(fields + i * 40, 32, script_parse_whole(text), 8);
  }
  return OK;
}

// --- Links and fabric: `link.I STATE [BUSID]` ---

static const char *find_link(const char *target, unsigned link) {
  char key[32];
  snprintf(key, sizeof key, "link.%u", link);
  return script_text(target, key, NULL);
}

API nvmlDeviceGetNvLinkState(void *device, unsigned link, unsigned *state) {
  ENTER(device);
  const char *text = find_link(target, link);
  if (text == NULL) return link == 0 ? UNSUPPORTED : INVALID;
  *state = (unsigned)strtoul(text, NULL, 0);
  return OK;
}

API nvmlDeviceGetNvLinkRemotePciInfo_v2(void *device, unsigned link, void *pci) {
  ENTER(device);
  const char *text = find_link(target, link);
  const char *bus_id = text != NULL ? strchr(text, ' ') : NULL;
  if (bus_id == NULL) return UNSUPPORTED;
  put_pci(pci, bus_id + strspn(bus_id, " "));
  return OK;
}

API nvmlDeviceGetGpuFabricInfoV(void *device, void *fabric) {
  ENTER(device);
  uint32_t version;
  memcpy(&version, fabric, 4);
  if (version != 0x02000024 && version != 0x03000028) return 25;
  memset((char *)fabric + 4, 0, (version & 0xffffff) - 4);
  give(target, "fabricStatus", (char *)fabric + 20, 4);
  return give(target, "fabricState", (char *)fabric + 28, 4);
}

#include "nvml-more.h"
