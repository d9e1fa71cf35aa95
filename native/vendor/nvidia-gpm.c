// Pipe counters (GPM, Hopper and later): what share of their peak the parts of the multiprocessors worked, between two
// samples. The library wants more than 100 ms between them. Of a MIG instance the counters are those of its GPU
// instance, which two compute instances may share.
#include "../clock.h"
#include "nvidia.h"

static const int64_t LEAST_NS = 150000000;    // between two samples: every second tick of the usual reader
static const int64_t MOST_NS = 5000000000;    // an older sample says nothing of the present
static const int64_t RETRY_NS = 10000000000;  // after a refusal

static const struct {
  uint32_t id;
  enum number number;
} asked[NVIDIA_ASKED] = {
    {NVML_GPM_GRAPHICS, NUMBER_PIPE_GRAPHICS},
    {NVML_GPM_SM, NUMBER_PIPE_SM},
    {NVML_GPM_OCCUPANCY, NUMBER_PIPE_OCCUPANCY},
    {NVML_GPM_TENSOR, NUMBER_PIPE_TENSOR},
    {NVML_GPM_DFMA, NUMBER_PIPE_DFMA},
    {NVML_GPM_HMMA, NUMBER_PIPE_HMMA},
    {NVML_GPM_DMMA, NUMBER_PIPE_DMMA},
    {NVML_GPM_IMMA, NUMBER_PIPE_IMMA},
    {NVML_GPM_FP64, NUMBER_PIPE_FP64},
    {NVML_GPM_FP32, NUMBER_PIPE_FP32},
    {NVML_GPM_FP16, NUMBER_PIPE_FP16},
    {NVML_GPM_MEMORY, NUMBER_PIPE_MEMORY},
    {NVML_GPM_PCIE_TRANSMIT, NUMBER_PCIE_TRANSMIT},
    {NVML_GPM_PCIE_RECEIVE, NUMBER_PCIE_RECEIVE},
};

// PCIe is the whole device's, and has another source there.
static int asked_count(const struct nvidia_read *r) {
  return r->extra->parent != NULL ? NVIDIA_PIPES : NVIDIA_ASKED;
}

static void pipes_absent(struct nvidia_read *r, enum reason reason) {
  for (int i = 0; i < NVIDIA_PIPES; i++) sample_absent(r->sample, asked[i].number, reason);
  r->extra->gpm.has_pcie = false;
}

void nvidia_gpm_prepare(struct nvidia_read *r) {
  struct nvidia_gpm *gpm = &r->extra->gpm;
  if (!r->device->has_pipes || gpm->is_ready) return;
  for (int i = 0; i < 2; i++) {
    int code = gpm->samples[i] != NULL ? NVML_OK : NVML(r->nvml, gpm_alloc, &gpm->samples[i]);
    if (code == NVML_OK && gpm->samples[i] != NULL) continue;
    gpm->samples[i] = NULL;
    pipes_absent(r, code == NVML_OK ? ERROR : nvidia_reason(code));
    return;
  }
  gpm->is_ready = true;
  // PCIe rates are to come from here, until it turns out that they do not.
  gpm->has_pcie = r->extra->parent == NULL;
}

void nvidia_gpm_release(struct nvidia_extra *extra) {
  for (int i = 0; i < 2; i++)
    if (extra->gpm.samples[i] != NULL) NVML(extra->nvml, gpm_free, extra->gpm.samples[i]);
}

static void ask_for(struct nvml_gpm_metrics *metrics, uint32_t id) {
  metrics->metrics[metrics->count++] = (struct nvml_gpm_metric){.id = id, .code = NVML_UNKNOWN, .value = NAN};
}

