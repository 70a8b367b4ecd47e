/* NVML: the card's state, and who holds its memory. https://docs.nvidia.com/deploy/nvml-api */
#include "card.h"
#include <stdio.h>

enum { UNSUPPORTED = 3, INSUFFICIENT_SIZE = 7 };

typedef struct {
  unsigned long long total, left, used;
} memory;
typedef struct {
  unsigned pid;
  unsigned long long bytes;
  unsigned instance, compute;
} process;

static void *const handle = (void *)1;

int nvmlInit_v2(void) { return FINE; }
int nvmlInitWithFlags(unsigned flags) { return FINE; }
int nvmlShutdown(void) { return FINE; }
const char *nvmlErrorString(int error) {
  return error == INSUFFICIENT_SIZE ? "Insufficient Size" : "not simulated";
}
int nvmlSystemGetDriverVersion(char *text, unsigned length) {
  return snprintf(text, length, "580.00.00"), FINE;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) { return *version = 13000, FINE; }
int nvmlDeviceGetCount_v2(unsigned *count) { return *count = 1, FINE; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **found) { return *found = handle, FINE; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **found) { return *found = handle, FINE; }
int nvmlDeviceGetUUID(void *card, char *text, unsigned length) {
  return snprintf(text, length, "GPU-00000000-0000-0000-0000-000000000001"), FINE;
}
int nvmlDeviceGetName(void *card, char *text, unsigned length) {
  return snprintf(text, length, NAME), FINE;
}
int nvmlDeviceGetMemoryInfo(void *card, memory *found) {
  found->total = card_total();
  found->used = card_used();
  found->left = found->total - found->used;
  return FINE;
}
int nvmlDeviceGetClockInfo(void *card, int which, unsigned *mhz) { return *mhz = 1980, FINE; }
int nvmlDeviceGetTemperature(void *card, int which, unsigned *celsius) {
  return *celsius = 41, FINE;
}
/* SIMULATED_CARD_THROTTLE: bits of nvml.h, for a clock that is held down. */
int nvmlDeviceGetCurrentClocksEventReasons(void *card, unsigned long long *bits) {
  return *bits = setting("THROTTLE", 0), FINE;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *card, unsigned *count, process *found) {
  int pids[256];
  uint64_t bytes[256];
  unsigned room = *count;
  *count = card_processes(256, pids, bytes);
  if (*count > room) return INSUFFICIENT_SIZE;
  for (unsigned i = 0; i < *count; i++) found[i] = (process){pids[i], bytes[i], ~0u, ~0u};
  return FINE;
}
int nvmlDeviceGetComputeRunningProcesses_v2(void *card, unsigned *count, process *found) {
  return nvmlDeviceGetComputeRunningProcesses_v3(card, count, found);
}
int nvmlDeviceGetComputeRunningProcesses(void *card, unsigned *count, process *found) {
  return nvmlDeviceGetComputeRunningProcesses_v3(card, count, found);
}
/* torch looks for these as soon as it needs any. */
int nvmlDeviceGetNvLinkRemoteDeviceType(void *card, unsigned link, int *type) {
  return UNSUPPORTED;
}
int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *card, unsigned link, void *pci) {
  return UNSUPPORTED;
}
int nvmlDeviceGetGpuFabricInfoV(void *card, void *info) { return FINE; } /* as it came: none */
