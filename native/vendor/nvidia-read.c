// The numbers of a device, by pace. Calls that block (PCIe rates: 20 ms each) or are slow stand in nvidia-slow.c.
#include <stdio.h>

#include "nvidia.h"

static const uint32_t ALL_LINKS = UINT32_MAX;

// Above these (in the library's units) a number has no sense. A fan may well turn faster than its nominal speed.
enum {
  MOST_MILLIWATTS = 100000000,
  MOST_MHZ = 100000,
  MOST_PERCENT = 100,
  MOST_FAN_PERCENT = 200,
  MOST_CELSIUS = 200,
  LEAST_CELSIUS = -60,
};
static const uint64_t MOST_BYTES = 1ull << 50;

bool nvidia_note(struct nvidia_read *r, const char *where, int code) {
  enum outcome outcome = nvidia_outcome(code);
  if (r->fatal == NVML_OK && (outcome == OUTCOME_DEVICE_LOST || outcome == OUTCOME_VENDOR_LOST)) {
    r->fatal = code;
    r->where = where;
  }
  return r->fatal == NVML_OK;
}

// A share is divided, not multiplied: 29 % is the double that 0.29 is.
static double scaled(double value, double scale) { return scale < 1 ? value / round(1 / scale) : value * scale; }

void nvidia_set_u32(struct nvidia_read *r, enum number number, const char *where, int code, uint32_t value,
                    double scale, uint32_t most) {
  nvidia_note(r, where, code);
  if (code != NVML_OK) sample_absent(r->sample, number, nvidia_reason(code));
  else if (value == UINT32_MAX) sample_absent(r->sample, number, UNSUPPORTED);
  else if (value > most) sample_absent(r->sample, number, ERROR);
  else sample_set(r->sample, number, scaled(value, scale));
}

void nvidia_set_u64(struct nvidia_read *r, enum number number, const char *where, int code, uint64_t value,
                    double scale) {
  nvidia_note(r, where, code);
  if (code != NVML_OK) sample_absent(r->sample, number, nvidia_reason(code));
  else if (value == UINT64_MAX || value == UINT32_MAX) sample_absent(r->sample, number, UNSUPPORTED);
  else sample_set(r->sample, number, scaled((double)value, scale));
}

// Fields.

struct nvml_field nvidia_field(uint32_t id, uint32_t scope) {
  return (struct nvml_field){.id = id, .scope = scope, .type = UINT32_MAX, .code = NVML_FUNCTION_NOT_FOUND};
}

double nvidia_field_value(const struct nvml_field *field, enum reason *reason) {
  // An id that this driver does not know is an invalid argument.
  int code = field->code == NVML_INVALID_ARGUMENT ? NVML_NOT_SUPPORTED : field->code;
  *reason = nvidia_reason(code);
  if (code != NVML_OK) return NAN;
  double value = NAN;
  switch (field->type) {
    case NVML_REAL:
      value = field->value.real;
      break;
    case NVML_U32:
      if (field->value.u32 == UINT32_MAX) *reason = UNSUPPORTED;
      else value = field->value.u32;
      break;
    case NVML_ULONG:
    case NVML_U64:
      if (field->value.u64 == UINT64_MAX) *reason = UNSUPPORTED;
      else value = (double)field->value.u64;
      break;
    case NVML_S64:
      value = (double)field->value.s64;
      break;
    case NVML_S32:
      value = field->value.s32;
      break;
    case NVML_U16:
      if (field->value.u16 == UINT16_MAX) *reason = UNSUPPORTED;
      else value = field->value.u16;
      break;
  }
  if (!isfinite(value) && *reason == PRESENT) *reason = ERROR;
  return isfinite(value) ? value : NAN;
}

void nvidia_set_field(struct nvidia_read *r, enum number number, const struct nvml_field *field, double scale,
                      double most) {
  enum reason reason;
  double value = nvidia_field_value(field, &reason);
  nvidia_note(r, "nvmlDeviceGetFieldValues", field->code);
  if (reason != PRESENT) sample_absent(r->sample, number, reason);
  else if (value < 0 || value > most) sample_absent(r->sample, number, ERROR);
  else sample_set(r->sample, number, scaled(value, scale));
}

