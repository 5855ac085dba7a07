/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hopper.cuh: the instructions of sm_90a that the matrix kernels are made of, as functions: barriers in shared memory, bulk
 * tensor copies into it, warpgroup products, and the exchange between lanes that turns their fragments into 16-byte accesses.
 *
 * Operand tiles are boxes 64 columns (128 bytes) wide, swizzled by the copy: 8 rows are 1024 bytes. A product reads such a box
 * along its rows (K-major) or across them (MN-major: the transposition costs nothing in bf16).
 * Source  PTX ISA 8: mbarrier, cp.async.bulk.tensor, wgmma (matrix descriptors, register fragments)
 */
#ifndef NF_OPS_CUDA_HOPPER_CUH
#define NF_OPS_CUDA_HOPPER_CUH

#include <cuda.h>
#include <cuda_bf16.h>
#include <stdint.h>

#define NF_DEVICE static __device__ __forceinline__

enum { NF_BOX_COLS = 64, NF_BOX_ROW = 128 /* bytes */ };

/* ---- barriers ---------------------------------------------------------------------------------------------------------- */

NF_DEVICE uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

NF_DEVICE void barrier_init(uint32_t bar, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(arrivals));
}

/* Makes the barriers' initial state visible to the copies. */
NF_DEVICE void barrier_init_done(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

NF_DEVICE void barrier_expect(uint32_t bar, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
}

NF_DEVICE void barrier_arrive(uint32_t bar)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}

NF_DEVICE void barrier_wait(uint32_t bar, uint32_t parity)
{
    asm volatile("{\n"
                 ".reg .pred p;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@p bra done;\n"
                 "bra again;\n"
                 "done:\n"
                 "}\n" ::"r"(bar),
                 "r"(parity)
                 : "memory");
}

/* Threads of some warps meet: number 1 to 15 (0 is __syncthreads). */
NF_DEVICE void meet(int number, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

/* Shared memory written by ordinary stores will be read by products or copies. */
NF_DEVICE void fence_stores(void)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* Registers that this warpgroup gives back or takes; each role of a kernel is one branch. */
template <int N> NF_DEVICE void registers_give(void)
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}
template <int N> NF_DEVICE void registers_take(void)
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

/* ---- copies ------------------------------------------------------------------------------------------------------------ */

NF_DEVICE void load_box(uint32_t to, const CUtensorMap *map, uint32_t bar, int c0, int c1, int c2)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(to),
                 "l"(map), "r"(bar), "r"(c0), "r"(c1), "r"(c2)
                 : "memory");
}

/* Bytes in a row; both ends on 16 bytes. */
NF_DEVICE void load_bytes(uint32_t to, const void *from, int bytes, uint32_t bar)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to), "l"(from),
                 "r"(bytes), "r"(bar)
                 : "memory");
}

/* ---- products ---------------------------------------------------------------------------------------------------------- */

