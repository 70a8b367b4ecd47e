/* The card's memory: pages of the host, counted for all processes in one file. */
#define _GNU_SOURCE
#include "card.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PROCESSES = 256 };

/* The file SIMULATED_CARD_LEDGER, which every process maps. */
struct ledger {
  struct {
    int pid;
    uint64_t used;
  } each[PROCESSES];
};

struct block {
  void *start;
  size_t bytes;
  int on_host;
  struct block *next;
};

static struct ledger *ledger;
static int file = -1, opened_by;
static struct block *blocks;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

uint64_t setting(const char *name, uint64_t otherwise) {
  char whole[64];
  snprintf(whole, sizeof whole, "SIMULATED_CARD_%s", name);
  const char *text = getenv(whole);
  return text ? strtoull(text, NULL, 10) : otherwise;
}

static void lock(void) {
  pthread_mutex_lock(&mutex);
  if (!ledger) {
    const char *path = getenv("SIMULATED_CARD_LEDGER");
    file = open(path ? path : "", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, sizeof *ledger)) {
      perror("simulated card: SIMULATED_CARD_LEDGER");
      abort();
    }
    ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  }
  flock(file, LOCK_EX);
}

static void unlock(void) {
  flock(file, LOCK_UN);
  pthread_mutex_unlock(&mutex);
}

/* Locked. What died holds nothing. */
static uint64_t sum(void) {
  uint64_t used = 0;
  for (int i = 0; i < PROCESSES; i++) {
    if (ledger->each[i].pid && kill(ledger->each[i].pid, 0) && errno == ESRCH)
      ledger->each[i].pid = 0, ledger->each[i].used = 0;
    used += ledger->each[i].used;
  }
  return used;
}

uint64_t card_total(void) { return setting("MIB", 16384) * MIB; }

uint64_t card_used(void) {
  lock();
  uint64_t used = sum();
  unlock();
  return used;
}

unsigned card_processes(unsigned most, int *pids, uint64_t *bytes) {
  lock();
  sum();
  unsigned found = 0;
  for (int i = 0; i < PROCESSES; i++) {
    if (!ledger->each[i].used) continue;
    if (found < most) pids[found] = ledger->each[i].pid, bytes[found] = ledger->each[i].used;
    found++;
  }
  unlock();
  return found;
}

int take(int64_t bytes) {
  lock();
  int enough = bytes < 0 || sum() + bytes <= card_total(), mine = -1;
  for (int i = 0; enough && i < PROCESSES; i++) {
    if (ledger->each[i].pid == getpid()) {
      mine = i;
      break;
    }
    if (mine < 0 && !ledger->each[i].pid) mine = i;
  }
  if (mine >= 0) ledger->each[mine].pid = getpid(), ledger->each[mine].used += bytes;
  unlock();
  return mine >= 0;
}

int card_is_open(void) { return opened_by == getpid(); }

void open_card(void) {
  if (card_is_open()) return;
  opened_by = getpid();
  take(setting("CONTEXT_MIB", 400) * MIB);
}

void *allocate(size_t bytes, int on_host) {
  size_t page = on_host ? 4096 : 2 * MIB; /* a card's are of 2 MiB */
  bytes = (bytes + page - 1) / page * page;
  if (!on_host) {
    open_card();
    if (!take(bytes)) return NULL;
  }
  void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct block *block = malloc(sizeof *block);
  *block = (struct block){start, bytes, on_host, NULL};
  pthread_mutex_lock(&mutex);
  block->next = blocks;
  blocks = block;
  pthread_mutex_unlock(&mutex);
  return start;
}

void give(void *at) {
  pthread_mutex_lock(&mutex);
  struct block **place = &blocks;
  while (*place && (*place)->start != at) place = &(*place)->next;
  struct block *block = *place;
  if (block) *place = block->next;
  pthread_mutex_unlock(&mutex);
  if (!block) return;
  munmap(block->start, block->bytes);
  if (!block->on_host) take(-(int64_t)block->bytes);
  free(block);
}

int find(const void *at, void **start, size_t *bytes, int *on_host) {
  pthread_mutex_lock(&mutex);
  struct block *block = blocks;
  while (block &&
         ((char *)at < (char *)block->start || (char *)at >= (char *)block->start + block->bytes))
    block = block->next;
  if (block) *start = block->start, *bytes = block->bytes, *on_host = block->on_host;
  pthread_mutex_unlock(&mutex);
  return block != NULL;
}

int step(void) {
  static uint64_t steps;
  uint64_t lost = setting("LOST_AFTER", 0), hangs = setting("HANGS_AFTER", 0);
  if (!lost && !hangs) return FINE;
  uint64_t now = __atomic_add_fetch(&steps, 1, __ATOMIC_RELAXED);
  while (hangs && now > hangs) pause();
  return lost && now > lost ? ECC : FINE;
}
