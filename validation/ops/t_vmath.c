/* SPDX-License-Identifier: Apache-2.0 */
/*
 * t_vmath.c: the vector functions against libm in fp64, over the bit patterns of fp32 in steps of 509 (a prime: all exponents,
 * signs, subnormal numbers, infinities, NaN). Errors in units in the last place of the true value; bounds are those that
 * vmath.h states.
 */
#include "ops/cpu/half.h"
#include "ops/cpu/vmath.h"
#include "ref.h"
#include "tap.h"

enum { BATCH = 4096, STEP = 509 };

#define LOOP(name)                                                                                                             \
    NF_CLONES static void loop_##name(int n, float *y, const float *x)                                                         \
    {                                                                                                                          \
        NF_SIMD                                                                                                                \
        for (int i = 0; i < n; i++)                                                                                            \
            y[i] = nf_v##name(x[i]);                                                                                           \
    }
LOOP(exp)
LOOP(log)
LOOP(sigmoid)
LOOP(silu)
LOOP(silu_grad)
LOOP(softplus)

static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

static double unit(double x)
{
    float f = (float)fabs(x);
    return f < 0x1p-126f ? 0x1p-149 : (double)nextafterf(f, INFINITY) - (double)f;
}

/* SiLU multiplies a sigmoid that may be subnormal; its derivative is a difference that vanishes near -1.278. */
static double floor_none(double x)
{
    (void)x;
    return 0;
}
static double floor_silu(double x)
{
    return fabs(x) * 0x1p-149;
}
static double floor_silu_grad(double x)
{
    double s = ref_sigmoid(x);
    return 4 * ROUND_F32 * s * (1 + fabs(x) * ref_sigmoid(-x)) + fabs(x) * 0x1p-149;
}

static void hold(const char *name, void (*loop)(int, float *, const float *), double (*truth)(double), double bound,
                 double (*allowed)(double))
{
    static float x[BATCH], y[BATCH];
    double worst = 0;
    float where = 0;
    long wrong = 0;

    for (uint64_t bits = 0; bits < (1ull << 32);) {
        int n = 0;
        for (; n < BATCH && bits < (1ull << 32); bits += STEP)
            x[n++] = nf_vfloat((uint32_t)bits);
        loop(n, y, x);
        for (int i = 0; i < n; i++) {
            const double t = truth((double)x[i]);
            if (isnan(t) || isinf((float)t)) {
                wrong += isnan(t) ? !isnan(y[i]) : y[i] != (float)t;
                continue;
            }
            const double e = (fabs((double)y[i] - t) - allowed((double)x[i])) / unit(t);
            if (!(e <= worst)) {
                worst = e;
                where = x[i];
            }
        }
    }
    if (!tap_ok(worst <= bound, "%s is within %g units in the last place", name, bound) || getenv("NF_TEST_VERBOSE"))
        tap_note("%s: %.3f units at %.9g", name, worst, (double)where);
    if (!tap_ok(wrong == 0, "%s: infinities and NaN", name))
        tap_note("%ld values", wrong);
}

static void halves(void)
{
    long wrong = 0;
    for (uint64_t bits = 0; bits < (1ull << 32); bits += STEP) {
        const float f = nf_vfloat((uint32_t)bits);
        const uint16_t a = nf_vto_bf16(f), b = nf_f32_to_bf16(f);
        wrong += isnan(f) ? !isnan(nf_vfrom_bf16(a)) : a != b;
    }
    tap_ok(wrong == 0, "bf16 in loops rounds as nf_f32_to_bf16 does");
}

int main(void)
{
    tap_open();
    hold("exp", loop_exp, exp, 1.25, floor_none);
    hold("log", loop_log, log, 1.0, floor_none);
    hold("sigmoid", loop_sigmoid, ref_sigmoid, 3.0, floor_none);
    hold("silu", loop_silu, ref_silu, 4.0, floor_silu);
    hold("silu'", loop_silu_grad, ref_silu_grad, 4.0, floor_silu_grad);
    hold("softplus", loop_softplus, softplus, 2.0, floor_none);
    halves();
    return tap_done();
}
