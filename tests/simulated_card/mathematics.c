/* cuBLAS with a matrix product that is computed, on the CPU, and what a process that uses cuBLAS or
 * cuDNN asks of them before. https://docs.nvidia.com/cuda/cublas */
#include "card.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { EXECUTION_FAILED = 13, UNKNOWN_TYPE = 15 }; /* cublasStatus_t */
enum { FLOAT32 = 0, FLOAT16 = 2, BFLOAT16 = 14 };   /* cudaDataType */
enum { IN_16_BITS = 64, IN_16_BITS_STRICTLY = 65, IN_32_BITS = 68 }; /* cublasComputeType_t */

static int made(void **handle) { return *handle = malloc(1), FINE; }

static int mode;

int cublasCreate_v2(void **handle) { return made(handle); }
int cublasDestroy_v2(void *handle) { return free(handle), FINE; }
int cublasSetStream_v2(void *handle, void *stream) { return FINE; }
int cublasSetWorkspace_v2(void *handle, void *at, size_t bytes) { return FINE; }
int cublasSetMathMode(void *handle, int wanted) { return mode = wanted, FINE; }
int cublasGetMathMode(void *handle, int *found) { return *found = mode, FINE; }
int cublasSetPointerMode_v2(void *handle, int wanted) { return FINE; }
int cublasGetPointerMode_v2(void *handle, int *found) { return *found = 0, FINE; }
int cublasGetVersion_v2(void *handle, int *version) { return *version = 130000, FINE; }
const char *cublasGetStatusName(int status) { return "simulated card"; }
const char *cublasGetStatusString(int status) { return "the simulated card does not compute it"; }
int cublasLtCreate(void **handle) { return made(handle); }
int cublasLtDestroy(void *handle) { return free(handle), FINE; }

/* C = alpha op(A) op(B) + beta C, column by column; op transposes where its flag is not 0. */
int cublasSgemm_v2(void *handle, int turn_a, int turn_b, int m, int n, int k, const float *alpha,
                   const float *a, int lda, const float *b, int ldb, const float *beta, float *c,
                   int ldc) {
  for (int j = 0; j < n; j++) {
    float *to = c + (size_t)j * ldc;
    const float *from = turn_b ? b + j : b + (size_t)j * ldb;
    size_t next = turn_b ? ldb : 1;
    for (int i = 0; i < m; i++) to[i] = *beta ? *beta * to[i] : 0;
    for (int i = 0; turn_a && i < m; i++) { /* by the rows or columns that lie in one piece */
      float sum = 0;
      for (int l = 0; l < k; l++) sum += a[l + (size_t)i * lda] * from[l * next];
      to[i] += *alpha * sum;
    }
    for (int l = 0; !turn_a && l < k; l++)
      for (int i = 0; i < m; i++) to[i] += *alpha * from[l * next] * a[i + (size_t)l * lda];
  }
  return step() ? EXECUTION_FAILED : FINE;
}
int cublasSgemmStridedBatched(void *handle, int turn_a, int turn_b, int m, int n, int k,
                              const float *alpha, const float *a, int lda, long long next_a,
                              const float *b, int ldb, long long next_b, const float *beta,
                              float *c, int ldc, long long next_c, int count) {
  for (int i = 0; i < count; i++)
    cublasSgemm_v2(handle, turn_a, turn_b, m, n, k, alpha, a + i * next_a, lda, b + i * next_b, ldb,
                   beta, c + i * next_c, ldc);
  return FINE;
}

static float wider(const void *from, int type, size_t i) {
  if (type == FLOAT16) return ((const _Float16 *)from)[i];
  if (type == FLOAT32) return ((const float *)from)[i];
  uint32_t bits = (uint32_t)((const uint16_t *)from)[i] << 16;
  float value;
  return memcpy(&value, &bits, 4), value;
}
static void narrower(void *to, int type, size_t i, float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if (type == FLOAT16) ((_Float16 *)to)[i] = value;
  else if (type == FLOAT32) ((float *)to)[i] = value;
  else ((uint16_t *)to)[i] = (bits + 0x7fff + (bits >> 16 & 1)) >> 16; /* to nearest, to even */
}
static float *copy(const void *from, int type, int rows, int columns, int apart) {
  float *to = malloc(sizeof(float) * rows * columns);
  for (int j = 0; j < columns; j++)
    for (int i = 0; i < rows; i++)
      to[i + (size_t)j * rows] = wider(from, type, i + (size_t)j * apart);
  return to;
}
/* In float32 whatever the types, and rounded once: as a card with float32 accumulators. */
int cublasGemmEx(void *handle, int turn_a, int turn_b, int m, int n, int k, const void *alpha,
                 const void *a, int type_a, int lda, const void *b, int type_b, int ldb,
                 const void *beta, void *c, int type_c, int ldc, int compute, int algorithm) {
  int half = compute == IN_16_BITS || compute == IN_16_BITS_STRICTLY;
  for (int i = 0, types[] = {type_a, type_b, type_c}; i < 3; i++)
    if (types[i] != FLOAT32 && types[i] != FLOAT16 && types[i] != BFLOAT16) return UNKNOWN_TYPE;
  float scale = wider(alpha, half ? FLOAT16 : FLOAT32, 0);
  float keep = wider(beta, half ? FLOAT16 : FLOAT32, 0);
  float *left = copy(a, type_a, turn_a ? k : m, turn_a ? m : k, lda);
  float *right = copy(b, type_b, turn_b ? n : k, turn_b ? k : n, ldb);
  float *product = copy(c, type_c, m, n, ldc);
  int status = cublasSgemm_v2(handle, turn_a, turn_b, m, n, k, &scale, left, turn_a ? k : m, right,
                              turn_b ? n : k, &keep, product, m);
  for (int j = 0; j < n; j++)
    for (int i = 0; i < m; i++)
      narrower(c, type_c, i + (size_t)j * ldc, product[i + (size_t)j * m]);
  return free(left), free(right), free(product), status;
}
int cublasSgemmEx(void *handle, int turn_a, int turn_b, int m, int n, int k, const float *alpha,
                  const void *a, int type_a, int lda, const void *b, int type_b, int ldb,
                  const float *beta, void *c, int type_c, int ldc) {
  return cublasGemmEx(handle, turn_a, turn_b, m, n, k, alpha, a, type_a, lda, b, type_b, ldb, beta,
                      c, type_c, ldc, IN_32_BITS, 0);
}

int cudnnCreate(void **handle) { return made(handle); }
int cudnnDestroy(void *handle) { return free(handle), FINE; }
int cudnnSetStream(void *handle, void *stream) { return FINE; }
int cudnnGetStream(void *handle, void **stream) { return *stream = NULL, FINE; }
size_t cudnnGetVersion(void) { return 92000; }
size_t cudnnGetCudartVersion(void) { return 13000; }
int cudnnGetProperty(int which, int *value) {
  return *value = which == 0 ? 9 : which == 1 ? 20 : 0, FINE;
}
