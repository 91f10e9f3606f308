// One layer of a recurrence over a whole sequence, forward and backward, compiled once for each instruction set.
//
// The batch is split over threads, and each runs its rows through all steps: rows never wait for each other. A product
// with W_h goes in tiles of MR rows by NV vectors that stay in registers, over weights that were packed so that they
// are read in order; the gates of a unit lie in one tile, so that the activations are applied before anything is stored.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>
#include "kernels.h"
#ifdef _OPENMP
#include <omp.h>
#endif

#ifndef ELMAN_ISA
#define ELMAN_ISA plain
#endif
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)
#define INLINE static inline __attribute__((always_inline))

namespace elman {
namespace {

#if defined(__AVX512F__)
constexpr int VL = 16;  // float32 numbers in a vector
#elif defined(__AVX__)
constexpr int VL = 8;
#else
constexpr int VL = 4;
#endif
typedef float Vec __attribute__((vector_size(VL * 4)));
typedef float Loose __attribute__((vector_size(VL * 4), aligned(4), may_alias));

typedef int32_t Ints __attribute__((vector_size(VL * 4)));

INLINE Vec all(float x) { return x - Vec{}; }
INLINE Vec load(const float* p) { return *reinterpret_cast<const Loose*>(p); }
INLINE void store(float* p, Vec v) { *reinterpret_cast<Loose*>(p) = v; }

// The first n of a vector; at the last units of a layer there need not be VL of them.
INLINE Vec load(const float* p, int n) {
  if (n >= VL) return load(p);
  Vec v{};
  std::memcpy(&v, p, n * sizeof(float));
  return v;
}
INLINE void store(float* p, Vec v, int n) {
  if (n >= VL) return store(p, v);
  std::memcpy(p, &v, n * sizeof(float));
}

// e^x - less for x of -87 to 87: x = n log 2 + r, a polynomial in r (Cephes), and 2^n in the exponent. NaN stays NaN.
INLINE Vec expm1(Vec x, float less = 1.0f) {
  const Vec magic = all(12582912.0f);  // 1.5 * 2^23: what is added to it is rounded to a whole number
  const Vec shifted = x * 1.44269504088896341f + magic, n = shifted - magic;
  const Vec r = x - n * 0.693359375f - n * -2.12194440e-4f;
  Vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r;
  const Vec power = (Vec)(((Ints)shifted - (Ints)magic + 127) << 23);
  return power * p + (power - less);
}
INLINE Vec within(Vec x, float limit) {
  x = limit < x ? all(limit) : x;
  return -limit > x ? all(-limit) : x;
}
// (e^2x - 1) / (e^2x + 1); near 1 as 1 - 2 / (e^2x + 1), whose difference from 1 is exact, and with it 1 - tanh^2.
INLINE Vec tanh(Vec x) {
  const Ints sign = (Ints)x & (Ints)all(-0.0f);
  const Vec size = within((Vec)((Ints)x ^ sign), 10.0f), e = expm1(size * 2.0f);
  const auto large = size > 0.55f;
  const Vec part = (large ? all(2.0f) : e) / (e + 2.0f);
  return (Vec)((Ints)(large ? 1.0f - part : part) | sign);
}
INLINE Vec sigmoid(Vec x) { return 1.0f / (expm1(within(-x, 80.0f)) + 2.0f); }
INLINE Vec relu(Vec x) { return x < 0.0f ? Vec{} : x; }

// How many gates a cell has, and the tile of its forward product: NV vectors (of a gate each, or for Elman's network of
// neighbouring units) by MR rows, as many as the registers hold.
template <int C> constexpr int gates() { return C <= RELU ? 1 : C == GRU ? 3 : 4; }
#if defined(__AVX512F__)
template <int C> constexpr int NV() { return C <= RELU ? 2 : gates<C>(); }
template <int C> constexpr int MR() { return C == LSTM ? 6 : 8; }
constexpr int BACK_NV = 2, BACK_MR = 8;
#else
template <int C> constexpr int NV() { return C <= RELU ? 2 : gates<C>(); }
template <int C> constexpr int MR() { return C <= RELU ? 6 : C == GRU ? 4 : 3; }
constexpr int BACK_NV = 2, BACK_MR = 6;
#endif
template <int C> constexpr int units() { return C <= RELU ? NV<C>() * VL : VL; }  // of a panel

// sums[i][j] += A[i][k] * panel[k][j] over K; rows of A lie `stride` apart.
template <int R, int N> INLINE void multiply(const float* A, int64_t stride, const float* panel, int64_t K, Vec (&sums)[R][N]) {
  for (int64_t k = 0; k < K; k++, panel += N * VL) {
    if constexpr (R < N) {  // whichever is fewer stays in registers beside the sums, the other passes through one
      Vec a[R];
      for (int i = 0; i < R; i++) a[i] = all(A[i * stride + k]);
      for (int j = 0; j < N; j++) {
        const Vec w = load(panel + j * VL);
        for (int i = 0; i < R; i++) sums[i][j] += a[i] * w;
      }
    } else {
      Vec w[N];
      for (int j = 0; j < N; j++) w[j] = load(panel + j * VL);
      for (int i = 0; i < R; i++) {
        const Vec a = all(A[i * stride + k]);
        for (int j = 0; j < N; j++) sums[i][j] += a * w[j];
      }
    }
  }
}

// Weights in the order in which tiles read them; what lies beyond the last unit is 0.
template <int C> void pack_forward(const Problem& a, int64_t panel, float* out) {
  const int64_t H = a.H, first = panel * units<C>();
  constexpr int N = NV<C>();
  std::memset(out, 0, H * N * VL * sizeof(float));
  for (int j = 0; j < N; j++) {
    const int64_t unit = first + (C <= RELU ? j * VL : 0), row = (C <= RELU ? 0 : j * H) + unit;
    for (int64_t block = 0; block < H; block += 16)  // a cache line of each row at a time
      for (int lane = 0; lane < VL && unit + lane < H; lane++)
        for (int64_t k = block; k < block + 16 && k < H; k++) out[(k * N + j) * VL + lane] = a.W_h[(row + lane) * H + k];
  }
}
void pack_backward(const Problem& a, int64_t K, int64_t panel, float* out) {
  const int64_t first = panel * BACK_NV * VL, n = a.H - first < BACK_NV * VL ? a.H - first : BACK_NV * VL;
  for (int64_t k = 0; k < K; k++) {
    std::memcpy(out + k * BACK_NV * VL, a.W_h + k * a.H + first, n * sizeof(float));
    std::memset(out + k * BACK_NV * VL + n, 0, (BACK_NV * VL - n) * sizeof(float));
  }
}

// One tile: R rows from row b on, the units of one panel, step t.
template <int C, int R> void forward_tile(const Problem& a, int64_t t, int64_t b, int64_t panel, const float* P) {
  const int64_t H = a.H, first = panel * units<C>();
  const float* before = (t ? a.outputs + (t - 1) * a.B * H : a.h0) + b * H;
  constexpr int N = NV<C>();
  Vec sums[R][N];
  const float* asks[R];
  for (int i = 0; i < R; i++) {
    const int64_t row = t * a.B + b + i;
    asks[i] = a.asks + (a.ids ? a.ids[row] : row) * gates<C>() * H + first;
    for (int j = 0; j < N; j++) {
      const int64_t at = C <= RELU ? j * VL : j * H;
      const int left = int(H - first - (C <= RELU ? j * VL : 0));
      const Vec bias = left > 0 ? load(a.b_h + first + at, left) : Vec{};
      sums[i][j] = C == GRU && j == 2 ? bias : left > 0 ? bias + load(asks[i] + at, left) : Vec{};
    }
  }
  multiply<R, N>(before, H, P, H, sums);
  for (int i = 0; i < R; i++) {
    const int64_t row = t * a.B + b + i;
    float* out = a.outputs + row * H + first;
    const int n = int(H - first);
    if constexpr (C <= RELU) {
      for (int j = 0; j < N && n > j * VL; j++)
        store(out + j * VL, C == TANH ? tanh(sums[i][j]) : relu(sums[i][j]), n - j * VL);
    } else {
      float* kept = a.gates + row * 4 * H + first;
      if constexpr (C == GRU) {
        const Vec r = sigmoid(sums[i][0]), z = sigmoid(sums[i][1]), u = sums[i][2];
        const Vec c = tanh(load(asks[i] + 2 * H, n) + r * u);
        const Vec parts[4] = {r, z, c, u};
        for (int j = 0; j < 4; j++) store(kept + j * H, parts[j], n);
        store(out, c + z * (load(before + i * H + first, n) - c), n);
      } else {
        const Vec parts[4] = {sigmoid(sums[i][0]), sigmoid(sums[i][1]), tanh(sums[i][2]), sigmoid(sums[i][3])};
        for (int j = 0; j < 4; j++) store(kept + j * H, parts[j], n);
        const float* memory = (t ? a.cells + (t - 1) * a.B * H : a.c0) + (b + i) * H + first;
        const Vec c = parts[1] * load(memory, n) + parts[0] * parts[2];
        store(a.cells + row * H + first, c, n);
        store(out, parts[3] * tanh(c), n);
      }
    }
  }
}

template <int C> constexpr int owed() { return C <= RELU ? 1 : 4; }  // gradients of a unit that `d_asked` holds

// d_h of step t is what step t+1 owes through W_h, plus what its outputs and the sequel ask; then back through the gates.
template <int C, int R> void backward_tile(const Problem& a, int64_t t, int64_t b, int64_t panel, const float* P) {
  const int64_t H = a.H, stride = owed<C>() * H, first = panel * BACK_NV * VL;
  Vec sums[R][BACK_NV] = {};
  if (t < a.T - 1) multiply<R, BACK_NV>(a.d_asked + ((t + 1) * a.B + b) * stride, stride, P, gates<C>() * H, sums);
  for (int i = 0; i < R; i++)
    for (int j = 0; j < BACK_NV; j++) {
      const int64_t unit = first + j * VL, row = t * a.B + b + i, at = (b + i) * H + unit;
      const int n = int(H - unit);
      if (n <= 0) continue;
      Vec d_h = sums[i][j];
      if (t == a.T - 1) d_h += load(a.d_h_last + at, n);
      else if (C == GRU) d_h += load(a.d_h + at, n);  // z of the step after, which keeps the state as it is
      if (t < 0) {
        store(a.d_h + at, d_h, n);
        continue;
      }
      d_h += load(a.d_outputs + row * H + unit, n);
      float* d = a.d_asked + row * stride + unit;
      if constexpr (C <= RELU) {
        const Vec h = load(a.outputs + row * H + unit, n);
        store(d, C == TANH ? d_h * (1.0f - h * h) : (h > 0.0f ? d_h : Vec{}), n);
      } else {
        const float* kept = a.gates + row * 4 * H + unit;
        Vec g[4];
        for (int k = 0; k < 4; k++) g[k] = load(kept + k * H, n);
        if constexpr (C == GRU) {
          const Vec r = g[0], z = g[1], c = g[2], u = g[3];
          const Vec before = load((t ? a.outputs + (t - 1) * a.B * H : a.h0) + at, n);
          const Vec d_c = d_h * (1.0f - z) * (1.0f - c * c);
          const Vec parts[4] = {d_c * u * r * (1.0f - r), d_h * (before - c) * z * (1.0f - z), d_c * r, d_c};
          for (int k = 0; k < 4; k++) store(d + k * H, parts[k], n);
          store(a.d_h + at, d_h * z, n);
        } else {
          const Vec c = load(a.cells + row * H + unit, n), squashed = tanh(c);
          const Vec before = load((t ? a.cells + (t - 1) * a.B * H : a.c0) + at, n);
          const Vec d_c = load((t == a.T - 1 ? a.d_c_last : a.d_c) + at, n) + d_h * g[3] * (1.0f - squashed * squashed);
          const Vec parts[4] = {d_c * g[2] * g[0] * (1.0f - g[0]), d_c * before * g[1] * (1.0f - g[1]),
                                d_c * g[0] * (1.0f - g[2] * g[2]), d_h * squashed * g[3] * (1.0f - g[3])};
          for (int k = 0; k < 4; k++) store(d + k * H, parts[k], n);
          store(a.d_c + at, d_c * g[1], n);
        }
      }
    }
}

// tile<R>(first row) for the rows b0 to b1 - 1, in blocks of at most M that are as even as can be.
template <int M, class Tile> INLINE void in_blocks(int64_t b0, int64_t b1, Tile tile) {
  for (int64_t blocks = (b1 - b0 + M - 1) / M; blocks > 0; blocks--) {
    const int64_t rows = (b1 - b0 + blocks - 1) / blocks;
    switch (rows) {
      case 1: tile(std::integral_constant<int, 1>(), b0); break;
      case 2: tile(std::integral_constant<int, 2>(), b0); break;
      case 3: tile(std::integral_constant<int, M >= 3 ? 3 : 1>(), b0); break;
      case 4: tile(std::integral_constant<int, M >= 4 ? 4 : 1>(), b0); break;
      case 5: tile(std::integral_constant<int, M >= 5 ? 5 : 1>(), b0); break;
      case 6: tile(std::integral_constant<int, M >= 6 ? 6 : 1>(), b0); break;
      case 7: tile(std::integral_constant<int, M >= 7 ? 7 : 1>(), b0); break;
      default: tile(std::integral_constant<int, M >= 8 ? 8 : 1>(), b0);
    }
    b0 += rows;
  }
}

struct Free {
  void operator()(float* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<float, Free>;
Buffer buffer(int64_t numbers) {
  const size_t bytes = (numbers * sizeof(float) + 63) / 64 * 64;
  return Buffer(static_cast<float*>(std::aligned_alloc(64, bytes)));
}

// work(panel) for all panels, shared out; then each thread its rows: rows(b0, b1).
template <class Pack, class Rows> void in_parallel(const Problem& a, int64_t panels, Pack pack, Rows rows) {
#ifdef _OPENMP
#pragma omp parallel num_threads(a.threads)
#endif
  {
#ifdef _OPENMP
#pragma omp for schedule(static)
#endif
    for (int64_t panel = 0; panel < panels; panel++) pack(panel);
#ifdef _OPENMP
    const int64_t me = omp_get_thread_num(), threads = omp_get_num_threads();
#else
    const int64_t me = 0, threads = 1;
#endif
    rows(a.B * me / threads, a.B * (me + 1) / threads);
  }
}

template <int C> bool forward_of(const Problem& a) {
  const int64_t panels = (a.H + units<C>() - 1) / units<C>(), size = a.H * NV<C>() * VL;
  const Buffer packed = buffer(panels * size);
  if (!packed) return false;
  float* P = packed.get();
  in_parallel(
      a, panels, [&](int64_t panel) { pack_forward<C>(a, panel, P + panel * size); },
      [&](int64_t b0, int64_t b1) {
        for (int64_t t = 0; t < a.T; t++)
          for (int64_t panel = 0; panel < panels; panel++)
            in_blocks<MR<C>()>(b0, b1, [&](auto R, int64_t b) {
              forward_tile<C, decltype(R)::value>(a, t, b, panel, P + panel * size);
            });
      });
  return true;
}

template <int C> bool backward_of(const Problem& a) {
  const int64_t K = gates<C>() * a.H, panels = (a.H + BACK_NV * VL - 1) / (BACK_NV * VL), size = K * BACK_NV * VL;
  const Buffer packed = buffer(panels * size);
  if (!packed) return false;
  float* P = packed.get();
  in_parallel(
      a, panels, [&](int64_t panel) { pack_backward(a, K, panel, P + panel * size); },
      [&](int64_t b0, int64_t b1) {
        for (int64_t t = a.T - 1; t >= -1; t--)
          for (int64_t panel = 0; panel < panels; panel++)
            in_blocks<BACK_MR>(b0, b1, [&](auto R, int64_t b) {
              backward_tile<C, decltype(R)::value>(a, t, b, panel, P + panel * size);
            });
      });
  return true;
}

bool forward(int cell, const Problem& a) {
  return cell == TANH ? forward_of<TANH>(a) : cell == RELU ? forward_of<RELU>(a) : cell == GRU ? forward_of<GRU>(a) : forward_of<LSTM>(a);
}
bool backward(int cell, const Problem& a) {
  return cell == TANH ? backward_of<TANH>(a) : cell == RELU ? backward_of<RELU>(a) : cell == GRU ? backward_of<GRU>(a) : backward_of<LSTM>(a);
}

void scatter(int64_t N, int64_t columns, int64_t stride, const int64_t* ids, const float* d, int64_t ldt, float* d_table, int threads) {
  constexpr int64_t STRIP = 64;  // columns at a time: a strip of a small table stays in the cache
#ifdef _OPENMP
#pragma omp parallel for schedule(static) num_threads(threads)
#else
  (void)threads;
#endif
  for (int64_t c = 0; c < columns; c += STRIP)
    for (int64_t n = 0; n < N; n++) {
      float* to = d_table + ids[n] * ldt + c;
      const float* from = d + n * stride + c;
      const int64_t width = columns - c < STRIP ? columns - c : STRIP;
      for (int64_t j = 0; j < width; j += VL) {
        const int left = int(width - j);
        store(to + j, load(to + j, left) + load(from + j, left), left);
      }
    }
}

// Generating: each thread takes its streams through all steps, reading a token and drawing the next. A single stream
// reads all weights for every token, so its tiles are one row by as many vectors as hide the latency of a sum, and every
// other step goes through the panels in reverse: what the cache still holds of the last step is read first.
constexpr int AFFINE = -1;  // no cell: the product alone
template <int C, bool ONE> constexpr int wide() { return !ONE ? NV<C>() : C == AFFINE ? 4 : C == GRU ? 12 : 8; }

// One tile of W x + b, and of what a cell makes of it and the asks: R rows from row b on, the units of one panel.
template <int C, int R, int N>
void step_tile(const Map& m, int64_t panel, int64_t b, const float* x, const float* asks, const int64_t* ids, float* memory, float* out) {
  constexpr int U = N / gates<C>();
  const int64_t H = m.H, first = panel * U * VL;
  Vec sums[R][N];
  for (int j = 0; j < N; j++) {
    const int64_t unit = first + j % U * VL;
    const Vec bias = unit < H ? load(m.b + j / U * H + unit, int(H - unit)) : Vec{};
    for (int i = 0; i < R; i++) sums[i][j] = bias;
  }
  multiply<R, N>(x + b * m.K, m.K, m.W + panel * m.K * N * VL, m.K, sums);
  for (int i = 0; i < R; i++)
    for (int u = 0; u < U && first + u * VL < H; u++) {
      const int64_t unit = first + u * VL, at = (b + i) * H + unit;
      const int n = int(H - unit);
      if constexpr (C == AFFINE) {
        store(out + at, sums[i][u], n);
        continue;
      }
      const float* ask = asks + (ids ? ids[b + i] : b + i) * gates<C>() * H + unit;
      const auto gate = [&](int g) { return sums[i][g * U + u] + load(ask + g * H, n); };
      if constexpr (C == TANH || C == RELU) {
        store(out + at, C == TANH ? tanh(gate(0)) : relu(gate(0)), n);
      } else if constexpr (C == GRU) {
        const Vec r = sigmoid(gate(0)), z = sigmoid(gate(1)), c = tanh(load(ask + 2 * H, n) + r * sums[i][2 * U + u]);
        store(out + at, c + z * (load(x + at, n) - c), n);
      } else if constexpr (C == LSTM) {
        const Vec c = sigmoid(gate(1)) * load(memory + at, n) + sigmoid(gate(0)) * tanh(gate(2));
        store(memory + at, c, n);
        store(out + at, sigmoid(gate(3)) * tanh(c), n);
      }
    }
}

template <int C, bool ONE>
void step(const Map& m, bool back, int64_t B, const float* x, const float* asks, const int64_t* ids, float* memory, float* out) {
  constexpr int N = wide<C, ONE>(), units = N / gates<C>() * VL;
  const int64_t panels = (m.H + units - 1) / units;
  for (int64_t i = 0; i < panels; i++) {
    const int64_t panel = back ? panels - 1 - i : i;
    const auto tile = [&](auto R, int64_t b) { step_tile<C, decltype(R)::value, N>(m, panel, b, x, asks, ids, memory, out); };
    if constexpr (ONE) tile(std::integral_constant<int, 1>(), 0);
    else in_blocks<MR<C>()>(0, B, tile);
  }
}

struct Ranked {  // a type of this file's own: what the library makes of it is compiled for this instruction set alone
  float logit;
  int32_t token;
  bool operator<(const Ranked& other) const { return logit > other.logit || (logit == other.logit && token < other.token); }
};
INLINE double sum(const float* p, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; i++) total += p[i];
  return total;
}

// The token in whose part of the probabilities u falls; without u, or where one is NaN, the most probable. `p` and
// `order` hold V.
int64_t draw(const Generation& a, float* logits, float* p, Ranked* order, const double* u) {
  const int64_t V = a.V;
  if (a.forbidden >= 0) logits[a.forbidden] = -INFINITY;
  int64_t best = 0;
  for (int64_t i = 1; i < V; i++) best = logits[i] > logits[best] ? i : best;
  if (!u) return best;
  for (int64_t i = 0; i < V; i += VL) {
    const Vec x = (load(logits + i, int(V - i)) - logits[best]) / a.heat;
    store(p + i, x < -87.0f ? Vec{} : expm1(within(x, 87.0f), 0.0f), int(V - i));
  }
  double total = sum(p, V), mass = 0;
  if (!(total < INFINITY)) return best;
  if (a.top_k < V || a.top_p < 1) {
    for (int64_t i = 0; i < V; i++) order[i] = {logits[i], int32_t(i)};
    std::sort(order, order + V);
    const float least = order[a.top_k - 1].logit;
    for (int64_t i = 0; i < V; i++) p[i] = logits[i] < least ? 0.0f : p[i];
    const double enough = a.top_p < 1 ? a.top_p * sum(p, V) : INFINITY;
    for (int64_t i = 0; i < V; i++) {
      float& each = p[order[i].token];
      const float kept = mass < enough ? each : 0.0f;
      mass += each;
      each = kept;
    }
    total = sum(p, V), mass = 0;
  }
  for (int64_t i = 0; i < V; i++)
    if ((mass += p[i]) > *u * total) return i;
  return best;
}

// The streams b0 to b1 - 1; `scratch` holds six times `widest` numbers for each, of these streams alone.
template <int C, bool ONE> void generate_rows(const Generation& a, int64_t b0, int64_t b1, float* scratch, int64_t widest) {
  const int64_t rows = b1 - b0, size = rows * widest;
  float *next = scratch, *asks = next + size, *logits = asks + size, *p = logits + size;
  const auto state = [&](int64_t i) { return a.state[i] + (a.state[i] ? b0 * a.maps[i | 1].H : 0); };
  for (int64_t t = 0; t < a.steps; t++) {
    const int64_t* read = (t ? a.tokens + (t - 1) * a.B : a.first) + b0;
    for (int64_t l = 0; l < a.layers; l++) {
      const Map &ask = a.maps[2 * l], &past = a.maps[2 * l + 1];
      for (int64_t b = 0; !l && ask.W && b < rows; b++)
        std::memcpy(next + b * ask.K, a.table + read[b] * ask.K, ask.K * sizeof(float));
      if (ask.W) step<AFFINE, ONE>(ask, t % 2, rows, l ? state(2 * l - 2) : next, nullptr, nullptr, nullptr, asks);
      step<C, ONE>(past, t % 2, rows, state(2 * l), ask.W ? asks : a.table, ask.W ? nullptr : read, state(2 * l + 1), next);
      std::memcpy(state(2 * l), next, rows * past.H * sizeof(float));
    }
    step<AFFINE, ONE>(a.maps[2 * a.layers], t % 2, rows, state(2 * a.layers - 2), nullptr, nullptr, nullptr, logits);
    for (int64_t b = 0, at = t * a.B + b0; b < rows; b++, at++)
      a.tokens[at] = draw(a, logits + b * a.V, p, reinterpret_cast<Ranked*>(p + size), a.uniforms ? a.uniforms + at : nullptr);
  }
}

template <int C> bool generate_of(const Generation& a) {
  int64_t widest = a.V;  // of what a map reads or makes
  for (int64_t i = 0; i <= 2 * a.layers; i++)
    for (const int64_t n : {a.maps[i].K, a.maps[i].H}) widest = n > widest ? n : widest;
  const Buffer scratch = buffer(6 * a.B * widest);
  if (!scratch) return false;
  Problem rows{};
  rows.B = a.B, rows.threads = a.threads;
  in_parallel(rows, 0, [](int64_t) {}, [&](int64_t b0, int64_t b1) {
    (a.B == 1 ? generate_rows<C, true> : generate_rows<C, false>)(a, b0, b1, scratch.get() + 6 * b0 * widest, widest);
  });
  return true;
}
bool generate(int cell, const Generation& a) {
  return cell == TANH ? generate_of<TANH>(a) : cell == RELU ? generate_of<RELU>(a) : cell == GRU ? generate_of<GRU>(a) : generate_of<LSTM>(a);
}
int vectors(int cell, bool one) {
  if (one) return cell == AFFINE ? wide<AFFINE, true>() : cell == GRU ? wide<GRU, true>() : wide<TANH, true>();
  return cell == GRU ? NV<GRU>() : cell == LSTM ? NV<LSTM>() : NV<TANH>();
}

}  // namespace

const Kernels JOIN(kernels_, ELMAN_ISA) = {TEXT(ELMAN_ISA), forward, backward, scatter, generate, vectors, VL};

}  // namespace elman