// An id that a library does not know may fail the whole call: each is tried alone, once.
static void find_known(struct nvidia_read *r, struct nvml_gpm_metrics *metrics) {
  struct nvidia_gpm *gpm = &r->extra->gpm;
  for (int i = 0; i < asked_count(r); i++) {
    metrics->count = 0;
    ask_for(metrics, asked[i].id);
    int code = r->nvml->gpm_metrics(metrics);
    if (code == NVML_INVALID_ARGUMENT || nvidia_reason(code) == UNSUPPORTED) gpm->dropped[i] = UNSUPPORTED;
  }
}

static void set_metric(struct nvidia_read *r, int which, const struct nvml_gpm_metric *metric) {
  enum number number = asked[which].number;
  bool is_pcie = which >= NVIDIA_PIPES;
  int code = metric->code == NVML_INVALID_ARGUMENT ? NVML_NOT_SUPPORTED : metric->code;
  double most = is_pcie ? 1e6 : 100.5;
  if (is_pcie && (code != NVML_OK || !isfinite(metric->value))) {
    r->extra->gpm.has_pcie = false;
    return;
  }
  if (code != NVML_OK) sample_absent(r->sample, number, nvidia_reason(code));
  // Not a number is how the library says that nothing was counted.
  else if (isnan(metric->value)) sample_absent(r->sample, number, NOT_YET);
  else if (metric->value < 0 || metric->value > most) sample_absent(r->sample, number, ERROR);
  else if (is_pcie) sample_set(r->sample, number, metric->value * 1048576);
  else sample_set(r->sample, number, metric->value > 100 ? 1 : metric->value / 100);
}

static void compute(struct nvidia_read *r, nvml_gpm first, nvml_gpm second) {
  struct nvidia_gpm *gpm = &r->extra->gpm;
  struct nvml_gpm_metrics metrics = {.version = 1, .first = first, .second = second};
  int code = NVML_OK, place = 0;
  for (int tries = 0; tries < 2; tries++) {
    metrics.count = 0;
    for (int i = 0; i < asked_count(r); i++)
      if (gpm->dropped[i] == 0) ask_for(&metrics, asked[i].id);
    if (metrics.count > 0) code = r->nvml->gpm_metrics(&metrics);
    if (!nvidia_note(r, "nvmlGpmMetricsGet", code) || code == NVML_OK || gpm->was_asked) break;
    gpm->was_asked = true;
    find_known(r, &metrics);
  }
  if (code != NVML_OK) {
    pipes_absent(r, nvidia_reason(code));
    return;
  }
  if (asked_count(r) == NVIDIA_ASKED) gpm->has_pcie = true;
  for (int i = 0; i < asked_count(r); i++) {
    struct nvml_gpm_metric dropped = {.code = NVML_NOT_SUPPORTED};
    set_metric(r, i, gpm->dropped[i] == 0 ? &metrics.metrics[place++] : &dropped);
  }
}

// Hot: every tick.
void nvidia_gpm_read(struct nvidia_read *r) {
  struct nvidia_gpm *gpm = &r->extra->gpm;
  int64_t now_ns = monotonic_ns();
  if (!gpm->is_ready || now_ns < gpm->due_ns) return;
  int next = 1 - gpm->newest;
  int code = r->extra->parent != NULL
                 ? NVML(r->nvml, gpm_mig_sample, r->extra->parent, r->extra->gpu_instance, gpm->samples[next])
                 : NVML(r->nvml, gpm_sample, r->device->handle, gpm->samples[next]);
  if (!nvidia_note(r, "nvmlGpmSampleGet", code)) return;
  if (code != NVML_OK) {
    pipes_absent(r, nvidia_reason(code));
    gpm->taken_ns = 0;
    gpm->due_ns = now_ns + RETRY_NS;
    return;
  }
  bool is_pair = gpm->taken_ns != 0 && now_ns - gpm->taken_ns < MOST_NS;
  gpm->newest = next;
  gpm->taken_ns = now_ns;
  gpm->due_ns = now_ns + LEAST_NS;
  if (is_pair) compute(r, gpm->samples[1 - next], gpm->samples[next]);
}