// What the whole call says counts for every field that it was to answer.
static void ask_fields(struct nvidia_read *r, struct nvml_field *fields, int count) {
  int code = NVML(r->nvml, fields, r->device->handle, count, fields);
  nvidia_note(r, "nvmlDeviceGetFieldValues", code);
  for (int i = 0; i < count && code != NVML_OK; i++) fields[i].code = code;
}

// Hot: every tick.

static void read_power(struct nvidia_read *r) {
  unsigned milliwatts = UINT32_MAX;
  int code = NVML(r->nvml, power, r->device->handle, &milliwatts);
  nvidia_set_u32(r, NUMBER_POWER, "nvmlDeviceGetPowerUsage", code, milliwatts, 1e-3, MOST_MILLIWATTS);
  if (r->sample->reasons[NUMBER_POWER] != UNSUPPORTED) return;
  struct nvml_field fields[] = {nvidia_field(NVML_FIELD_POWER_AVERAGE, 0), nvidia_field(NVML_FIELD_POWER_INSTANT, 0)};
  ask_fields(r, fields, 2);
  for (int i = 0; i < 2 && r->sample->reasons[NUMBER_POWER] == UNSUPPORTED; i++)
    nvidia_set_field(r, NUMBER_POWER, &fields[i], 1e-3, MOST_MILLIWATTS);
}

static void read_utilization(struct nvidia_read *r) {
  static const char where[] = "nvmlDeviceGetUtilizationRates";
  ROOM(struct nvml_utilization) rates;
  nvml_room(&rates);
  int code = NVML(r->nvml, utilization, r->device->handle, &rates.it);
  nvidia_set_u32(r, NUMBER_BUSY, where, code, rates.it.gpu, 0.01, MOST_PERCENT);
  nvidia_set_u32(r, NUMBER_MEMORY_BUSY, where, code, rates.it.memory, 0.01, MOST_PERCENT);
}

static void read_clocks(struct nvidia_read *r) {
  static const char where[] = "nvmlDeviceGetClockInfo";
  unsigned mhz = UINT32_MAX;
  int code = NVML(r->nvml, clock, r->device->handle, NVML_CLOCK_SM, &mhz);
  nvidia_set_u32(r, NUMBER_CLOCK, where, code, mhz, 1e6, MOST_MHZ);
  if (r->fatal != NVML_OK) return;
  mhz = UINT32_MAX;
  code = NVML(r->nvml, clock, r->device->handle, NVML_CLOCK_MEMORY, &mhz);
  nvidia_set_u32(r, NUMBER_MEMORY_CLOCK, where, code, mhz, 1e6, MOST_MHZ);
}

static void set_memory(struct nvidia_read *r, const char *where, int code, uint64_t total, uint64_t used) {
  nvidia_set_u64(r, NUMBER_MEMORY_TOTAL, where, code, total, 1);
  nvidia_set_u64(r, NUMBER_MEMORY_USED, where, code, used, 1);
  if (code != NVML_OK || total == UINT64_MAX) return;
  // Boards without memory of their own have a total of nothing.
  if (total == 0) {
    sample_absent(r->sample, NUMBER_MEMORY_TOTAL, UNSUPPORTED);
    sample_absent(r->sample, NUMBER_MEMORY_USED, UNSUPPORTED);
    return;
  }
  if (total > MOST_BYTES) sample_absent(r->sample, NUMBER_MEMORY_TOTAL, ERROR);
  if (used != UINT64_MAX && (used > total || total > MOST_BYTES)) sample_absent(r->sample, NUMBER_MEMORY_USED, ERROR);
}

static void read_memory(struct nvidia_read *r) {
  ROOM(struct nvml_memory2) newer;
  nvml_room(&newer);
  newer.it.version = NVML_VERSION(struct nvml_memory2, 2);
  int code = NVML(r->nvml, memory2, r->device->handle, &newer.it);
  if (nvidia_reason(code) != UNSUPPORTED && code != NVML_INVALID_ARGUMENT) {
    set_memory(r, "nvmlDeviceGetMemoryInfo_v2", code, newer.it.total, newer.it.used);
    return;
  }
  ROOM(struct nvml_memory) older;
  nvml_room(&older);
  code = NVML(r->nvml, memory, r->device->handle, &older.it);
  set_memory(r, "nvmlDeviceGetMemoryInfo", code, older.it.total, older.it.used);
}

