#include "event-store.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const int64_t SAME_NS = 5000000000;

void event_store_init(struct event_store *store, bool (*wake)(void)) {
  pthread_mutex_init(&store->lock, NULL);
  store->wake = wake;
}

static bool is_same(const struct happening *a, const struct happening *b) {
  return a->number == b->number && a->kind == b->kind && a->code == b->code &&
         (a->number >= 0 || strcmp(a->bus_id, b->bus_id) == 0);
}

void event_store_add(struct event_store *store, const struct happening *happening) {
  pthread_mutex_lock(&store->lock);
  size_t at = 0;
  while (at < store->count && !is_same(&store->happenings[at], happening)) at++;
  // A kind too many is left out: its device's state is told by the report as well.
  if (at < store->count) store->happenings[at].count += happening->count;
  else if (at < MAX_KINDS) store->happenings[store->count++] = *happening;
  // Called with the lock held, so that nobody is woken after he has ended it.
  if (!store->is_woken) store->is_woken = store->wake != NULL && store->wake();
  pthread_mutex_unlock(&store->lock);
}

static struct recent *find_recent(struct event_store *store, uint64_t place, uint32_t code, int64_t now_ns) {
  struct recent *oldest = NULL;
  for (size_t i = 0; i < store->recent_count; i++) {
    struct recent *recent = &store->recents[i];
    if (recent->place == place && recent->code == code) {
      if (now_ns - recent->last_ns > SAME_NS) memset(recent->counts, 0, sizeof recent->counts);
      return recent;
    }
    if (oldest == NULL || recent->last_ns < oldest->last_ns) oldest = recent;
  }
  struct recent *free = store->recent_count < MAX_RECENT ? &store->recents[store->recent_count++] : oldest;
  *free = (struct recent){.place = place, .code = code};
  return free;
}

uint64_t event_store_news(struct event_store *store, enum event_source source, uint64_t place, uint32_t code,
                          uint64_t count, int64_t now_ns) {
  pthread_mutex_lock(&store->lock);
  struct recent *recent = find_recent(store, place, code, now_ns);
  uint64_t before = recent->counts[0] > recent->counts[1] ? recent->counts[0] : recent->counts[1];
  recent->counts[source] += count;
  recent->last_ns = now_ns;
  uint64_t after = recent->counts[source] > before ? recent->counts[source] : before;
  pthread_mutex_unlock(&store->lock);
  return after - before;
}

size_t event_store_take(struct event_store *store, struct happening *happenings) {
  pthread_mutex_lock(&store->lock);
  size_t count = store->count;
  memcpy(happenings, store->happenings, count * sizeof *happenings);
  store->count = 0;
  store->is_woken = false;
  pthread_mutex_unlock(&store->lock);
  return count;
}

static bool take_hex(const char **at, unsigned limit, uint64_t *value) {
  char *end;
  *value = strtoull(*at, &end, 16);
  bool is_right = isxdigit((unsigned char)**at) && end - *at <= 8 && *value <= limit;
  *at = end;
  return is_right;
}

bool place_of_address(const char *address, uint64_t *place) {
  uint64_t domain, bus, device;
  if (!take_hex(&address, UINT32_MAX, &domain) || *address++ != ':') return false;
  if (!take_hex(&address, 0xff, &bus) || *address++ != ':') return false;
  if (!take_hex(&address, 0x1f, &device) || (*address != '\0' && *address != '.')) return false;
  *place = domain << 16 | bus << 8 | device;
  return true;
}

uint64_t place_of_id(const char *id) {
  // FNV-1a, with the top bit set: no PCI address has it.
  uint64_t hash = 0xcbf29ce484222325u;
  for (; *id != '\0'; id++) hash = (hash ^ (unsigned char)*id) * 0x100000001b3u;
  return hash | UINT64_C(1) << 63;
}
