/* The U-Net of models/unet.py in WebAssembly with SIMD, for a few images at a time.

   Features lie as [image][row][column][channel]. So a pixel is a token of attention as it lies, and
   convolutions, linear layers and both products of attention are one kernel, `panel`: four rows of
   numbers times eight columns of a matrix. No libc and no imports.

   A page calls `setup` once for each shape of network, writes a file of weights to `staging` and
   calls `load`. Then, for every step of a sampler, it fills `images` and `embeddings`, calls
   `predict` and reads `noise`. */

#include "weights.h"

#define EXPORT(name) __attribute__((export_name(#name))) name

/* The layers in the order of config.LAYERS, by whose numbers `predict` is asked to exchange one. */
enum { LAYER1, LAYER2, LAYER3, LAYER4, BOTTLENECK, UP3, UP2, UP1 };

static int lines, size, count;  /* height and width of an image, and how many there are */

static float *input, *label_input, *predicted;
static float *x1, *x2, *x3, *joined, *y, *z;         /* features */
static float *padded, *spare, *qkv, *tokens, *normed, *injected;
static float *keys, *values, *scores;
static int *origins;

unsigned char *EXPORT(staging)(int bytes) {
    static int room;
    if (bytes > room) file = take(bytes), room = bytes;
    return file;
}

/* Take memory for networks of a width, whose images have `beside` channels besides their own and
   whose blocks are given `injected_features` numbers, and for so many images of `height` by `N`. */
void EXPORT(setup)(int channels, int beside, int injected_features, int height, int N, int images) {
    width = channels, inputs = 1 + beside, features = injected_features;
    lines = height, size = N, count = images;
    heap_end = (size_t)&__heap_base;
    reading = 0;
    walk();
    size_t pixels = (size_t)height * N, full = count * pixels * width;
    size_t wide = (pixels + COLUMNS - 1) / COLUMNS * COLUMNS;
    input = take_floats(count * pixels * inputs), predicted = take_floats(count * pixels);
    label_input = take_floats((size_t)BLOCKS * count * EMBEDDING);
    x1 = take_floats(full), x2 = take_floats(full), x3 = take_floats(full);
    /* The most channels at full size are 2w, before up1; 8w at an eighth of it is less, unless an
       image is one pixel high. */
    size_t most = 2 * full;
    joined = take_floats(most), y = take_floats(most), z = take_floats(most);
    spare = take_floats(most), tokens = take_floats(most), normed = take_floats(most);
    qkv = take_floats(3 * full);
    padded = take_floats(count * (size_t)(height + 2) * (N + 2) * 4 * width);
    injected = take_floats((size_t)count * 4 * width);
    origins = take(count * pixels * sizeof(int));
    int head = 24;  /* the largest: of 24 channels, one head */
    keys = take_floats(wide * head), values = take_floats(wide * head);
    scores = take_floats(ROWS * wide);
}

/* Decode the weights in `staging`, into the kernel's layout. */
void EXPORT(load)(void) {
    reading = file;
    walk();
}

/* [count][lines][size][1 + beside], the images, noisy, with what is drawn beside them; and
   [count][lines][size], the noise that is predicted in them. */
float *EXPORT(images)(void) { return input; }
float *EXPORT(noise)(void) { return predicted; }

/* [6 blocks][count][256]: what is injected into layer2, layer3, layer4, up3, up2 and up1, the
   timestep's part and, unless labels enter elsewhere, the label's. By block, so that a label can be
   exchanged or ablated at one. */
float *EXPORT(embeddings)(void) { return label_input; }

/* ---- Layers ---- */

