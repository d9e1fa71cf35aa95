// The numbers of a chip that change all the time, and its health. FAST: how busy the cores are, power, temperature,
// clock, level of health. SECOND: memory, the other engines, why the clock is reduced, error codes.
//
// How busy the cores are comes from one call where the library has it, else from one call per engine.
#include <string.h>

#include "ascend.h"

static const double PERCENT = 0.01, MEGA = 1e6, MEBI = 1048576;
enum { MAX_MEGAHERTZ = 10000, MAX_DECIWATTS = 30000, MIN_CELSIUS = -60, MAX_CELSIUS = 200 };
static const int64_t MAX_MEMORY_MB = (int64_t)1 << 32;

// Busy.

// Hot: every tick.
static void set_engine(struct ascend_round *r, enum number number, enum ascend_ask ask, int code, uint32_t percent) {
  if (ascend_set(r, number, ask, code, percent, PERCENT, 0, 100)) ascend_found(r, number);
}

#define READ_ENGINE(r, number, ask, selector)                                    \
  do {                                                                           \
    uint32_t percent[4] = {0};                                                   \
    int engine_code = ASCEND_ASK(r, ask, busy, selector, percent);               \
    set_engine(r, number, ASK_##ask, engine_code, percent[0]);                   \
  } while (0)

static bool has_busy_all(const struct ascend_round *r) { return (r->asked->dropped >> ASK_BUSY_ALL & 1) == 0; }

// Hot: every tick.
static void read_busy(struct ascend_round *r) {
  struct dcmi_busy busy = {0};
  int code = ASCEND_ASK(r, BUSY_ALL, busy_all, &busy);
  bool is_told = code == DCMI_OK || ascend_reason(r, ASK_BUSY_ALL, code) != UNSUPPORTED;
  if (!is_told) {
    READ_ENGINE(r, NUMBER_BUSY, BUSY_AICORE, DCMI_BUSY_AICORE);
    return;
  }
  ascend_set(r, NUMBER_BUSY, ASK_BUSY_ALL, code, busy.aicore, PERCENT, 0, 100);
  set_engine(r, NUMBER_ENGINE_CUBE, ASK_BUSY_ALL, code, busy.cube);
  set_engine(r, NUMBER_ENGINE_VECTOR, ASK_BUSY_ALL, code, busy.vector);
  set_engine(r, NUMBER_ENGINE_OVERALL, ASK_BUSY_ALL, code, busy.npu);
}

static void read_engines(struct ascend_round *r) {
  READ_ENGINE(r, NUMBER_ENGINE_AICPU, BUSY_AICPU, DCMI_BUSY_AICPU);
  READ_ENGINE(r, NUMBER_ENGINE_CONTROL_CPU, BUSY_CONTROL_CPU, DCMI_BUSY_CONTROL_CPU);
  if (has_busy_all(r) && (r->asked->worked >> ASK_BUSY_ALL & 1) != 0) return;
  READ_ENGINE(r, NUMBER_ENGINE_VECTOR, BUSY_VECTOR, DCMI_BUSY_VECTOR);
  READ_ENGINE(r, NUMBER_ENGINE_OVERALL, BUSY_NPU, DCMI_BUSY_NPU);
  READ_ENGINE(r, NUMBER_ENGINE_CUBE, BUSY_CUBE, DCMI_BUSY_CUBE);
}

// Power, temperature, clock.

// Hot: every tick.
static void read_core(struct ascend_round *r) {
  int32_t value[4] = {0};
  int code = ASCEND_ASK(r, POWER, power, value);
  ascend_set(r, NUMBER_POWER, ASK_POWER, code, value[0], 0.1, 0, MAX_DECIWATTS);
  value[0] = 0;
  code = ASCEND_ASK(r, TEMPERATURE, temperature, value);
  ascend_set(r, NUMBER_TEMPERATURE, ASK_TEMPERATURE, code, value[0], 1, MIN_CELSIUS, MAX_CELSIUS);
  struct dcmi_aicore aicore = {0};
  code = ASCEND_ASK(r, AICORE, aicore, &aicore);
  if (code == DCMI_OK || ascend_reason(r, ASK_AICORE, code) != UNSUPPORTED) {
    ascend_set(r, NUMBER_CLOCK, ASK_AICORE, code, aicore.current, MEGA, 1, MAX_MEGAHERTZ);
    return;
  }
  uint32_t megahertz[4] = {0};
  code = ASCEND_ASK(r, CLOCK_AICORE, clock, DCMI_CLOCK_AICORE, megahertz);
  ascend_set(r, NUMBER_CLOCK, ASK_CLOCK_AICORE, code, megahertz[0], MEGA, 1, MAX_MEGAHERTZ);
}

// Memory.

static void absent_memory(struct ascend_round *r, enum reason reason) {
  static const enum number numbers[] = {NUMBER_MEMORY_TOTAL, NUMBER_MEMORY_USED, NUMBER_MEMORY_CLOCK,
                                        NUMBER_MEMORY_TEMPERATURE, NUMBER_MEMORY_BUSY};
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) sample_absent(r->sample, numbers[i], reason);
}

