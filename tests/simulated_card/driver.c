/* libcuda: what TensorFlow, Triton and torch's expandable segments ask of it. No header is
 * included, since its names differ between releases: handles are pointers, and errors the runtime's
 * numbers. https://docs.nvidia.com/cuda/cuda-driver-api */
#define _GNU_SOURCE
#include "card.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef int CUresult;
typedef unsigned long long address; /* CUdeviceptr */

enum { INVALID_VALUE = 1, NOT_FOUND = 500 };
enum { VERSION = 13000 };

static CUresult made(void **handle) { return *handle = malloc(1), FINE; }

CUresult cuInit(unsigned flags) { return FINE; } /* an old driver is fine itself */
CUresult cuDriverGetVersion(int *version) { return *version = VERSION, FINE; }
CUresult cuGetErrorName(CUresult error, const char **name) {
  *name = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
          : error == ECC         ? "CUDA_ERROR_ECC_UNCORRECTABLE"
                                 : "CUDA_ERROR_NOT_SIMULATED";
  return FINE;
}
CUresult cuGetErrorString(CUresult error, const char **text) {
  *text = error == OUT_OF_MEMORY ? "out of memory"
          : error == ECC         ? "uncorrectable ECC error encountered"
                                 : "not simulated";
  return FINE;
}

/* --- the device and its context */

CUresult cuDeviceGetCount(int *count) { return *count = 1, FINE; }
CUresult cuDeviceGet(int *device, int number) { return *device = number, FINE; }
CUresult cuDeviceGetName(char *name, int length, int device) {
  return snprintf(name, length, NAME), FINE;
}
CUresult cuDeviceGetPCIBusId(char *id, int length, int device) {
  return snprintf(id, length, BUS_ID), FINE;
}
CUresult cuDeviceGetUuid(void *uuid, int device) { return memset(uuid, 1, 16), FINE; }
CUresult cuDeviceGetUuid_v2(void *uuid, int device) { return memset(uuid, 1, 16), FINE; }
CUresult cuDeviceTotalMem_v2(size_t *bytes, int device) { return *bytes = card_total(), FINE; }
CUresult cuDeviceComputeCapability(int *major, int *minor, int device) {
  return *major = 9, *minor = 0, FINE;
}
CUresult cuDeviceCanAccessPeer(int *can, int device, int peer) { return *can = 0, FINE; }
CUresult cuDeviceGetAttribute(int *value, int attribute, int device) {
  switch (attribute) {          /* CUdevice_attribute */
  case 1: *value = 1024; break; /* threads per block */
  case 2:
  case 3: *value = 1024; break;       /* block dimensions x and y */
  case 4: *value = 64; break;         /* block dimension z */
  case 5: *value = 2147483647; break; /* grid dimension x */
  case 6:
  case 7: *value = 65535; break;  /* grid dimensions y and z */
  case 8: *value = 49152; break;  /* shared memory per block */
  case 10: *value = 32; break;    /* warp size */
  case 12: *value = 65536; break; /* registers per block */
  case 14: *value = 512; break;   /* texture alignment */
  case 16: *value = 8; break;     /* multiprocessors */
  case 39: *value = 2048; break;  /* threads per multiprocessor */
  case 75: *value = 9; break;     /* compute capability, major */
  case 76: *value = 0; break;     /* and minor */
  case 81:
  case 97: *value = 101376; break; /* shared memory per multiprocessor, and opted in */
  case 102: *value = 1; break;     /* virtual memory management */
  default: *value = 0;
  }
  return FINE;
}
CUresult cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
  return *flags = 0, *active = card_is_open(), FINE;
}
CUresult cuDevicePrimaryCtxRetain(void **context, int device) {
  return open_card(), *context = (void *)1, FINE;
}
CUresult cuDevicePrimaryCtxRelease_v2(int device) { return FINE; }
CUresult cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) { return FINE; }
CUresult cuCtxGetCurrent(void **context) {
  return *context = card_is_open() ? (void *)1 : NULL, FINE;
}
CUresult cuCtxSetCurrent(void *context) { return FINE; }
CUresult cuCtxGetDevice(int *device) { return *device = 0, FINE; }
CUresult cuCtxGetApiVersion(void *context, unsigned *version) { return *version = VERSION, FINE; }
CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
  return *least = 0, *greatest = -5, FINE;
}
CUresult cuCtxSetLimit(int limit, size_t value) { return FINE; }
CUresult cuCtxGetLimit(size_t *value, int limit) { return *value = 0, FINE; }
CUresult cuCtxSynchronize(void) { return step(); }

/* --- memory */