static void convolve(const float *x, float *out, int h, int w, const Matrix *m) {
    int in = m->in, edge = w + 2, rows = h * w;
    size_t padded_image = (size_t)(h + 2) * edge * in;
    __builtin_memset(padded, 0, count * padded_image * sizeof(float));
    for (int n = 0; n < count; n++)
        for (int r = 0; r < h; r++) {
            float *to = padded + n * padded_image + ((r + 1) * edge + 1) * in;
            __builtin_memcpy(to, x + (size_t)(n * rows + r * w) * in, w * in * sizeof(float));
            for (int s = 0; s < w; s++)
                origins[n * rows + r * w + s] = n * padded_image + (r * edge + s) * in;
        }
    int places[9];
    for (int t = 0; t < 9; t++) places[t] = (t / 3 * edge + t % 3) * in;
    /* Columns without, pixels within: eight columns of weights then stay in the nearest cache. */
    for (int j = 0; j < m->out; j += COLUMNS)
        for (int p = 0; p < count * rows; p += ROWS) {
            const float *from[ROWS];
            float *to[ROWS];
            for (int i = 0; i < ROWS; i++) {
                int row = at_most(p + i, count * rows - 1);
                from[i] = padded + origins[row], to[i] = out + row * m->out + j;
            }
            panel(from, places, 9, in, m->weights + j * 9 * in, 0, to);
        }
}

/* Mean and inverse standard deviation of n numbers, a multiple of four. */
static inline float inverse_deviation(const float *x, int n, float *mean) {
    Four sum = all(0), squares = all(0);
    for (int i = 0; i < n; i += 4) sum = add(sum, get(x + i));
    *mean = total(sum) / n;
    for (int i = 0; i < n; i += 4) {
        Four d = sub(get(x + i), all(*mean));
        squares = mul_add(d, d, squares);
    }
    return 1 / __builtin_sqrtf(total(squares) / n + 1e-5f);
}

/* Group norm with one group, what is added before it (or null), GELU; in place. */
static void norm_gelu(float *x, int pixels, const Convolution *c, const float *residual) {
    int channels = c->convolution.out, n = pixels * channels;
    for (int image = 0; image < count; image++, x += n, residual += residual ? n : 0) {
        float mean, rate = inverse_deviation(x, n, &mean);
        for (int p = 0; p < n; p += channels)
            for (int i = 0; i < channels; i += 4) {
                Four gain = mul(get(c->gain + i), all(rate));
                Four v = mul_add(sub(get(x + p + i), all(mean)), gain, get(c->bias + i));
                put(x + p + i, gelu(residual ? add(v, get(residual + p + i)) : v));
            }
    }
}

static void convolve_twice(const float *x, float *out, int h, int w, const DoubleConvolution *d) {
    convolve(x, spare, h, w, &d->first.convolution);
    norm_gelu(spare, h * w, &d->first, 0);
    convolve(spare, out, h, w, &d->second.convolution);
    norm_gelu(out, h * w, &d->second, d->residual ? x : 0);
}

static void layer_norm(const float *x, float *out, int rows, int channels, const Norm *norm) {
    for (int r = 0; r < rows; r++, x += channels, out += channels) {
        float mean, rate = inverse_deviation(x, channels, &mean);
        for (int i = 0; i < channels; i += 4) {
            Four v = mul(sub(get(x + i), all(mean)), all(rate));
            put(out + i, mul_add(v, get(norm->gain + i), get(norm->bias + i)));
        }
    }
}

static void add_to(float *x, const float *y, int n) {
    for (int i = 0; i < n; i += 4) put(x + i, add(get(x + i), get(y + i)));
}

static void softmax(float *x, int n) {
    Four most = get(x), sum = all(0);
    for (int i = 4; i < n; i += 4) most = wasm_f32x4_pmax(most, get(x + i));
    float four[4], peak;
    put(four, most);
    peak = four[0];
    for (int i = 1; i < 4; i++) peak = four[i] > peak ? four[i] : peak;
    for (int i = 0; i < n; i += 4) {
        Four e = exponential(sub(get(x + i), all(peak)));
        sum = add(sum, e);
        put(x + i, e);
    }
    for (int i = 0; i < n; i += 4) put(x + i, mul(get(x + i), all(1 / total(sum))));
}

/* One head of one image: `q` are its queries, keys and values follow at `channels` and twice that.
   Four queries at a time, so that no more than four rows of scores are held. */