/* Descriptor of an operand. `across`: bytes between neighbouring boxes, read by MN-major operands only. */
NF_DEVICE uint64_t operand(uint32_t at, int across)
{
    return (uint64_t)((at & 0x3FFFF) >> 4) | (uint64_t)(across >> 4) << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

NF_DEVICE void products_begin(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
NF_DEVICE void products_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* All but the last N committed groups are over. */
template <int N> NF_DEVICE void products_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
/* The compiler knows nothing of products under way: no use of d moves across this. */
template <int N> NF_DEVICE void hold(float (&d)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(d[i])::"memory");
}

/*
 * wgmma<N>: d [64, N] += a [64, 16] b [16, N], or = where acc is 0; d in fragments: of thread t of the warpgroup, row
 * 16 (t / 32) + t % 32 / 4 + 8 i and column 8 j + 2 (t % 4) + l lie in d[4 j + 2 i + l].
 *   ss<TA, TB>   a and b in shared memory; TA, TB 1: MN-major
 *   rs<TB>       a in registers: a[2 h + i] = columns 8 h + 2 (t % 4) + {0, 1} of row i
 */
template <int N> struct wgmma;

#define NF_TEN(t) "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9"
#define NF_TO_29 NF_TEN() ", " NF_TEN(1) ", " NF_TEN(2)
#define NF_TO_59 NF_TO_29 ", " NF_TEN(3) ", " NF_TEN(4) ", " NF_TEN(5)
#define NF_TO_89 NF_TO_59 ", " NF_TEN(6) ", " NF_TEN(7) ", " NF_TEN(8)
#define NF_TO_119 NF_TO_89 ", " NF_TEN(9) ", " NF_TEN(10) ", " NF_TEN(11)
#define NF_D8(i)                                                                                                               \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define NF_D32(i) NF_D8(i), NF_D8(i + 8), NF_D8(i + 16), NF_D8(i + 24)
#define NF_D64 NF_D32(0), NF_D32(32)
#define NF_D96 NF_D64, NF_D32(64)
#define NF_D128 NF_D96, NF_D32(96)

/* o0 to o6 are the numbers of the operands behind d's. */
#define NF_WGMMA(N, LIST, OUT, o0, o1, o2, o3, o4, o5, o6)                                                                     \
    template <> struct wgmma<N> {                                                                                              \
        template <int TA, int TB>                                                                                              \
        static __device__ __forceinline__ void ss(float (&d)[N / 2], uint64_t a, uint64_t b, int acc)                          \
        {                                                                                                                      \
            asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #o2 ", 0;\n"                                                     \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" LIST "}, %" #o0 ", %" #o1                \
                         ", p, 1, 1, %" #o3 ", %" #o4 ";\n}\n"                                                                 \
                         : OUT                                                                                                 \
                         : "l"(a), "l"(b), "r"(acc), "n"(TA), "n"(TB));                                                        \
        }                                                                                                                      \
        template <int TB>                                                                                                      \
        static __device__ __forceinline__ void rs(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, int acc)              \
        {                                                                                                                      \
            asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #o5 ", 0;\n"                                                     \
                         "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" LIST "}, {%" #o0 ", %" #o1 ", %" #o2     \
                         ", %" #o3 "}, %" #o4 ", p, 1, 1, %" #o6 ";\n}\n"                                                      \
                         : OUT                                                                                                 \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(acc), "n"(TB));                             \
        }                                                                                                                      \
    };

NF_WGMMA(64, NF_TO_29 ", %30, %31", NF_D32(0), 32, 33, 34, 35, 36, 37, 38)
NF_WGMMA(128, NF_TO_59 ", %60, %61, %62, %63", NF_D64, 64, 65, 66, 67, 68, 69, 70)
NF_WGMMA(192, NF_TO_89 ", %90, %91, %92, %93, %94, %95", NF_D96, 96, 97, 98, 99, 100, 101, 102)
NF_WGMMA(256, NF_TO_119 ", %120, %121, %122, %123, %124, %125, %126, %127", NF_D128, 128, 129, 130, 131, 132, 133, 134)

/* ---- fragments --------------------------------------------------------------------------------------------------------- */

NF_DEVICE uint32_t pack_bf16(float a, float b)
{
    __nv_bfloat162 v = __floats2bfloat162_rn(a, b);
    return *(uint32_t *)&v;
}
NF_DEVICE float low_bf16(uint32_t w)
{
    return __uint_as_float(w << 16);
}
NF_DEVICE float high_bf16(uint32_t w)
{
    return __uint_as_float(w & 0xFFFF0000u);
}

/*
 * Transposes the 4 x 4 words of four neighbouring lanes. A lane q that held columns 8 j + 2 q, 8 j + 2 q + 1 of a row in
 * w[j] then holds columns 8 q to 8 q + 7 in w[0..3]: one 16-byte access. And back.
 */
NF_DEVICE void quad_transpose(uint32_t (&w)[4])
{
    const bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
    const uint32_t a = __shfl_xor_sync(0xFFFFFFFFu, odd ? w[0] : w[1], 1);
    const uint32_t b = __shfl_xor_sync(0xFFFFFFFFu, odd ? w[2] : w[3], 1);
    w[0] = odd ? a : w[0];
    w[1] = odd ? w[1] : a;
    w[2] = odd ? b : w[2];
    w[3] = odd ? w[3] : b;
    const uint32_t c = __shfl_xor_sync(0xFFFFFFFFu, high ? w[0] : w[2], 2);
    const uint32_t d = __shfl_xor_sync(0xFFFFFFFFu, high ? w[1] : w[3], 2);
    w[0] = high ? c : w[0];
    w[1] = high ? d : w[1];
    w[2] = high ? w[2] : c;
    w[3] = high ? w[3] : d;
}

#endif