CUresult cuMemAlloc_v2(address *at, size_t bytes) {
  void *start = allocate(bytes, 0);
  *at = (address)start;
  return start ? FINE : OUT_OF_MEMORY;
}
CUresult cuMemFree_v2(address at) { return give((void *)at), FINE; }
CUresult cuMemHostAlloc(void **at, size_t bytes, unsigned flags) {
  return *at = allocate(bytes, 1), FINE;
}
CUresult cuMemFreeHost(void *at) { return give(at), FINE; }
CUresult cuMemHostRegister_v2(void *at, size_t bytes, unsigned flags) { return FINE; }
CUresult cuMemHostUnregister(void *at) { return FINE; }
CUresult cuMemGetInfo_v2(size_t *left, size_t *total) {
  *total = card_total();
  *left = *total - card_used();
  return FINE;
}
CUresult cuMemGetAddressRange_v2(address *start, size_t *bytes, address at) {
  void *from;
  size_t size;
  int on_host;
  if (!find((void *)at, &from, &size, &on_host)) return NOT_FOUND;
  if (start) *start = (address)from;
  if (bytes) *bytes = size;
  return FINE;
}
CUresult cuPointerGetAttribute(void *value, int attribute, address at) {
  void *start;
  size_t bytes;
  int on_host;
  if (!find((void *)at, &start, &bytes, &on_host)) return INVALID_VALUE;
  switch (attribute) {                                 /* CUpointer_attribute */
  case 1: *(void **)value = (void *)1; break;          /* context */
  case 2: *(unsigned *)value = on_host ? 1 : 2; break; /* memory type */
  default: *(unsigned *)value = 0;
  }
  return FINE;
}

static CUresult copy(address to, address from, size_t bytes) {
  return memmove((void *)to, (void *)from, bytes), step();
}
CUresult cuMemcpyHtoD_v2(address to, address from, size_t bytes) { return copy(to, from, bytes); }
CUresult cuMemcpyDtoH_v2(address to, address from, size_t bytes) { return copy(to, from, bytes); }
CUresult cuMemcpyDtoD_v2(address to, address from, size_t bytes) { return copy(to, from, bytes); }
CUresult cuMemcpyHtoDAsync_v2(address to, address from, size_t bytes, void *stream) {
  return copy(to, from, bytes);
}
CUresult cuMemcpyDtoHAsync_v2(address to, address from, size_t bytes, void *stream) {
  return copy(to, from, bytes);
}
CUresult cuMemcpyDtoDAsync_v2(address to, address from, size_t bytes, void *stream) {
  return copy(to, from, bytes);
}
CUresult cuMemcpyAsync(address to, address from, size_t bytes, void *stream) {
  return copy(to, from, bytes);
}
CUresult cuMemsetD8_v2(address at, unsigned char value, size_t count) {
  return memset((void *)at, value, count), FINE;
}
CUresult cuMemsetD8Async(address at, unsigned char value, size_t count, void *stream) {
  return cuMemsetD8_v2(at, value, count);
}
CUresult cuMemsetD32_v2(address at, unsigned value, size_t count) {
  for (size_t i = 0; i < count; i++) ((unsigned *)at)[i] = value;
  return FINE;
}
CUresult cuMemsetD32Async(address at, unsigned value, size_t count, void *stream) {
  return cuMemsetD32_v2(at, value, count);
}

/* --- memory and addresses apart, as torch's expandable segments have them */

struct piece {
  int file;
  size_t bytes;
};

CUresult cuMemGetAllocationGranularity(size_t *bytes, const void *properties, int how) {
  return *bytes = 2 * MIB, FINE;
}
CUresult cuMemAddressReserve(address *at, size_t bytes, size_t aligned, address near,
                             unsigned long long flags) {
  void *start = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  *at = (address)start;
  return start == MAP_FAILED ? OUT_OF_MEMORY : FINE;
}
CUresult cuMemAddressFree(address at, size_t bytes) { return munmap((void *)at, bytes), FINE; }
CUresult cuMemCreate(address *handle, size_t bytes, const void *properties,
                     unsigned long long flags) {
  if (!take(bytes)) return OUT_OF_MEMORY;
  struct piece *piece = malloc(sizeof *piece);
  *piece = (struct piece){memfd_create("card", MFD_CLOEXEC), bytes};
  *handle = (address)piece;
  return ftruncate(piece->file, bytes) ? OUT_OF_MEMORY : FINE;
}
CUresult cuMemRelease(address handle) {
  struct piece *piece = (struct piece *)handle;
  take(-(int64_t)piece->bytes);
  close(piece->file);
  return free(piece), FINE;
}
CUresult cuMemMap(address at, size_t bytes, size_t offset, address handle,
                  unsigned long long flags) {
  int file = ((struct piece *)handle)->file;
  void *found =
      mmap((void *)at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, offset);
  return found == MAP_FAILED ? OUT_OF_MEMORY : FINE;
}
CUresult cuMemUnmap(address at, size_t bytes) {
  int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
  return mmap((void *)at, bytes, PROT_NONE, how, -1, 0), FINE;
}
CUresult cuMemSetAccess(address at, size_t bytes, const void *access, size_t count) { return FINE; }

