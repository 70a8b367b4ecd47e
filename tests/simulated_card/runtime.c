/* libcudart, of CUDA 13: what torch and ONNX Runtime ask of it. Copies are made at once, kernels do
 * nothing, and an event is the time at which it was recorded.
 * https://docs.nvidia.com/cuda/cuda-runtime-api */
#include "card.h"
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static __thread cudaError_t last;

static cudaError_t ended(int how) {
  if (how) last = how;
  return how;
}

static void *made(void) { return malloc(1); } /* a handle that is like no other */

cudaError_t cudaGetLastError(void) {
  cudaError_t error = last;
  last = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError(void) { return last; }

const char *cudaGetErrorString(cudaError_t error) {
  switch ((int)error) {
  case FINE: return "no error";
  case OUT_OF_MEMORY: return "out of memory";
  case OLD_DRIVER: return "CUDA driver version is insufficient for CUDA runtime version";
  case ECC: return "uncorrectable ECC error encountered";
  case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
  default: return "not simulated";
  }
}
const char *cudaGetErrorName(cudaError_t error) { return cudaGetErrorString(error); }

/* --- the device */

cudaError_t cudaDriverGetVersion(int *version) { return *version = CUDART_VERSION, FINE; }
cudaError_t cudaRuntimeGetVersion(int *version) { return *version = CUDART_VERSION, FINE; }
cudaError_t cudaGetDeviceCount(int *count) {
  *count = 1;
  return setting("OLD_DRIVER", 0) ? ended(OLD_DRIVER) : FINE;
}
cudaError_t cudaGetDevice(int *device) { return *device = 0, FINE; }
cudaError_t cudaSetDevice(int device) {
  open_card();
  return device ? ended(cudaErrorInvalidDevice) : FINE;
}
cudaError_t cudaDeviceSynchronize(void) { return ended(step()); }
cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer) { return *can = 0, FINE; }
cudaError_t cudaDeviceGetPCIBusId(char *id, int length, int device) {
  snprintf(id, length, BUS_ID);
  return FINE;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
  if (least) *least = 0;
  if (greatest) *greatest = -5;
  return FINE;
}
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device) {
  int cuDeviceGetAttribute(int *, int, int);
  return cuDeviceGetAttribute(value, attribute, device);
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *found, int device) {
  *found = (struct cudaDeviceProp){
      .name = NAME,
      .totalGlobalMem = card_total(),
      .major = 9,
      .minor = 0,
      .multiProcessorCount = 8,
      .warpSize = 32,
      .maxThreadsPerBlock = 1024,
      .maxThreadsPerMultiProcessor = 2048,
      .maxThreadsDim = {1024, 1024, 64},
      .maxGridSize = {2147483647, 65535, 65535},
      .sharedMemPerBlock = 49152,
      .sharedMemPerBlockOptin = 101376,
      .sharedMemPerMultiprocessor = 102400,
      .regsPerBlock = 65536,
      .textureAlignment = 512,
  };
  return FINE;
}

/* --- memory */

static cudaError_t allocated(void **at, size_t bytes, int on_host) {
  *at = allocate(bytes, on_host);
  return *at ? FINE : ended(OUT_OF_MEMORY);
}
cudaError_t cudaMalloc(void **at, size_t bytes) { return allocated(at, bytes, 0); }
cudaError_t cudaMallocHost(void **at, size_t bytes) { return allocated(at, bytes, 1); }
cudaError_t cudaHostAlloc(void **at, size_t bytes, unsigned flags) {
  return allocated(at, bytes, 1);
}
cudaError_t cudaFree(void *at) { return open_card(), give(at), FINE; }
cudaError_t cudaFreeHost(void *at) { return give(at), FINE; }
cudaError_t cudaMemGetInfo(size_t *left, size_t *total) {
  open_card();
  *total = card_total();
  *left = *total - card_used();
  return FINE;
}
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
  memmove(to, from, bytes);
  return ended(step());
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return cudaMemcpy(to, from, bytes, kind);
}
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream) {
  for (size_t i = 0; i < height; i++)
    memmove((char *)to + i * to_pitch, (const char *)from + i * from_pitch, width);
  return FINE;
}
cudaError_t cudaMemset(void *at, int value, size_t bytes) { return memset(at, value, bytes), FINE; }
cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t stream) {
  return cudaMemset(at, value, bytes);
}
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *found, const void *at) {
  void *start;
  size_t bytes;
  int on_host;
  memset(found, 0, sizeof *found);
  if (find(at, &start, &bytes, &on_host))
    found->type = on_host ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
  found->devicePointer = (void *)at;
  return FINE;
}

/* --- streams, events, graphs: a graph remembers nothing, and its replay does nothing */

static int capturing;
static cudaStream_t captured;
static unsigned long long captures;

cudaError_t cudaStreamCreate(cudaStream_t *stream) { return *stream = made(), FINE; }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
  return cudaStreamCreate(stream);
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority) {
  return cudaStreamCreate(stream);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return free(stream), FINE; }
