/* What the parts of the simulated card share: its settings, its memory, and how it breaks. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define MIB (1ull << 20)
#define NAME "Simulated Card"
#define BUS_ID "0000:01:00.0"

/* The ways a launch or a wait can end, by the CUDA runtime's numbers (driver_types.h). */
enum { FINE = 0, OUT_OF_MEMORY = 2, OLD_DRIVER = 35, ECC = 214, NOT_SUPPORTED = 801 };

/* A number from the environment variable SIMULATED_CARD_`name`. */
uint64_t setting(const char *name, uint64_t otherwise);

/* Bytes of the whole card, and what all processes hold of it. */
uint64_t card_total(void);
uint64_t card_used(void);

/* Open the card for this process, once: a context takes memory. Whether it is open. */
void open_card(void);
int card_is_open(void);

/* The processes that hold memory: at most `most` of them, and how many there are. */
unsigned card_processes(unsigned most, int *pids, uint64_t *bytes);

/* Take bytes of the card, or give them back (negative); 0 where it has not that much. */
int take(int64_t bytes);

/* Memory of the card, or of the host and pinned: NULL where there is none left. `give` frees
 * either and passes over what it does not know. */
void *allocate(size_t bytes, int on_host);
void give(void *at);

/* The allocation that an address lies in: its start and size, and 0 where it is no one's. */
int find(const void *at, void **start, size_t *bytes, int *on_host);

/* Every launch, wait and copy passes here: SIMULATED_CARD_LOST_AFTER many are fine, then the
 * card is lost; after SIMULATED_CARD_HANGS_AFTER one never ends. */
int step(void);

/* A function of the driver's, or NULL. */
void *driver_function(const char *name);