static void read_fast(struct nvidia_read *r) {
  static void (*const parts[])(struct nvidia_read *) = {read_power, read_utilization, read_clocks, read_memory,
                                                        nvidia_gpm_read};
  bool is_partition = r->extra->parent != NULL;
  for (size_t i = is_partition ? 3 : 0; i < sizeof parts / sizeof parts[0] && r->fatal == NVML_OK; i++) parts[i](r);
}

// Once a second.

static void set_celsius(struct nvidia_read *r, enum number number, const char *where, int code, int64_t celsius) {
  nvidia_note(r, where, code);
  if (code != NVML_OK) sample_absent(r->sample, number, nvidia_reason(code));
  // All ones: the library left it as it was.
  else if (celsius == -1 || celsius == UINT32_MAX) sample_absent(r->sample, number, UNSUPPORTED);
  else if (celsius < LEAST_CELSIUS || celsius > MOST_CELSIUS) sample_absent(r->sample, number, ERROR);
  else sample_set(r->sample, number, (double)celsius);
}

static void read_temperature(struct nvidia_read *r) {
  ROOM(struct nvml_temperature) newer;
  nvml_room(&newer);
  newer.it.version = NVML_VERSION(struct nvml_temperature, 1);
  newer.it.sensor = NVML_SENSOR_GPU;
  int code = NVML(r->nvml, temperature_v, r->device->handle, &newer.it);
  if (nvidia_reason(code) != UNSUPPORTED && code != NVML_INVALID_ARGUMENT) {
    set_celsius(r, NUMBER_TEMPERATURE, "nvmlDeviceGetTemperatureV", code, newer.it.celsius);
    return;
  }
  unsigned celsius = UINT32_MAX;
  code = NVML(r->nvml, temperature, r->device->handle, NVML_SENSOR_GPU, &celsius);
  set_celsius(r, NUMBER_TEMPERATURE, "nvmlDeviceGetTemperature", code, celsius);
}

static void read_throttling(struct nvidia_read *r) {
  static const struct {
    enum number number;
    uint64_t bit;
  } reasons[] = {
      {NUMBER_THROTTLE_POWER_CAP, NVML_REASON_POWER_CAP},     {NUMBER_THROTTLE_HW_SLOWDOWN, NVML_REASON_HW_SLOWDOWN},
      {NUMBER_THROTTLE_SW_THERMAL, NVML_REASON_SW_THERMAL},   {NUMBER_THROTTLE_HW_THERMAL, NVML_REASON_HW_THERMAL},
      {NUMBER_THROTTLE_POWER_BRAKE, NVML_REASON_POWER_BRAKE}, {NUMBER_THROTTLE_SYNC_BOOST, NVML_REASON_SYNC_BOOST},
  };
  uint64_t mask = UINT64_MAX;
  int code = NVML(r->nvml, reasons, r->device->handle, &mask);
  nvidia_note(r, "nvmlDeviceGetCurrentClocksEventReasons", code);
  enum reason reason = code == NVML_OK && mask == UINT64_MAX ? UNSUPPORTED : nvidia_reason(code);
  r->sample->signals[SIGNAL_THROTTLE_REASONS] = reason == PRESENT ? (double)mask : NAN;
  for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
    if (reason != PRESENT) sample_absent(r->sample, reasons[i].number, reason);
    else sample_set(r->sample, reasons[i].number, (mask & reasons[i].bit) != 0);
  }
}

static void read_engines(struct nvidia_read *r) {
  unsigned percent = UINT32_MAX, period_us = 0;
  int code = NVML(r->nvml, encoder, r->device->handle, &percent, &period_us);
  nvidia_set_u32(r, NUMBER_ENGINE_ENCODER, "nvmlDeviceGetEncoderUtilization", code, percent, 0.01, MOST_PERCENT);
  if (r->fatal != NVML_OK) return;
  percent = UINT32_MAX;
  code = NVML(r->nvml, decoder, r->device->handle, &percent, &period_us);
  nvidia_set_u32(r, NUMBER_ENGINE_DECODER, "nvmlDeviceGetDecoderUtilization", code, percent, 0.01, MOST_PERCENT);
}