static void attend_head(const float *q, int pixels, int channels, int head, float *out) {
    int stride = 3 * channels, wide = (pixels + COLUMNS - 1) / COLUMNS * COLUMNS;
    const float *k = q + channels, *v = k + channels;
    float scale = 1 / __builtin_sqrtf(head);
    __builtin_memset(keys, 0, wide * head * sizeof(float));
    __builtin_memset(values, 0, wide * head * sizeof(float));
    for (int p = 0; p < pixels; p++)
        for (int i = 0; i < head; i++) {
            keys[(p / COLUMNS * head + i) * COLUMNS + p % COLUMNS] = k[p * stride + i] * scale;
            values[(i / COLUMNS * wide + p) * COLUMNS + i % COLUMNS] = v[p * stride + i];
        }
    Matrix to_scores = {keys, 0, head, wide, 1}, to_out = {values, 0, wide, head, 1};
    for (int p = 0; p < pixels; p += ROWS) {
        int rows = at_most(ROWS, pixels - p);
        multiply(q + p * stride, stride, rows, &to_scores, scores, wide);
        for (int r = 0; r < rows; r++) {
            for (int i = pixels; i < wide; i++) scores[r * wide + i] = -1e30f;
            softmax(scores + r * wide, wide);
        }
        multiply(scores, wide, rows, &to_out, out + p * channels, channels);
    }
}

static void attend(float *x, int pixels, const Attention *a) {
    int c = a->channels, rows = count * pixels;
    layer_norm(x, normed, rows, c, &a->norm);
    multiply(normed, c, rows, &a->query_key_value, qkv, 3 * c);
    for (int n = 0; n < count; n++)
        for (int i = 0; i < c; i += a->head) {
            const float *queries = qkv + n * pixels * 3 * c + i;
            attend_head(queries, pixels, c, a->head, tokens + n * pixels * c + i);
        }
    multiply(tokens, c, rows, &a->project, normed, c);
    add_to(x, normed, rows * c);
    layer_norm(x, normed, rows, c, &a->norm2);
    multiply(normed, c, rows, &a->expand, tokens, c);
    for (int i = 0; i < rows * c; i += 4) put(tokens + i, gelu(get(tokens + i)));
    multiply(tokens, c, rows, &a->contract, normed, c);
    add_to(x, normed, rows * c);
}

static void run_block(int number, const float *x, float *out, int h, int w) {
    const Block *b = &blocks[number];
    int c = b->attention.channels;
    convolve_twice(x, z, h, w, &b->convolutions[0]);
    convolve_twice(z, out, h, w, &b->convolutions[1]);
    const float *given = label_input + number * count * EMBEDDING;
    multiply(given, EMBEDDING, count, &b->inject, injected, c);
    for (int p = 0; p < count * h * w; p++) add_to(out + p * c, injected + p / (h * w) * c, c);
    attend(out, h * w, &b->attention);
}

/* The largest of each 2 by 2 pixels, or of 1 by 2 where images are one pixel high; `h` and `w` are
   the height and width of the result. */
static void pool(const float *x, float *out, int h, int w, int c) {
    int below = lines > 1 ? 2 * w * c : 0;
    for (int r = 0; r < count * h; r++)
        for (int s = 0; s < w; s++)
            for (int i = 0; i < c; i += 4) {
                const float *p = x + (r * (below ? 4 : 2) * w + 2 * s) * c + i, *q = p + below;
                Four upper = wasm_f32x4_pmax(get(p), get(p + c));
                Four lower = wasm_f32x4_pmax(get(q), get(q + c));
                put(out + (r * w + s) * c + i, wasm_f32x4_pmax(upper, lower));
            }
}

/* Of `n` pixels, doubled, the second that pixel `i` is made of; the first is i / 2. */
static inline int neighbour(int i, int n) {
    int other = i / 2 + (i % 2 ? 1 : -1);
    return other < 0 ? 0 : at_most(other, n - 1);
}

/* [skipped, x doubled in size], by channels; `h` and `w` are the height and width of the result.
   Bilinear, corners not aligned: three quarters of the nearest pixel, one of the next, each way. */