static void set_memory(struct ascend_round *r, enum ascend_ask ask, uint64_t size_mb, uint64_t used_mb,
                       uint32_t megahertz) {
  int64_t size = size_mb > (uint64_t)MAX_MEMORY_MB ? MAX_MEMORY_MB + 1 : (int64_t)size_mb;
  int64_t used = used_mb > (uint64_t)MAX_MEMORY_MB ? MAX_MEMORY_MB + 1 : (int64_t)used_mb;
  ascend_set(r, NUMBER_MEMORY_TOTAL, ask, DCMI_OK, size, MEBI, 1, MAX_MEMORY_MB);
  // More used than there is: one of the two is wrong, and nobody knows which.
  ascend_set(r, NUMBER_MEMORY_USED, ask, DCMI_OK, used, MEBI, 0, size);
  ascend_set(r, NUMBER_MEMORY_CLOCK, ask, DCMI_OK, megahertz, MEGA, 1, MAX_MEGAHERTZ);
}

static void read_memory_busy(struct ascend_round *r, bool is_hbm) {
  uint32_t percent[4] = {0};
  int code = is_hbm ? ASCEND_ASK(r, BUSY_HBM, busy, DCMI_BUSY_HBM_BANDWIDTH, percent)
                    : ASCEND_ASK(r, BUSY_DDR, busy, DCMI_BUSY_DDR_BANDWIDTH, percent);
  ascend_set(r, NUMBER_MEMORY_BUSY, is_hbm ? ASK_BUSY_HBM : ASK_BUSY_DDR, code, percent[0], PERCENT, 0, 100);
}

// UNSUPPORTED where the chip has none.
static enum reason read_hbm(struct ascend_round *r) {
  struct dcmi_hbm hbm = {0};
  enum ascend_ask ask = ASK_HBM;
  int code = ASCEND_ASK(r, HBM, hbm, &hbm);
  if (code != DCMI_OK && ascend_reason(r, ASK_HBM, code) == UNSUPPORTED) {
    ask = ASK_HBM_OLD;
    code = ASCEND_ASK(r, HBM_OLD, hbm_old, &hbm);
    hbm.size /= 1024;
    hbm.used /= 1024;
  }
  if (code != DCMI_OK) return ascend_reason(r, ask, code);
  if (hbm.size == 0) return UNSUPPORTED;
  set_memory(r, ask, hbm.size, hbm.used, hbm.megahertz);
  ascend_set(r, NUMBER_MEMORY_TEMPERATURE, ask, code, hbm.celsius, 1, MIN_CELSIUS, MAX_CELSIUS);
  if (!ascend_set(r, NUMBER_MEMORY_BUSY, ask, code, hbm.bandwidth_percent, PERCENT, 0, 100)) read_memory_busy(r, true);
  return PRESENT;
}

