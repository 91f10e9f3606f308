// What a recurrence needs, and what every build of the kernels offers: one struct of pointers, one table of functions.
#pragma once
#include <cstdint>

namespace elman {

using Int = int64_t;

enum Cell { TANH = 0, RELU = 1, GRU = 2, LSTM = 3 };

// T steps, B rows, H units, G gates; everything is row-major and time-major, float32.
struct Problem {
  Int T, B, H;
  int threads;
  bool bfloat16;       // whether the products read W_h, states and gradients rounded to bfloat16
  const Int* ids;  // (T, B) rows of `asks`, or null: row t * B + b is its own
  const float* asks;   // what the input asks of every gate, b_x included: (V, G*H) with ids, (T*B, G*H) without
  const float* W_h;    // (G*H, H)
  const float* b_h;    // (G*H,)
  const float* h0;     // (B, H)
  const float* c0;     // (B, H), LSTM
  float* outputs;      // (T, B, H)
  float* cells;        // (T, B, H), LSTM: the memory after every step
  float* gates;        // T * B * 4 * (H rounded up to 16) numbers: GRU r, z, n and u_n; LSTM i, f, g, o; in vectors
  const float* d_outputs;            // (T, B, H)
  const float *d_h_last, *d_c_last;  // (B, H)
  float* d_asked;                    // (T, B, D): Elman D = H; GRU D = 4H: r, z, n of the past, n of the input; LSTM 4H
  float *d_h, *d_c;                  // (B, H): the gradients of h0 and c0
};

// C (M, N) = scale * A B, plus what C held where `add`, else plus the bias, a number a column. A number of A lies at
// i * ai + k * ak, one of B at k * bk + j * bj.
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

// x -> W x + b, K numbers to G*H. W lies in panels, (panels, K, G, U, VL): U vectors of units for each gate.
struct Map {
  Int K, H;
  const float *W, *b;
};

// `steps` tokens of B streams: one is read, and from the logits after it the next is drawn.
struct Generation {
  Int steps, B, V, layers;
  int threads;
  const Map* maps;       // for each layer what its input asks and what its past asks, and last the output (H = V)
  const float* table;    // (V, G*H) what a token asks of the first layer; where that has a map (W), its input (V, K)
  float* const* state;   // for each layer h (B, H), and c (B, H) or null
  const Int* first;  // (B,) the tokens to read first
  Int* tokens;       // (steps, B) what is drawn
  const double* uniforms;  // (steps, B) in [0, 1), or null: the most probable token
  Int forbidden;       // a token that is not drawn, or -1
  Int top_k;           // V: all
  double top_p;            // 1: all
  float heat;              // the temperature
};

struct Kernels {
  const char* name;
  bool (*forward)(int cell, const Problem&);   // false where memory ran out
  bool (*backward)(int cell, const Problem&);
  bool (*product)(const Product&);
  void (*cross_entropy)(Int N, Int V, float* logits, const Int* targets, float* nats, int threads);
  // d_table[ids[n]] += d[n], for N rows of `columns` numbers that lie `stride` apart; d_table (V, ldt) starts as zeros
  void (*scatter)(Int N, Int columns, Int stride, const Int* ids, const float* d, Int ldt,
                  float* d_table, int threads);
  bool (*generate)(int cell, const Generation&);  // false where memory ran out
  int (*vectors)(int cell, bool one);  // of a panel: G * U, for one stream or several; -1: for a map without a cell
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
