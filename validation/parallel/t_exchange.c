/* SPDX-License-Identifier: Apache-2.0 */
/* t_exchange.c: the token exchange on memory of the host; the host waits once a layer, for counts. */
#include "exchange_cases.h"
#include "tap.h"

int main(void)
{
    tap_open_mpi();
    struct world w = world_open((size_t)64 << 20);
    exchange_cases(&w, MPI_COMM_WORLD, &(struct exchange_extent){.waits = 1});
    world_close(&w);
    return tap_done();
}