static void join(const float *skipped, int c_skipped, const float *x, int c, int h, int w) {
    int tall = lines > 1, low = tall ? h / 2 : h, both = c_skipped + c;
    for (int n = 0; n < count; n++)
        for (int r = 0; r < h; r++)
            for (int s = 0; s < w; s++) {
                int pixel = (n * h + r) * w + s;
                float *to = joined + pixel * both;
                __builtin_memcpy(to, skipped + pixel * c_skipped, c_skipped * sizeof(float));
                to += c_skipped;
                int near = n * low + (tall ? r / 2 : r);
                int far = n * low + (tall ? neighbour(r, low) : r);
                int left = s / 2, right = neighbour(s, w / 2);
                for (int i = 0; i < c; i += 4) {
                    Four a = get(x + (near * w / 2 + left) * c + i);
                    Four b = get(x + (near * w / 2 + right) * c + i);
                    Four d = get(x + (far * w / 2 + left) * c + i);
                    Four e = get(x + (far * w / 2 + right) * c + i);
                    Four upper = mul_add(a, all(0.75f), mul(b, all(0.25f)));
                    Four lower = mul_add(d, all(0.75f), mul(e, all(0.25f)));
                    put(to + i, mul_add(upper, all(0.75f), mul(lower, all(0.25f))));
                }
            }
}

/* Activation patching: the first half of the images get a layer's output of the second, and the
   second that of the first. */
static void exchange(float *x, size_t image) {
    for (size_t i = 0; i < count / 2 * image; i += 4) {
        Four mine = get(x + i);
        float *other = x + count / 2 * image + i;
        put(x + i, get(other));
        put(other, mine);
    }
}

/* Predict the noise in the images; `exchanged` is a layer, or -1. */
void EXPORT(predict)(int exchanged) {
    int w = width, N = size, tall = lines > 1;
    int h1 = lines, h2 = tall ? N / 2 : 1, h3 = tall ? N / 4 : 1, h4 = tall ? N / 8 : 1;
    size_t full = (size_t)h1 * N * w, half = (size_t)h2 * N * w, quarter = (size_t)h3 * N * w;
    size_t eighth = (size_t)h4 * N / 2 * w;  /* floats of an image: N/2 w, N/4 2w, N/8 4w */
    convolve_twice(input, x1, h1, N, &layer1);
    if (exchanged == LAYER1) exchange(x1, full);
    pool(x1, joined, h2, N / 2, w);
    run_block(0, joined, x2, h2, N / 2);
    if (exchanged == LAYER2) exchange(x2, half);
    pool(x2, joined, h3, N / 4, 2 * w);
    run_block(1, joined, x3, h3, N / 4);
    if (exchanged == LAYER3) exchange(x3, quarter);
    pool(x3, joined, h4, N / 8, 4 * w);
    run_block(2, joined, y, h4, N / 8);
    if (exchanged == LAYER4) exchange(y, eighth);
    convolve_twice(y, z, h4, N / 8, &bottleneck[0]);
    convolve_twice(z, y, h4, N / 8, &bottleneck[1]);
    convolve_twice(y, joined, h4, N / 8, &bottleneck[2]);
    __builtin_memcpy(y, joined, count * eighth * sizeof(float));
    if (exchanged == BOTTLENECK) exchange(y, eighth);
    join(x3, 4 * w, y, 4 * w, h3, N / 4);
    run_block(3, joined, y, h3, N / 4);
    if (exchanged == UP3) exchange(y, quarter / 2);
    join(x2, 2 * w, y, 2 * w, h2, N / 2);
    run_block(4, joined, y, h2, N / 2);
    if (exchanged == UP2) exchange(y, half / 2);
    join(x1, w, y, w, h1, N);
    run_block(5, joined, y, h1, N);
    if (exchanged == UP1) exchange(y, full);
    for (int p = 0; p < count * lines * N; p++) {
        float sum = *last.bias;  /* one column: the last matrix lies as [1][1][w][8] */
        for (int i = 0; i < w; i++) sum += y[p * w + i] * last.weights[i * COLUMNS];
        predicted[p] = sum;
    }
}
