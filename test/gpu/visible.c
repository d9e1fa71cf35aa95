// Prints how many GPUs CUDA shows this process, and their UUIDs, one a line. Needs libcuda.so.1 and nothing else.
#include <dlfcn.h>
#include <stdio.h>

typedef int (*init_call)(unsigned);
typedef int (*count_call)(int *);
typedef int (*get_call)(int *, int);
typedef int (*uuid_call)(unsigned char[16], int);

int main(void) {
  void *cuda = dlopen("libcuda.so.1", RTLD_NOW);
  if (cuda == NULL) {
    fprintf(stderr, "visible: %s\n", dlerror());
    return 2;
  }
  init_call init = (init_call)dlsym(cuda, "cuInit");
  count_call count_devices = (count_call)dlsym(cuda, "cuDeviceGetCount");
  get_call get = (get_call)dlsym(cuda, "cuDeviceGet");
  uuid_call uuid = (uuid_call)dlsym(cuda, "cuDeviceGetUuid_v2");
  if (uuid == NULL) uuid = (uuid_call)dlsym(cuda, "cuDeviceGetUuid");
  if (init == NULL || count_devices == NULL || get == NULL || uuid == NULL) {
    fprintf(stderr, "visible: libcuda.so.1 lacks a call\n");
    return 2;
  }
  // 100: no device is visible, which is an answer.
  int code = init(0);
  int count = 0;
  if (code == 0) code = count_devices(&count);
  if (code != 0 && code != 100) {
    fprintf(stderr, "visible: CUDA says %d\n", code);
    return 2;
  }
  printf("%d\n", count);
  for (int i = 0; i < count; i++) {
    int device;
    unsigned char id[16];
    if (get(&device, i) != 0 || uuid(id, device) != 0) return 2;
    printf("GPU-");
    for (int b = 0; b < 16; b++) printf("%s%02x", b == 4 || b == 6 || b == 8 || b == 10 ? "-" : "", id[b]);
    printf("\n");
  }
  return 0;
}
