/* cuBLAS with a matrix product that is computed, on the CPU, and what a process that uses cuBLAS or
 * cuDNN asks of them before. https://docs.nvidia.com/cuda/cublas */
#include "card.h"
#include <stdlib.h>

enum { EXECUTION_FAILED = 13 }; /* cublasStatus_t */

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

int cudnnCreate(void **handle) { return made(handle); }
int cudnnDestroy(void *handle) { return free(handle), FINE; }
int cudnnSetStream(void *handle, void *stream) { return FINE; }
int cudnnGetStream(void *handle, void **stream) { return *stream = NULL, FINE; }
size_t cudnnGetVersion(void) { return 92000; }
size_t cudnnGetCudartVersion(void) { return 13000; }
int cudnnGetProperty(int which, int *value) {
  return *value = which == 0 ? 9 : which == 1 ? 20 : 0, FINE;
}