static enum reason read_ddr(struct ascend_round *r) {
  struct dcmi_memory memory = {0};
  int code = ASCEND_ASK(r, MEMORY, memory, &memory);
  enum reason reason = ascend_reason(r, ASK_MEMORY, code);
  if (code == DCMI_OK && memory.size_mb > 0) {
    uint64_t used = memory.available_mb <= memory.size_mb ? memory.size_mb - memory.available_mb : UINT64_MAX;
    set_memory(r, ASK_MEMORY, memory.size_mb, used, memory.megahertz);
  } else if (code == DCMI_OK || reason == UNSUPPORTED) {
    struct dcmi_memory_old old = {0};
    code = ASCEND_ASK(r, MEMORY_OLD, memory_old, &old);
    if (code != DCMI_OK || old.size_mb == 0) return code == DCMI_OK ? UNSUPPORTED : ascend_reason(r, ASK_MEMORY_OLD, code);
    uint64_t used = old.used_percent <= 100 ? old.size_mb * old.used_percent / 100 : UINT64_MAX;
    set_memory(r, ASK_MEMORY_OLD, old.size_mb, used, old.megahertz);
  } else return reason;
  sample_absent(r->sample, NUMBER_MEMORY_TEMPERATURE, UNSUPPORTED);
  read_memory_busy(r, false);
  return PRESENT;
}

// Chips with HBM have some DDR as well, for their processors; it is not what jobs use.
static void read_memory(struct ascend_round *r) {
  enum reason reason = UNSUPPORTED;
  enum ascend_memory kind = r->extra->memory;
  if (kind != MEMORY_DDR) {
    reason = read_hbm(r);
    kind = MEMORY_HBM;
  }
  if (reason == UNSUPPORTED && r->extra->memory != MEMORY_HBM) {
    reason = read_ddr(r);
    kind = MEMORY_DDR;
  }
  if (reason == PRESENT) r->extra->memory = kind;
  else absent_memory(r, reason);
}

// Health.

static void read_codes(struct ascend_round *r) {
  uint32_t codes[DCMI_CODES + DCMI_ROOM / 4] = {0};
  int32_t count[4] = {0};
  int code = ASCEND_ASK(r, CODES, codes, count, codes, DCMI_CODES);
  struct sample *sample = r->sample;
  // What stood stands until the chip says otherwise.
  if (code != DCMI_OK && ascend_reason(r, ASK_CODES, code) != UNSUPPORTED) return;
  sample->code_count = 0;
  for (int32_t i = 0; code == DCMI_OK && i < count[0] && i < DCMI_CODES && sample->code_count < MAX_CODES; i++) {
    bool is_known = codes[i] == 0;
    for (size_t before = 0; before < sample->code_count; before++)
      is_known = is_known || sample->codes[before] == codes[i];
    if (!is_known) sample->codes[sample->code_count++] = codes[i];
  }
}

// Hot: every tick. The codes are also read when the level has changed.
void ascend_read_health(struct ascend_round *r, bool with_codes) {
  uint32_t level[4] = {0};
  int code = ASCEND_ASK(r, HEALTH, health, level);
  double health = code == DCMI_OK && level[0] <= 3 ? (double)level[0] : NAN;
  bool is_changed = !isnan(health) && health != r->extra->health;
  r->extra->health = health;
  r->sample->signals[SIGNAL_HEALTH_LEVEL] = health;
  if (with_codes || is_changed) read_codes(r);
}

static void set_throttled(struct ascend_round *r, enum number number, uint64_t bits) {
  ascend_found(r, number);
  sample_set(r->sample, number, bits != 0 ? 1 : 0);
}