cudaError_t cudaStreamQuery(cudaStream_t stream) { return FINE; }
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  int itself = capturing && stream == captured;
  return ended(itself ? cudaErrorStreamCaptureUnsupported : step());
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  return FINE;
}
cudaError_t cudaStreamGetPriority(cudaStream_t stream, int *priority) {
  return *priority = 0, FINE;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t call, void *with) {
  return call(with), FINE;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
  int itself = capturing && stream == captured;
  *status = itself ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return FINE;
}
/* CUDA 13's has edges; CUDA 12's, by a macro `_v2`, has none, and CUDA 11's no graph either. */
#if CUDART_VERSION >= 13000
#define OF_GRAPH                                                                                   \
  , cudaGraph_t *graph, const cudaGraphNode_t **nodes, const cudaGraphEdgeData **edges, size_t *count
#elif CUDART_VERSION >= 12000
#define OF_GRAPH , cudaGraph_t *graph, const cudaGraphNode_t **nodes, size_t *count
#else
#define OF_GRAPH
#endif
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, enum cudaStreamCaptureStatus *status,
                                     unsigned long long *id OF_GRAPH) {
  if (id) *id = captures;
#if CUDART_VERSION >= 12000
  if (graph) *graph = NULL;
  if (count) *count = 0;
#endif
  return cudaStreamIsCapturing(stream, status);
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
  capturing = 1, captured = stream, captures++;
  return FINE;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  capturing = 0, *graph = made();
  return FINE;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(enum cudaStreamCaptureMode *mode) { return FINE; }
#if CUDART_VERSION >= 12000
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags) {
  return *exec = made(), FINE;
}
#else
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, cudaGraphNode_t *at,
                                 char *words, size_t room) {
  return *exec = made(), FINE;
}
#endif
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long flags) {
  return *exec = made(), FINE;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) { return ended(step()); }
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return free(graph), FINE; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return free(exec), FINE; }
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count) {
  return *count = 1, FINE; /* torch warns of an empty one */
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
  return *event = calloc(1, sizeof(struct timespec)), FINE;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
  return cudaEventCreate(event);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) { return free(event), FINE; }
cudaError_t cudaEventQuery(cudaEvent_t event) { return FINE; }
cudaError_t cudaEventSynchronize(cudaEvent_t event) { return ended(step()); }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  clock_gettime(CLOCK_MONOTONIC, (struct timespec *)event);
  return ended(step());
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  return cudaEventRecord(event, stream);
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
  struct timespec a = *(struct timespec *)from, b = *(struct timespec *)to;
  *ms = (b.tv_sec - a.tv_sec) * 1e3f + (b.tv_nsec - a.tv_nsec) * 1e-6f;
  return FINE;
}

/* --- kernels */

void **__cudaRegisterFatBinary(void *binary) {
  static void *handle;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void **handle) {}
void __cudaUnregisterFatBinary(void **handle) {}
void __cudaRegisterFunction(void **handle, const char *host, char *name, const char *device,
                            int limit, uint3 *thread, uint3 *block, dim3 *block_dim, dim3 *grid,
                            int *warp) {}
void __cudaRegisterVar(void **handle, char *host, char *name, const char *device, int external,
                       size_t bytes, int constant, int global) {}
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream) {
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream) {
  return *(void **)stream = NULL, FINE;
}
#if CUDART_VERSION >= 12000
cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *host) {
  return *kernel = (void *)host, FINE;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void **arguments,
                               size_t shared, cudaStream_t stream) {
  return ended(step());
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *how, const void *kernel,
                                void **arguments) {
  return ended(step());
}
#endif
cudaError_t cudaLaunchKernel(const void *kernel, dim3 grid, dim3 block, void **arguments,
                             size_t shared, cudaStream_t stream) {
  return ended(step());
}
cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *found, const void *kernel) {
  *found = (struct cudaFuncAttributes){.maxThreadsPerBlock = 1024, .binaryVersion = 90};
  return FINE;
}
cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute attribute, int value) {
  return FINE;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *count, const void *kernel,
                                                          int threads, size_t shared) {
  return *count = 2, FINE;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *count, const void *kernel,
                                                                   int threads, size_t shared,
                                                                   unsigned flags) {
  return *count = 2, FINE;
}

/* --- the driver's functions, by name */

#if CUDART_VERSION >= 12000
cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version,
                                             unsigned long long flags,
                                             enum cudaDriverEntryPointQueryResult *found) {
  *function = driver_function(name);
  if (found) *found = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return *function ? FINE : ended(cudaErrorSymbolNotFound);
}
#else
cudaError_t cudaGetDriverEntryPoint(const char *name, void **function, unsigned long long flags) {
  *function = driver_function(name);
  return *function ? FINE : ended(cudaErrorSymbolNotFound);
}
#endif
