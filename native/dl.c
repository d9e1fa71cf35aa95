#include "dl.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>

// Whether the loader says that the file itself is not there; a library that *it* needs is another matter.
static bool is_absent(const char *error, const char *candidate) {
  size_t length = strlen(candidate);
  return strncmp(error, candidate, length) == 0 && error[length] == ':' && strstr(error, "No such file") != NULL;
}

enum dl_result dl_open(const char *const *candidates, size_t count, void **library, char *opened, size_t opened_size,
                       char *problem, size_t problem_size) {
  *library = NULL;
  enum dl_result result = DL_MISSING;
  for (size_t i = 0; i < count; i++) {
    const char *candidate = candidates[i];
    if (candidate == NULL || candidate[0] == '\0') continue;
    if (strchr(candidate, '/') != NULL && candidate[0] != '/') continue;
    // LOCAL keeps its symbols out of this process's other libraries; NOW finds what it lacks here and not in a call.
    *library = dlopen(candidate, RTLD_NOW | RTLD_LOCAL);
    if (*library != NULL) {
      struct link_map *map = NULL;
      bool known = dlinfo(*library, RTLD_DI_LINKMAP, &map) == 0 && map != NULL && map->l_name[0] != '\0';
      snprintf(opened, opened_size, "%s", known ? map->l_name : candidate);
      return DL_OPENED;
    }
    const char *error = dlerror();
    if (error == NULL) error = "unknown error of the loader";
    if (is_absent(error, candidate) || result == DL_BROKEN) continue;
    result = DL_BROKEN;
    snprintf(problem, problem_size, "%s", error);
  }
  return result;
}

const char *dl_fill(void *library, const struct dl_symbol *symbols, size_t count, void *table) {
  const char *missing = NULL;
  for (size_t i = 0; i < count; i++) {
    void *found = NULL;
    for (size_t name = 0; name < DL_NAMES && found == NULL && symbols[i].names[name] != NULL; name++)
      found = dlsym(library, symbols[i].names[name]);
    if (found == NULL && symbols[i].required && missing == NULL) missing = symbols[i].names[0];
    memcpy((char *)table + symbols[i].offset, &found, sizeof found);
  }
  return missing;
}

void dl_close(void *library) {
  if (library != NULL) dlclose(library);
}
