/* The network's parts, and how a file of weights becomes them. */

#include "arithmetic.h"

enum { EMBEDDING = 256, BLOCKS = 6 };

typedef struct { Matrix convolution; float *gain, *bias; } Convolution;  /* and its group norm */
typedef struct { Convolution first, second; int residual; } DoubleConvolution;
typedef struct { float *gain, *bias; } Norm;
typedef struct {
    Norm norm, norm2;
    Matrix query_key_value, project, expand, contract;
    int channels, head;
} Attention;
typedef struct { DoubleConvolution convolutions[2]; Matrix inject; Attention attention; } Block;

static int width, inputs, features;  /* channels; those of an image; numbers injected into a block */
static DoubleConvolution layer1, bottleneck[3];
static Block blocks[BLOCKS];  /* layer2, layer3, layer4, up3, up2, up1 */
static Matrix last;

/* ---- Weights ---- */

/* The file holds the tensors in the order of the state_dict. Each is a byte, 0 or 1, then float32
   numbers; or, after 1, float32 scales, one for each output channel, and int8 numbers. */
static unsigned char *file;
static const unsigned char *reading;

static float read_float(size_t i) {  /* aligned or not */
    float value;
    __builtin_memcpy(&value, reading + i * sizeof value, sizeof value);
    return value;
}

static void read_matrix(float *to, int out, int in, int taps) {
    int in_bytes = *reading++, row = in * taps;
    const signed char *bytes = (const signed char *)reading + out * sizeof(float);
    for (int o = 0; o < out; o++)
        for (int i = 0; i < in; i++)
            for (int t = 0; t < taps; t++) {
                int k = o * row + i * taps + t;
                to[((o / COLUMNS * taps + t) * in + i) * COLUMNS + o % COLUMNS] =
                    in_bytes ? bytes[k] * read_float(o) : read_float(k);
            }
    reading += in_bytes ? out * sizeof(float) + out * row : out * row * sizeof(float);
}

static void read_vector(float *to, int n) {
    reading++;
    for (int i = 0; i < n; i++) to[i] = read_float(i);
    reading += n * sizeof(float);
}

/* The first walk through the network takes memory, the later ones fill it: `reading` is null in the
   first. Both thus have one order, that of the state_dict. */

static void walk_vector(float **v, int n) {
    if (reading) read_vector(*v, n);
    else *v = take_floats(n);
}

static void walk_matrix(Matrix *m, int in, int out, int taps) {
    if (reading) read_matrix(m->weights, out, in, taps);
    else *m = (Matrix){take_floats((size_t)(out + COLUMNS - 1) / COLUMNS * COLUMNS * in * taps), 0,
                       in, out, taps};
}

static void walk_linear(Matrix *m, int in, int out) {
    walk_matrix(m, in, out, 1);
    walk_vector(&m->bias, out);
}

static void walk_norm(Norm *n, int channels) {
    walk_vector(&n->gain, channels);
    walk_vector(&n->bias, channels);
}

static void walk_convolution(Convolution *c, int in, int out) {
    walk_matrix(&c->convolution, in, out, 9);
    walk_vector(&c->gain, out);
    walk_vector(&c->bias, out);
}

static void walk_double(DoubleConvolution *d, int in, int out, int residual) {
    d->residual = residual;
    walk_convolution(&d->first, in, out);
    walk_convolution(&d->second, out, out);
}

static void walk_block(Block *b, int in, int out) {
    walk_double(&b->convolutions[0], in, in, 1);
    walk_double(&b->convolutions[1], in, out, 0);
    walk_linear(&b->inject, features, out);
    Attention *a = &b->attention;
    a->channels = out, a->head = out / (out < 16 ? 1 : out / 16);
    walk_norm(&a->norm, out);
    walk_linear(&a->query_key_value, out, 3 * out);
    walk_linear(&a->project, out, out);
    walk_norm(&a->norm2, out);
    walk_linear(&a->expand, out, out);
    walk_linear(&a->contract, out, out);
}

static void walk(void) {
    int w = width;
    walk_double(&layer1, inputs, w, 0);
    walk_block(&blocks[0], w, 2 * w);
    walk_block(&blocks[1], 2 * w, 4 * w);
    walk_block(&blocks[2], 4 * w, 4 * w);
    walk_double(&bottleneck[0], 4 * w, 8 * w, 0);
    walk_double(&bottleneck[1], 8 * w, 8 * w, 0);
    walk_double(&bottleneck[2], 8 * w, 4 * w, 0);
    walk_block(&blocks[3], 8 * w, 2 * w);
    walk_block(&blocks[4], 4 * w, w);
    walk_block(&blocks[5], 2 * w, w);
    walk_linear(&last, w, 1);
}