static void read_fan(struct nvidia_read *r) {
  unsigned percent = UINT32_MAX;
  int code = NVML(r->nvml, fan, r->device->handle, &percent);
  if (nvidia_reason(code) == UNSUPPORTED) {
    percent = UINT32_MAX;
    code = NVML(r->nvml, fan2, r->device->handle, 0, &percent);
  }
  if (code == NVML_OK && percent > MOST_PERCENT && percent <= MOST_FAN_PERCENT) percent = MOST_PERCENT;
  nvidia_set_u32(r, NUMBER_FAN, "nvmlDeviceGetFanSpeed", code, percent, 0.01, MOST_PERCENT);
}

enum { FIELD_TEMPERATURE, FIELD_ENERGY, FIELD_TRANSMIT, FIELD_RECEIVE, FIELD_TRANSMIT5, FIELD_RECEIVE5, FIELD_COUNT };

// One call for all that only fields tell.
static void read_fields(struct nvidia_read *r) {
  struct nvml_field fields[FIELD_COUNT] = {
      [FIELD_TEMPERATURE] = nvidia_field(NVML_FIELD_MEMORY_TEMPERATURE, 0),
      [FIELD_ENERGY] = nvidia_field(NVML_FIELD_ENERGY, 0),
      [FIELD_TRANSMIT] = nvidia_field(NVML_FIELD_LINK_TRANSMIT, ALL_LINKS),
      [FIELD_RECEIVE] = nvidia_field(NVML_FIELD_LINK_RECEIVE, ALL_LINKS),
      [FIELD_TRANSMIT5] = nvidia_field(NVML_FIELD_LINK5_TRANSMIT, ALL_LINKS),
      [FIELD_RECEIVE5] = nvidia_field(NVML_FIELD_LINK5_RECEIVE, ALL_LINKS),
  };
  ask_fields(r, fields, FIELD_COUNT);
  // No memory is at zero degrees: that is how boards without such a sensor say so.
  nvidia_set_field(r, NUMBER_MEMORY_TEMPERATURE, &fields[FIELD_TEMPERATURE], 1, MOST_CELSIUS);
  if (r->sample->values[NUMBER_MEMORY_TEMPERATURE] == 0)
    sample_absent(r->sample, NUMBER_MEMORY_TEMPERATURE, UNSUPPORTED);
  if (r->sample->reasons[NUMBER_ENERGY] == UNSUPPORTED)
    nvidia_set_field(r, NUMBER_ENERGY, &fields[FIELD_ENERGY], 1e-3, 1e18);
  nvidia_set_field(r, NUMBER_LINK_TRANSMIT, &fields[FIELD_TRANSMIT], 1024, 1e18);
  nvidia_set_field(r, NUMBER_LINK_RECEIVE, &fields[FIELD_RECEIVE], 1024, 1e18);
  if (r->sample->reasons[NUMBER_LINK_TRANSMIT] == UNSUPPORTED)
    nvidia_set_field(r, NUMBER_LINK_TRANSMIT, &fields[FIELD_TRANSMIT5], 1, 1e18);
  if (r->sample->reasons[NUMBER_LINK_RECEIVE] == UNSUPPORTED)
    nvidia_set_field(r, NUMBER_LINK_RECEIVE, &fields[FIELD_RECEIVE5], 1, 1e18);
}

static void read_energy(struct nvidia_read *r) {
  uint64_t millijoules = UINT64_MAX;
  int code = NVML(r->nvml, energy, r->device->handle, &millijoules);
  nvidia_note(r, "nvmlDeviceGetTotalEnergyConsumption", code);
  if (code != NVML_OK) sample_absent(r->sample, NUMBER_ENERGY, nvidia_reason(code));
  else if (millijoules == UINT64_MAX) sample_absent(r->sample, NUMBER_ENERGY, UNSUPPORTED);
  else sample_set(r->sample, NUMBER_ENERGY, (double)millijoules / 1000);
}

