/* Numbers by fours: memory, elementary functions, and the one kernel of all matrix products. */

#include <stddef.h>
#include <stdint.h>
#include <wasm_simd128.h>

typedef v128_t Four;

#define add wasm_f32x4_add
#define sub wasm_f32x4_sub
#define mul wasm_f32x4_mul
#define all wasm_f32x4_splat
#define get wasm_v128_load
#define put wasm_v128_store

enum { COLUMNS = 8, ROWS = 4 };

static inline Four mul_add(Four a, Four b, Four c) { return add(mul(a, b), c); }

static inline float total(Four x) {
    return wasm_f32x4_extract_lane(x, 0) + wasm_f32x4_extract_lane(x, 1)
         + wasm_f32x4_extract_lane(x, 2) + wasm_f32x4_extract_lane(x, 3);
}

/* ---- Memory: taken in order from the heap's start, and never given back ---- */

extern unsigned char __heap_base;
static size_t heap_end;

static void *take(size_t bytes) {
    size_t start = (heap_end + 15) & ~(size_t)15;
    heap_end = start + bytes;
    size_t pages = (heap_end + 65535) >> 16, present = __builtin_wasm_memory_size(0);
    if (pages > present) __builtin_wasm_memory_grow(0, pages - present);
    return (void *)start;
}

static float *take_floats(size_t n) { return take(n * sizeof(float)); }

/* ---- Functions of four numbers ---- */

/* e^x for x <= 0 as 2^n e^r, |r| <= log(2) / 2. log(2) is in two parts, so that r keeps its digits.
   Below -87 it is that of -87, which is as good as 0. */
static inline Four exponential(Four x) {
    x = wasm_f32x4_max(x, all(-87.0f));
    Four n = wasm_f32x4_nearest(mul(x, all(1.44269504f)));
    Four r = mul_add(n, all(-1.42860677e-6f), mul_add(n, all(-0.693145752f), x));
    static const float inverse_factorials[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24,
                                               1.0f / 6, 0.5f, 1, 1};
    Four series = all(inverse_factorials[0]);
    for (int i = 1; i < 8; i++) series = mul_add(series, r, all(inverse_factorials[i]));
    Four exponent = wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4(n), wasm_i32x4_splat(127));
    return mul(series, wasm_i32x4_shl(exponent, 23));
}

/* x Phi(x). The normal tail by Abramowitz and Stegun 7.1.26, off by at most 1.5e-7. */
static inline Four gelu(Four x) {
    Four size = mul(wasm_f32x4_abs(x), all(0.707106781f));
    Four t = wasm_f32x4_div(all(1), mul_add(size, all(0.3275911f), all(1)));
    static const float series[] = {1.061405429f, -1.453152027f, 1.421413741f, -0.284496736f,
                                   0.254829592f};
    Four sum = all(series[0]);
    for (int i = 1; i < 5; i++) sum = mul_add(sum, t, all(series[i]));
    Four tail = mul(mul(sum, t), exponential(mul(wasm_f32x4_neg(size), size)));
    Four below = mul(mul(x, all(0.5f)), tail);  /* x Phi(-|x|) */
    return wasm_v128_bitselect(sub(x, below), below, wasm_f32x4_gt(x, all(0)));
}

/* ---- Matrix products ---- */

/* A matrix [out][in][taps] lies as [out / 8][taps][in][8]: as the kernel reads it. */
typedef struct { float *weights, *bias; int in, out, taps; } Matrix;

/* For each of four rows of `x`, the sum over `taps` places and `in` numbers at each of them, times
   eight columns of weights. Rows past the end may repeat the last one. */
static inline void panel(const float *const x[ROWS], const int *places, int taps, int in,
                         const float *weights, const float *bias, float *const out[ROWS]) {
    Four left[ROWS], right[ROWS];
    for (int r = 0; r < ROWS; r++) {
        left[r] = bias ? get(bias) : all(0);
        right[r] = bias ? get(bias + 4) : all(0);
    }
    for (int t = 0; t < taps; t++) {
        const float *a = x[0] + places[t], *b = x[1] + places[t];
        const float *c = x[2] + places[t], *d = x[3] + places[t];
        for (int i = 0; i < in; i++, weights += COLUMNS) {
            Four u = get(weights), v = get(weights + 4), s;
            s = all(a[i]), left[0] = mul_add(s, u, left[0]), right[0] = mul_add(s, v, right[0]);
            s = all(b[i]), left[1] = mul_add(s, u, left[1]), right[1] = mul_add(s, v, right[1]);
            s = all(c[i]), left[2] = mul_add(s, u, left[2]), right[2] = mul_add(s, v, right[2]);
            s = all(d[i]), left[3] = mul_add(s, u, left[3]), right[3] = mul_add(s, v, right[3]);
        }
    }
    for (int r = 0; r < ROWS; r++) put(out[r], left[r]), put(out[r] + 4, right[r]);
}

static inline int at_most(int value, int limit) { return value < limit ? value : limit; }

/* The rows of `x` times a matrix; `stride` and `out_stride` are floats between rows. */
static void multiply(const float *x, int stride, int rows, const Matrix *m, float *out,
                     int out_stride) {
    static const int here = 0;
    for (int j = 0; j < m->out; j += COLUMNS)
        for (int r = 0; r < rows; r += ROWS) {
            const float *from[ROWS];
            float *to[ROWS];
            for (int i = 0; i < ROWS; i++) {
                int row = at_most(r + i, rows - 1);
                from[i] = x + row * stride, to[i] = out + row * out_stride + j;
            }
            panel(from, &here, 1, m->in, m->weights + j * m->in, m->bias ? m->bias + j : 0, to);
        }
}
