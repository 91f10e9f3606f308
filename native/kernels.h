// The arguments of every kernel, structs of sizes and pointers, and the table of functions that every build exports.
#pragma once
#include <cstdint>

#include "experts.h"

namespace elman {

enum Cell { TANH = 0, RELU = 1, GRU = 2, LSTM = 3 };

// One layer over a sequence: T steps, B rows of the batch, H units, G gates; row-major, time-major, float32.
struct LayerCall {
  Int T, B, H;
  int threads;
  bool bfloat16;           // whether the operands of products (W_h, states, gradients) are rounded to bfloat16
  const Int* ids;          // (T, B) row indices into `projected`, or null: step t of row b reads row t * B + b
  const float* projected;  // the input projection W_x x + b_x: (V, G*H) with ids, (T*B, G*H) without
  const float* W_h;        // (G*H, H)
  const float* b_h;        // (G*H,)
  const float* h0;         // (B, H)
  const float* c0;         // (B, H), LSTM
  float* outputs;          // (T, B, H)
  float* cells;            // (T, B, H), LSTM: the cell state c after every step
  float* gates;            // T * B * 4 * (H rounded up to 16) activations: GRU r, z, n and u_n; LSTM i, f, g and o
  const float* d_outputs;            // (T, B, H)
  const float *d_h_last, *d_c_last;  // (B, H)
  // (T, B, D) gradients of the pre-activations: Elman D = H; GRU D = 4H, r, z, u_n and x_n; LSTM D = 4H, i, f, g and o
  float* d_preact;
  float *d_h, *d_c;                  // (B, H): gradients of h0 and c0
};

// The matrix product C (M, N) = scale * A B + C with `add`, else scale * A B + bias, one number a column. Element
// (i, k) of A lies at i * ai + k * ak, element (k, j) of B at k * bk + j * bj.
struct Product {
  Int M, N, K;
  const float *A, *B;
  Int ai, ak, bk, bj;
  float* C;
  Int ldc;
  const float* bias;
  float scale;
  bool add, bfloat16;
  int threads;
};

// An affine map W x + b from K numbers to G*H. W is packed in panels, (panels, K, G, U, VL): U vectors of units a gate.
struct Map {
  Int K, H;
  const float *W, *b;
};

// Autoregressive sampling of `steps` tokens of B streams: read a token, sample the next from the logits, read that.
struct Generation {
  Int steps, B, V, layers;
  int threads;
  const Map* maps;         // of each layer the map of its input and of its state, and last the output map (H = V)
  const float* table;      // (V, G*H) input projections of tokens; where the first map has a W, embeddings (V, K)
  float* const* state;     // of each layer h (B, H), and c (B, H) or null
  const Int* first;        // (B,) the tokens to read first
  Int* tokens;             // (steps, B) the sampled tokens
  const double* uniforms;  // (steps, B) in [0, 1), or null: the most probable token
  Int forbidden;           // a token that is never sampled, or -1
  Int top_k;               // V: all
  double top_p;            // 1: all
  float temperature;       // above 0
  const ExpertStreams* experts;  // or null; then the output map has a row for the weight of each expert after those of V
};

struct Kernels {
  const char* name;
  bool (*forward)(int cell, const LayerCall&);  // false where memory ran out
  bool (*backward)(int cell, const LayerCall&);
  bool (*product)(const Product&);
  // rows of V logits that lie `stride` apart
  void (*cross_entropy)(Int N, Int V, Int stride, float* logits, const Int* targets, float* nats, int threads);
  // d_table[ids[n]] += d[n] for N rows of `columns` numbers that lie `stride` apart; d_table (V, ldt) starts as zeros
  void (*scatter)(Int N, Int columns, Int stride, const Int* ids, const float* d, Int ldt,
                  float* d_table, int threads);
  bool (*generate)(int cell, const Generation&);  // false where memory ran out
  int (*vectors)(int cell, bool one);  // G * U of a panel, for one stream or several; cell -1: without a cell
  int VL;                              // numbers in a vector
};

#if defined(__aarch64__)
extern const Kernels kernels_neon;
#else
extern const Kernels kernels_plain;
#endif
#if defined(ELMAN_X86)
extern const Kernels kernels_avx2;
#endif
#if defined(ELMAN_AVX512)
extern const Kernels kernels_avx512;
extern const Kernels kernels_avx512bf16;
#endif

}  // namespace elman