static void read_second(struct nvidia_read *r) {
  static void (*const parts[])(struct nvidia_read *) = {read_temperature, read_throttling, read_engines,
                                                        read_fan,         read_energy,     read_fields};
  if (r->extra->parent != NULL) return;
  for (size_t i = 0; i < sizeof parts / sizeof parts[0] && r->fatal == NVML_OK; i++) parts[i](r);
}

// The whole.

// What is never told: of a partition, nearly everything; of a device, the engines of others.
static void begin(struct nvidia_read *r) {
  bool is_partition = r->extra->parent != NULL;
  for (int i = 0; i < NUMBER_COUNT; i++) {
    bool is_told = !is_partition || i == NUMBER_MEMORY_TOTAL || i == NUMBER_MEMORY_USED;
    bool is_foreign = i >= NUMBER_ENGINE_AICPU && i <= NUMBER_ENGINE_OVERALL;
    bool is_pipe = i >= NUMBER_PIPE_GRAPHICS && i <= NUMBER_PIPE_MEMORY;
    if (is_foreign || (is_pipe ? !r->device->has_pipes : !is_told)) sample_absent(r->sample, i, UNSUPPORTED);
  }
  r->extra->is_begun = true;
}

// Which numbers are announced, once all paces had their turn: the crew reads them in order.
static void find(struct nvidia_read *r) {
  static const enum number found[] = {
      NUMBER_FAN,           NUMBER_PCIE_REPLAYS,        NUMBER_PCIE_RECEIVE,        NUMBER_PCIE_TRANSMIT,
      NUMBER_LINK_RECEIVE,  NUMBER_LINK_TRANSMIT,       NUMBER_ENGINE_ENCODER,      NUMBER_ENGINE_DECODER,
      NUMBER_PIPE_GRAPHICS, NUMBER_PIPE_SM,             NUMBER_PIPE_OCCUPANCY,      NUMBER_PIPE_TENSOR,
      NUMBER_PIPE_DFMA,     NUMBER_PIPE_HMMA,           NUMBER_PIPE_DMMA,           NUMBER_PIPE_IMMA,
      NUMBER_PIPE_FP64,     NUMBER_PIPE_FP32,           NUMBER_PIPE_FP16,           NUMBER_PIPE_MEMORY,
      NUMBER_THROTTLE_POWER_CAP,  NUMBER_THROTTLE_HW_SLOWDOWN, NUMBER_THROTTLE_SW_THERMAL,
      NUMBER_THROTTLE_HW_THERMAL, NUMBER_THROTTLE_POWER_BRAKE, NUMBER_THROTTLE_SYNC_BOOST,
  };
  for (size_t i = 0; i < sizeof found / sizeof found[0]; i++)
    if (r->sample->reasons[found[i]] != UNSUPPORTED) r->device->has |= 1ull << found[i];
  r->extra->is_found = true;
}

enum outcome nvidia_read(void *session, struct device *device, enum pace pace, struct sample *sample) {
  struct nvidia_session *s = session;
  struct nvidia_read r = {s, &s->nvml, device, device->extra, sample, NVML_OK, ""};
  if (!r.extra->is_begun) begin(&r);
  int code = device->handle != NULL ? NVML_OK : s->nvml.handle((unsigned)device->index, (nvml_device *)&device->handle);
  if (code == NVML_OK && device->handle == NULL) code = NVML_UNKNOWN;
  if (code != NVML_OK) {
    device->handle = NULL;
    nvidia_problem(sample->problem, sizeof sample->problem, "nvmlDeviceGetHandleByIndex", code);
    return nvidia_outcome(code);
  }
  if (pace == PACE_FAST) read_fast(&r);
  else if (pace == PACE_SECOND) read_second(&r);
  else nvidia_read_slow(&r);
  if (r.fatal == NVML_OK) {
    if (pace == PACE_SLOW && !r.extra->is_found) find(&r);
    return OUTCOME_OK;
  }
  nvidia_problem(sample->problem, sizeof sample->problem, r.where, r.fatal);
  return nvidia_outcome(r.fatal);
}
