/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.h: memory, queues, events, copies: the only thing a layer knows of a device.
 *
 * A queue is in order. On the host a queue runs its work at once, inside the call; on CUDA it is a stream. What is pending on
 * the host is only communication: MPI does not progress by itself, so long ops call nf_queue_progress() between tiles. Tile
 * borders depend on shapes alone, never on what is pending: the bits are the same.
 *
 * A dry device (NF_DRY_*) has no memory and launches nothing: queues count, arenas count. The same layers run on it to size
 * everything before anything is taken.
 */
#ifndef NEMAFIT_DEVICE_H
#define NEMAFIT_DEVICE_H

#include "nemafit/arena.h"
#include "nemafit/base.h"

typedef struct nf_device nf_device;
typedef struct nf_queue nf_queue;
enum nf_device_kind { NF_HOST, NF_CUDA };

/* An event is a value: a slot of the device's ring and the generation it had. {0,0} has happened already. Nobody frees one. */
typedef struct nf_event {
    uint32_t slot, gen;
} nf_event;
#define NF_DONE ((nf_event){0, 0})

/* ---- devices ------------------------------------------------------------------------------------------------------- */

/* nf_device_host: `threads` of OpenMP and BLAS for its ops (>= 1). nf_device_dry: counts for a device of that kind.
 * Errors  local NF_ENOMEM, NF_EDEVICE */
nf_status nf_device_host(int threads, nf_device **device);
/*
 * nf_device_cuda: GPU number `ordinal` of this node (counted modulo the GPUs there are: ranks may share one), through the
 * plug-in nemafit_gpu.so. Searched: $NEMAFIT_GPU_SO alone if set, else beside the program, then where it was installed. Errors
 * local NF_EDEVICE with the reason in one sentence: no plug-in, one of another version, no GPU, a driver too old, a GPU of
 * another architecture; NF_ENOMEM
 */
nf_status nf_device_cuda(int ordinal, int threads, nf_device **device);
nf_status nf_device_dry(enum nf_device_kind kind, nf_device **device);
void nf_device_free(nf_device *device);
enum nf_device_kind nf_device_kind(const nf_device *device);
bool nf_device_is_dry(const nf_device *device);
int nf_device_threads(const nf_device *device);
const char *nf_device_name(const nf_device *device); /* for people: processor or GPU */

/*
 * nf_device_room: the memory there is in all and what of it is free now, in bytes: of the GPU, or of this node as far as the
 * control groups of this process let it be used. All ranks of the node (or GPU) share it. 0: not known on this system.
 * Errors  local NF_EDEVICE
 */
nf_status nf_device_room(const nf_device *device, uint64_t *bytes, uint64_t *free_bytes);

/* Device memory for arenas; pinned host memory for staging. Zeroed. A dry device hands out NULL. */
nf_status nf_device_alloc(nf_device *device, size_t bytes, const char *what, void **block);
void nf_device_release(nf_device *device, void *block, size_t bytes);
nf_status nf_device_alloc_pinned(nf_device *device, size_t bytes, const char *what, void **block);

/* How much of a GPU's memory there is, and how much is free for anybody. Only for a CUDA device. Errors  local NF_EDEVICE */
nf_status nf_device_memory(const nf_device *device, size_t *free_bytes, size_t *bytes);
/* Of it, what nf_device_alloc() took so far, in the pages of 2 MiB that a GPU hands out. */
size_t nf_device_taken(const nf_device *device);

/* The ops of the device (a backend table of src/ops/), kept here opaquely so that an op finds them through its queue. */
void nf_device_set_ops(nf_device *device, const void *backend);
const void *nf_device_ops(const nf_device *device);

/* Called by nf_queue_progress(), and all the time while the host waits for an event or a queue; there its failure ends the
 * wait, so that a peer that is lost is heard of by who waits for it. NULL: none. */
void nf_device_set_progress(nf_device *device, nf_status (*progress)(void *ctx), void *ctx);
/* A number that grows (atomically, by any amount) with every op and every tile of one: another thread may look whether there is
 * anything going on. NULL: none. */
void nf_device_set_ticks(nf_device *device, uint64_t *ticks);

/* ---- queues -------------------------------------------------------------------------------------------------------- */

/* A queue and its work arena (borrowed; one queue, one arena: two queues never share scratch). */
nf_status nf_queue_new(nf_device *device, const char *name, int priority, nf_arena *work, nf_queue **queue);
void nf_queue_free(nf_queue *queue);
nf_arena *nf_queue_work(nf_queue *queue);
nf_device *nf_queue_device(nf_queue *queue);
bool nf_queue_is_dry(const nf_queue *queue);
void nf_queue_progress(nf_queue *queue);
nf_status nf_queue_drain(nf_queue *queue); /* the host waits for all work of the queue; counted as a host wait */

