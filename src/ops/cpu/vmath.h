/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmath.h: exp, log, sigmoid, SiLU and softplus for loops that the compiler turns into vector code: no branches, no tables, no
 * calls. Right to 1 (exp, log), 2 (softplus), 3 (sigmoid) or 4 (SiLU) units in the last place over the whole range of fp32,
 * infinities and subnormal numbers included; NaN stays NaN. validation/ops/t_vmath.c holds them to that.
 *
 * NF_CLONES in front of a function compiles it for AVX-512, for AVX2 and for any processor, and the loader chooses (GCC 12 and
 * later; other compilers: give CFLAGS=-march=native). Put it on
 * the function that holds the loop, never on one with an OpenMP parallel region in it: what the compiler cuts out of such a
 * region is not cloned. Sums inside such loops are written with NF_SIMD_SUM.
 */
#ifndef NEMAFIT_OPS_CPU_VMATH_H
#define NEMAFIT_OPS_CPU_VMATH_H

#include <stdint.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NF_NO_CLONES 1 /* the loader chooses before the sanitizer's run time is up */
#endif
#endif
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(NF_NO_CLONES)
#if __GNUC__ >= 12
#define NF_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
#endif
#ifndef NF_CLONES
#define NF_CLONES
#define NF_HAVE_CLONES 0
#else
#define NF_HAVE_CLONES 1
#endif

/* For loops without dependences, and for sums: NF_SIMD_SUM(s) for (...) s += ...; the lanes' order is fixed for a processor. */
#ifdef _OPENMP
#define NF_VPRAGMA(text) _Pragma(#text)
#define NF_SIMD NF_VPRAGMA(omp simd)
#define NF_SIMD_SUM(...) NF_VPRAGMA(omp simd reduction(+ : __VA_ARGS__))
#else
#define NF_SIMD
#define NF_SIMD_SUM(...)
#endif

static inline uint32_t nf_vbits(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static inline float nf_vfloat(uint32_t b)
{
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}

/* exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2; ln 2 in two parts, the first short enough that n times it is
 * exact. 2^n is multiplied in two steps, so that subnormal results are right. */
static inline float nf_vexp(float x)
{
    const float magic = 12582912.0f; /* 1.5 2^23: adding it rounds to an integer in the low bits */
    float c = x > 89.0f ? 89.0f : x;
    c = c < -104.0f ? -104.0f : c;
    float t = c * 1.44269504088896341f + magic;
    uint32_t n = nf_vbits(t) - nf_vbits(magic);
    float f = t - magic;
    float r = c - f * 0.693359375f;
    r = r - f * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    uint32_t half = (uint32_t)((int32_t)n >> 1);
    return p * nf_vfloat((half + 127u) << 23) * nf_vfloat((n - half + 127u) << 23);
}

/* log(1 + f) + k ln 2 for sqrt(1/2) <= 1 + f < sqrt(2), by s = f / (2 + f). */
static inline float nf_vlog_core(float f, float k)
{
    float s = f / (2.0f + f);
    float z = s * s, w = z * z;
    float t1 = w * (0.40000972152f + w * 0.24279078841f);
    float t2 = z * (0.66666662693f + w * 0.28498786688f);
    float h = 0.5f * f * f;
    return s * (h + (t1 + t2)) + k * 9.0580006145e-06f - h + f + k * 6.9313812256e-01f;
}

/* log(x); -inf at 0, NaN below. */
static inline float nf_vlog(float x)
{
    float tiny = x < 1.17549435e-38f ? 1.0f : 0.0f;
    float y = x * (tiny != 0.0f ? 8388608.0f : 1.0f);
    uint32_t b = nf_vbits(y) + (0x3f800000u - 0x3f3504f3u);
    float k = (float)((int32_t)(b >> 23) - 127) - 23.0f * tiny;
    float m = nf_vfloat((b & 0x007fffffu) + 0x3f3504f3u);
    float r = nf_vlog_core(m - 1.0f, k);
    r = x > 3.4028234e38f ? x : r;
    r = x == 0.0f ? -__builtin_inff() : r;
    return x >= 0.0f ? r : __builtin_nanf("");
}

/* log(1 + u) for 0 <= u <= 1. */
static inline float nf_vlog1p_unit(float u)
{
    float big = u > 0.41421356f ? 1.0f : 0.0f;
    return nf_vlog_core(big != 0.0f ? 0.5f * u - 0.5f : u, big);
}

static inline float nf_vabs(float x)
{
    return nf_vfloat(nf_vbits(x) & 0x7fffffffu);
}

static inline float nf_vsigmoid(float x)
{
    float e = nf_vexp(-nf_vabs(x)), s = 1.0f / (1.0f + e);
    return x >= 0.0f ? s : e * s;
}

/* x sigmoid(x) */
static inline float nf_vsilu(float x)
{
    return x * nf_vsigmoid(x);
}

/* d silu(x) / dx = s (1 + x (1 - s)), with 1 - s free of cancellation. */
static inline float nf_vsilu_grad(float x)
{
    float e = nf_vexp(-nf_vabs(x)), p = 1.0f / (1.0f + e), m = e * p;
    float s = x >= 0.0f ? p : m, c = x >= 0.0f ? m : p;
    return s * (1.0f + x * c);
}

/* log(1 + exp(x)); its derivative is the sigmoid. */
static inline float nf_vsoftplus(float x)
{
    float up = x > 0.0f ? x : 0.0f;
    float r = up + nf_vlog1p_unit(nf_vexp(-nf_vabs(x)));
    return x == x ? r : x;
}

#endif