static void read_cause(struct ascend_round *r) {
  static const enum number numbers[] = {NUMBER_THROTTLE_POWER_CAP, NUMBER_THROTTLE_HW_SLOWDOWN,
                                        NUMBER_THROTTLE_SW_THERMAL, NUMBER_THROTTLE_POWER_BRAKE};
  struct dcmi_cause cause = {0};
  uint32_t size = DCMI_CAUSE_SIZE;
  int code = ASCEND_ASK(r, CAUSE, info, DCMI_MAIN_LOW_POWER, DCMI_LOW_POWER_CAUSE, &cause, &size);
  if (code != DCMI_OK || cause.bits == UINT64_MAX) {
    enum reason reason = code == DCMI_OK ? UNSUPPORTED : ascend_reason(r, ASK_CAUSE, code);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) sample_absent(r->sample, numbers[i], reason);
    r->sample->signals[SIGNAL_CLOCK_REDUCTION] = NAN;
    return;
  }
  // A chip without work is well.
  r->sample->signals[SIGNAL_CLOCK_REDUCTION] = (double)(cause.bits & ~(uint64_t)DCMI_CAUSE_IDLE);
  set_throttled(r, NUMBER_THROTTLE_POWER_CAP, cause.bits & (DCMI_CAUSE_POWER_CAP | DCMI_CAUSE_CURRENT));
  set_throttled(r, NUMBER_THROTTLE_HW_SLOWDOWN, cause.bits & (DCMI_CAUSE_CURRENT_PEAK | DCMI_CAUSE_VOLTAGE_NOISE));
  set_throttled(r, NUMBER_THROTTLE_SW_THERMAL, cause.bits & DCMI_CAUSE_THERMAL);
  set_throttled(r, NUMBER_THROTTLE_POWER_BRAKE, cause.bits & DCMI_CAUSE_POWER_BRAKE);
}

// Parts. They have cores and memory of their own; the rest is their chip's, and only its health is told for both.

static void read_activity(struct ascend_round *r) {
  struct dcmi_part part = {.id = r->extra->part};
  uint32_t size = DCMI_PART_SIZE;
  int code = ASCEND_ASK(r, ACTIVITY, info, DCMI_MAIN_PARTS, DCMI_PARTS_ACTIVITY, &part, &size);
  ascend_set(r, NUMBER_BUSY, ASK_ACTIVITY, code, part.resources.busy_percent, PERCENT, 0, 100);
  uint64_t total_mb = part.resources.memory_kb / 1024, free_mb = part.resources.memory_free_kb / 1024;
  if (code == DCMI_OK && total_mb > 0) {
    set_memory(r, ASK_ACTIVITY, total_mb, free_mb <= total_mb ? total_mb - free_mb : UINT64_MAX, 0);
    return;
  }
  sample_absent(r->sample, NUMBER_MEMORY_USED, code == DCMI_OK ? UNSUPPORTED : ascend_reason(r, ASK_ACTIVITY, code));
  // How large it was made.
  part = (struct dcmi_part){.id = r->extra->part};
  size = DCMI_PART_SIZE;
  code = ASCEND_ASK(r, PART, info, DCMI_MAIN_PARTS, DCMI_PARTS_ONE, &part, &size);
  uint64_t mb = part.resources.memory_mb;
  ascend_set(r, NUMBER_MEMORY_TOTAL, ASK_PART, code, mb > (uint64_t)MAX_MEMORY_MB ? -1 : (int64_t)mb, MEBI, 1, MAX_MEMORY_MB);
}

static void read_part(struct ascend_round *r, enum pace pace) {
  if (pace == PACE_FAST) read_activity(r);
  else if (pace == PACE_SECOND) ascend_read_health(r, true);
  else {
    for (int number = 0; number < NUMBER_COUNT; number++)
      if (number != NUMBER_BUSY && number != NUMBER_MEMORY_TOTAL && number != NUMBER_MEMORY_USED)
        sample_absent(r->sample, (enum number)number, UNSUPPORTED);
    r->sample->processes_reason = UNSUPPORTED;
    r->sample->process_count = 0;
  }
}

enum outcome ascend_read(void *session, struct device *device, enum pace pace, struct sample *sample) {
  struct ascend_extra *extra = device->extra;
  struct ascend_round r = {.session = session, .address = extra->address, .asked = &extra->asked,
                           .device = device, .extra = extra, .sample = sample};
  if (extra->is_part) read_part(&r, pace);
  else if (pace == PACE_FAST) {
    read_busy(&r);
    read_core(&r);
    ascend_read_health(&r, false);
  } else if (pace == PACE_SECOND) {
    read_memory(&r);
    read_engines(&r);
    read_cause(&r);
    ascend_read_health(&r, true);
  } else ascend_read_slow(&r);
  return ascend_outcome(&r);
}