/* torch looks for these as soon as it needs any of those above. */
#define ABSENT(name)                                                                               \
  CUresult name(void) { return NOT_SUPPORTED; }
ABSENT(cuCtxFromGreenCtx)
ABSENT(cuCtxPopCurrent_v2) ABSENT(cuCtxPushCurrent_v2) ABSENT(cuDevResourceGenerateDesc)
    ABSENT(cuDevSmResourceSplitByCount) ABSENT(cuDeviceGetDevResource) ABSENT(cuGreenCtxCreate)
        ABSENT(cuGreenCtxDestroy) ABSENT(cuGreenCtxStreamCreate)
            ABSENT(cuMemExportToShareableHandle) ABSENT(cuMemGetAllocationPropertiesFromHandle)
                ABSENT(cuMemImportFromShareableHandle) ABSENT(cuMemRetainAllocationHandle)
                    ABSENT(cuMulticastAddDevice) ABSENT(cuMulticastBindMem)
                        ABSENT(cuMulticastCreate) ABSENT(cuMulticastUnbind)
                            ABSENT(cuStreamWriteValue32)

    /* --- streams and events */

    CUresult cuStreamCreate(void **stream, unsigned flags) {
  return made(stream);
}
CUresult cuStreamCreateWithPriority(void **stream, unsigned flags, int priority) {
  return made(stream);
}
CUresult cuStreamDestroy_v2(void *stream) { return free(stream), FINE; }
CUresult cuStreamSynchronize(void *stream) { return step(); }
CUresult cuStreamQuery(void *stream) { return FINE; }
CUresult cuStreamWaitEvent(void *stream, void *event, unsigned flags) { return FINE; }
CUresult cuStreamIsCapturing(void *stream, int *status) { return *status = 0, FINE; }
CUresult cuLaunchHostFunc(void *stream, void (*call)(void *), void *with) {
  return call(with), FINE;
}
CUresult cuStreamAddCallback(void *stream, void (*call)(void *, CUresult, void *), void *with,
                             unsigned flags) {
  return call(stream, FINE, with), FINE;
}
CUresult cuEventCreate(void **event, unsigned flags) {
  return *event = calloc(1, sizeof(struct timespec)), FINE;
}
CUresult cuEventDestroy_v2(void *event) { return free(event), FINE; }
CUresult cuEventRecord(void *event, void *stream) {
  return clock_gettime(CLOCK_MONOTONIC, event), step();
}
CUresult cuEventQuery(void *event) { return FINE; }
CUresult cuEventSynchronize(void *event) { return step(); }
CUresult cuEventElapsedTime(float *ms, void *from, void *to) {
  int cudaEventElapsedTime(float *, void *, void *);
  return cudaEventElapsedTime(ms, from, to);
}
CUresult cuEventElapsedTime_v2(float *ms, void *from, void *to) {
  return cuEventElapsedTime(ms, from, to);
}

/* --- modules and kernels */

CUresult cuModuleLoadData(void **module, const void *image) { return made(module); }
CUresult cuModuleLoadFatBinary(void **module, const void *image) { return made(module); }
CUresult cuModuleLoadDataEx(void **module, const void *image, unsigned count, int *options,
                            void **values) {
  return made(module);
}
CUresult cuModuleUnload(void *module) { return free(module), FINE; }
CUresult cuModuleGetFunction(void **function, void *module, const char *name) {
  return made(function);
}
CUresult cuFuncGetAttribute(int *value, int attribute, void *function) { return *value = 0, FINE; }
CUresult cuFuncSetAttribute(void *function, int attribute, int value) { return FINE; }
CUresult cuFuncSetCacheConfig(void *function, int config) { return FINE; }
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *count, void *function, int threads,
                                                     size_t shared) {
  return *count = 2, FINE;
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *count, void *function,
                                                              int threads, size_t shared,
                                                              unsigned flags) {
  return *count = 2, FINE;
}
CUresult cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned a, unsigned b,
                        unsigned c, unsigned shared, void *stream, void **arguments, void **extra) {
  return step();
}
CUresult cuLaunchKernelEx(const void *how, void *function, void **arguments, void **extra) {
  return step();
}

/* --- the functions by name: the second form of one that has two */

void *driver_function(const char *name) {
  char second[128];
  snprintf(second, sizeof second, "%s_v2", name);
  void *function = dlsym(RTLD_DEFAULT, second);
  return function ? function : dlsym(RTLD_DEFAULT, name);
}
CUresult cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags,
                             int *status) {
  *function = driver_function(name);
  if (status) *status = *function ? 0 : 1;
  return *function ? FINE : NOT_FOUND;
}