/* What a dry queue saw: added up by ops (one call a launch) and collectives. Kept on any queue; cheap. */
struct nf_work_count {
    double flops;       /* multiply-adds count two */
    double bytes_moved; /* read and written by kernels */
    double bytes_sent;  /* by collectives, this rank */
    int64_t launches, host_waits;
};
void nf_queue_count(nf_queue *queue, double flops, double bytes_moved);
void nf_queue_count_sent(nf_queue *queue, double bytes);
struct nf_work_count nf_queue_counted(const nf_queue *queue);

/* ---- events -------------------------------------------------------------------------------------------------------- */

nf_status nf_queue_record(nf_queue *queue, nf_event *event); /* after the work given to the queue so far */
/* Later work of the queue waits; on CUDA the host does not, on the host it polls here. */
nf_status nf_queue_wait(nf_queue *queue, nf_event event);
nf_status nf_event_host_wait(nf_device *device, nf_event event); /* counted: a test asserts how many a step makes */
bool nf_event_done(nf_device *device, nf_event event);
int64_t nf_device_host_waits(const nf_device *device);
double nf_device_wait_seconds(const nf_device *device); /* the host polled for events that had not happened yet */

/* Something pending that the host completes (MPI requests and chains of them). test() may be called any time from the main
 * thread, advances the work and returns true once it is over, then never again; wait() blocks, progressing everything.
 * A failure is reported through `status` at the wait. The ring holds 1024 events; taking more waits for the oldest. */
struct nf_pending_ops {
    bool (*test)(void *obj, nf_status *status);
};
nf_status nf_event_pending(nf_device *device, const struct nf_pending_ops *ops, void *obj, nf_event *event);

/* ---- times --------------------------------------------------------------------------------------------------------- */
/*
 * A stopwatch cuts the time of a device's compute queue into laps. A lap belongs to a phase and a part, small numbers whose
 * meaning is the caller's but for part NF_LAP_STILL: the queue stands still, because it waits for an event of elsewhere or the
 * host does. A lap begins where the queue's work so far ends. On a GPU that is an event of the stream: nobody waits, and time
 * in which the stream was given nothing to do belongs to the lap. On the host it is the clock. Two banks of laps: one is read
 * while the other is filled. While the stopwatch does not run, laps cost nothing.
 */
typedef struct nf_stopwatch nf_stopwatch;
enum { NF_LAP_STILL = 0, NF_LAP_PHASES = 4, NF_LAP_PARTS = 16 };
/* The device's only one, of this queue. parts: nf_lap() is heard. still: standing still is told apart from the part it is met
 * in. Errors  local NF_ENOMEM */
nf_status nf_stopwatch_new(nf_queue *queue, bool parts, bool still, nf_stopwatch **stopwatch);
void nf_stopwatch_free(nf_stopwatch *stopwatch); /* before its queue; NULL allowed */
/* Start forgets what is in the bank, 0 or 1. A phase begins with part `part`, also if parts are not heard. All but read may
 * take host memory while a bank is fuller than ever before. */
nf_status nf_stopwatch_start(nf_stopwatch *stopwatch, int bank, int phase, int part);
nf_status nf_stopwatch_phase(nf_stopwatch *stopwatch, int phase, int part);
nf_status nf_stopwatch_stop(nf_stopwatch *stopwatch);
/* What the compute queue is given from here on belongs to this part. Any queue of the device. */
nf_status nf_lap(nf_queue *queue, int part);
/* Sums of a stopped bank, whose work is known to be over (an event recorded after the stop has happened); else NF_EBUG. */
nf_status nf_stopwatch_read(nf_stopwatch *stopwatch, int bank, double seconds[NF_LAP_PHASES][NF_LAP_PARTS]);

/* ---- copies -------------------------------------------------------------------------------------------------------- */

/* Either side may be device memory or pinned host memory (other host memory works, and makes the host wait on CUDA). Widths and
 * pitches in bytes. */
nf_status nf_copy(nf_queue *queue, void *dst, const void *src, size_t bytes);
nf_status nf_copy_2d(nf_queue *queue, void *dst, size_t dst_pitch, const void *src, size_t src_pitch, size_t width,
                     size_t rows);
nf_status nf_fill_zero(nf_queue *queue, void *dst, size_t bytes);

/* ---- graphs -------------------------------------------------------------------------------------------------------- */

/* What is enqueued between begin and end is captured under the key and replayed the next time (*replayed: skip the calls, and
 * nf_graph_end too). Captured addresses and values are those of the first time; what changes is read from device memory. No
 * host wait in between. The host has none: *replayed is false and everything runs as it comes. */
nf_status nf_graph_begin(nf_queue *queue, uint64_t key, bool *replayed);
nf_status nf_graph_end(nf_queue *queue, uint64_t key);

#endif
