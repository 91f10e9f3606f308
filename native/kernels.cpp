// The kernels: one layer over a sequence, forward and backward, compiled once for each instruction set.
//
// The batch is split over threads, and each runs its rows through all steps: rows never wait for each other. A product
// with W_h goes in tiles of MR rows by NV vectors that stay in registers, over weights that were packed so that they
// are read in order; the gates of a unit lie in one tile: the activations are applied before anything is stored.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <type_traits>
#include "kernels.h"
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif
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

#if defined(ELMAN_VECTOR)
constexpr int VL = ELMAN_VECTOR;  // float32 numbers in a vector
#elif defined(__AVX512F__)
constexpr int VL = 16;
#elif defined(__AVX__)
constexpr int VL = 8;
#else
constexpr int VL = 4;
#endif
typedef float Vec __attribute__((vector_size(VL * 4)));
typedef float Loose __attribute__((vector_size(VL * 4), aligned(4), may_alias));

typedef int32_t Ints __attribute__((vector_size(VL * 4)));
typedef uint32_t Words __attribute__((vector_size(VL * 4)));
typedef uint32_t LooseWords __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef uint16_t Halves __attribute__((vector_size(VL * 2)));

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
INLINE Vec clamp(Vec x, float limit) {
  x = limit < x ? all(limit) : x;
  return -limit > x ? all(-limit) : x;
}
// (e^2x - 1) / (e^2x + 1); near 1 as 1 - 2 / (e^2x + 1), whose difference from 1 is exact, and with it 1 - tanh^2.
INLINE Vec tanh(Vec x) {
  const Ints sign = (Ints)x & (Ints)all(-0.0f);
  const Vec size = clamp((Vec)((Ints)x ^ sign), 10.0f), e = expm1(size * 2.0f);
  const auto large = size > 0.55f;
  const Vec part = (large ? all(2.0f) : e) / (e + 2.0f);
  return (Vec)((Ints)(large ? 1.0f - part : part) | sign);
}
INLINE Vec sigmoid(Vec x) { return 1.0f / (expm1(clamp(-x, 80.0f)) + 2.0f); }
INLINE Vec relu(Vec x) { return x < 0.0f ? Vec{} : x; }

// How many gates a cell has, and the tile of its forward product: NV vectors (of a gate each, or for Elman's network of
// neighbouring units) by MR rows, as many as the registers hold.
template <int C> constexpr int gates() { return C <= RELU ? 1 : C == GRU ? 3 : 4; }
#if defined(__aarch64__)
constexpr bool MANY = true;  // 32 registers, not 16
#else
constexpr bool MANY = VL == 16;
#endif
template <int C> constexpr int NV() { return C <= RELU ? 2 : gates<C>(); }
template <int C> constexpr int MR() {
  return C <= RELU ? (MANY ? 8 : 6) : C == GRU ? (MANY ? 8 : 4) : MANY ? 6 : 3;
}
constexpr int BACK_NV = 2, BACK_MR = MANY ? 8 : 6;
template <int C> constexpr int units() { return C <= RELU ? NV<C>() * VL : VL; }  // of a panel, in forward products

// Products read words of 32 bits: a float32 number, or two bfloat16 ones that follow each other along the sum. Sums are
// float32 in either.
struct F32 {
  static constexpr int PER = 1;  // numbers in a word
};
struct BF16 {
  static constexpr int PER = 2;
};
using Word = uint32_t;

// The upper 16 bits of float32 numbers, rounded to even; a NaN stays one.
INLINE Words rounded(Vec x) {
  const Words w = (Words)x, up = (w + 0x7fff + (w >> 16 & 1)) >> 16;
  return x == x ? up : w >> 16 | 0x40;
}
template <class S> INLINE Words word(Vec low, Vec high) {
  if constexpr (S::PER == 1) return (Words)low;
  return rounded(low) | rounded(high) << 16;
}
template <class S> INLINE Vec multiplied(Vec sum, Words a, Words w) {
  if constexpr (S::PER == 1) return sum + (Vec)a * (Vec)w;
#ifdef __AVX512BF16__
  return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)w);
#else
  return sum + (Vec)(a & 0xffff0000u) * (Vec)(w & 0xffff0000u) + (Vec)(a << 16) * (Vec)(w << 16);
#endif
}

// sums[i][j] += A[i][k] * panel[k][j] over K words; rows of A lie `down` apart, the words of a row `along`.
template <class S, int R, int N>
INLINE void multiply(const Word* A, Int down, Int along, const Word* panel, Int K, Vec (&sums)[R][N]) {
  for (Int k = 0; k < K; k++, panel += N * VL, A += along) {
    if constexpr (R < N) {  // whichever is fewer stays in registers beside the sums, the other passes through one
      Words a[R];
      for (int i = 0; i < R; i++) a[i] = A[i * down] + Words{};
      for (int j = 0; j < N; j++) {
        const Words w = *reinterpret_cast<const LooseWords*>(panel + j * VL);
        for (int i = 0; i < R; i++) sums[i][j] = multiplied<S>(sums[i][j], a[i], w);
      }
    } else {
      Words w[N];
      for (int j = 0; j < N; j++) w[j] = *reinterpret_cast<const LooseWords*>(panel + j * VL);
      for (int i = 0; i < R; i++) {
        const Words a = A[i * down] + Words{};
        for (int j = 0; j < N; j++) sums[i][j] = multiplied<S>(sums[i][j], a, w[j]);
      }
    }
  }
}

// Numbers k to k+n-1 of a row of words, from a vector.
template <class S> INLINE void put(Word* row, Int k, Vec v, int n) {
  if constexpr (S::PER == 1) return store(reinterpret_cast<float*>(row) + k, v, n);
  const Halves halves = __builtin_convertvector(rounded(v), Halves);
  std::memcpy(reinterpret_cast<uint16_t*>(row) + k, &halves, 2 * (n < VL ? n : VL));
}
INLINE Int smaller(Int a, Int b) { return a < b ? a : b; }
constexpr Int words(Int numbers, int per) { return (numbers + per - 1) / per; }

// `width` columns of K numbers as a panel: word k of column j at k * pitch + j; columns from n on are 0. Columns lie
// `across` apart, their numbers `down`. A panel narrower than a vector overwrites what follows it, which is packed
// next.
template <class S>
INLINE void pack(const float* from, Int across, Int down, Int n, Int width, Int K, Word* out, Int pitch) {
  const Int last = words(K, S::PER), even = across == 1 ? K / S::PER : 0;  // so many words are a load and a store each
  for (Int j = 0; j < width; j += VL) {
    const bool whole = n - j >= VL && (j == 0 || width - j >= VL);
    for (Int k = 0; k < even && whole; k++) {
      const float* at = from + j + k * S::PER * down;
      *reinterpret_cast<LooseWords*>(out + k * pitch + j) = word<S>(load(at), load(at + (S::PER - 1) * down));
    }
    for (Int k = whole ? even : 0; k < last; k++) {
      Vec parts[2] = {};
      for (int part = 0; part < S::PER && k * S::PER + part < K; part++)
        for (int lane = 0; lane < VL && lane < smaller(n, width) - j; lane++)
          parts[part][lane] = from[(j + lane) * across + (k * S::PER + part) * down];
      const Words w = word<S>(parts[0], parts[1]);
      std::memcpy(out + k * pitch + j, &w, 4 * smaller(VL, width - j));
    }
  }
}

// The operands of a layer's tiles: packed weights, and the rows of the step before in words, by the parity of the step.
struct Operands {
  const Word* panels;
  Int size;         // words of a panel
  Word* rows;       // (2, B, stride)
  Int stride;       // no power of two, which would put all rows into the same corner of the cache
  Int K;            // words of a row
  Word* row(const LayerCall& a, Int t, Int b) const { return rows + ((t & 1) * a.B + b) * stride; }
};

// The activations of step t that are saved for backward, four vectors of a row's units from `unit` on.
INLINE float* saved(const LayerCall& a, Int t, Int b, Int unit) {
  return a.gates + ((t * ((a.H + VL - 1) / VL) + unit / VL) * a.B + b) * 4 * VL;
}

// One tile: R rows from row b on, the units of one panel, step t.
template <class S, int C, int R> void forward_tile(const LayerCall& a, const Operands& o, Int t, Int b, Int panel) {
  const Int H = a.H, first = panel * units<C>();
  const float* before = (t ? a.outputs + (t - 1) * a.B * H : a.h0) + b * H;
  constexpr int N = NV<C>();
  Vec sums[R][N];
  const float* projected[R];
  for (int i = 0; i < R; i++) {
    const Int row = t * a.B + b + i;
    projected[i] = a.projected + (a.ids ? a.ids[row] : row) * gates<C>() * H + first;
    for (int j = 0; j < N; j++) {
      const Int at = C <= RELU ? j * VL : j * H;
      const int left = int(H - first - (C <= RELU ? j * VL : 0));
      const Vec bias = left > 0 ? load(a.b_h + first + at, left) : Vec{};
      sums[i][j] = C == GRU && j == 2 ? bias : left > 0 ? bias + load(projected[i] + at, left) : Vec{};
    }
  }
  multiply<S, R, N>(o.row(a, t - 1, b), o.stride, 1, o.panels + panel * o.size, o.K, sums);
  for (int i = 0; i < R; i++) {
    const Int row = t * a.B + b + i;
    float* out = a.outputs + row * H + first;
    Word* words = o.row(a, t, b + i);
    const int n = int(H - first);
    if constexpr (C <= RELU) {
      for (int j = 0; j < N && n > j * VL; j++) {
        const Vec h = C == TANH ? tanh(sums[i][j]) : relu(sums[i][j]);
        store(out + j * VL, h, n - j * VL);
        put<S>(words, first + j * VL, h, n - j * VL);
      }
    } else {
      float* gates = saved(a, t, b + i, first);
      Vec h;
      if constexpr (C == GRU) {
        const Vec r = sigmoid(sums[i][0]), z = sigmoid(sums[i][1]), u = sums[i][2];
        const Vec c = tanh(load(projected[i] + 2 * H, n) + r * u);
        const Vec parts[4] = {r, z, c, u};
        for (int j = 0; j < 4; j++) store(gates + j * VL, parts[j]);
        h = c + z * (load(before + i * H + first, n) - c);
      } else {
        const Vec parts[4] = {sigmoid(sums[i][0]), sigmoid(sums[i][1]), tanh(sums[i][2]), sigmoid(sums[i][3])};
        for (int j = 0; j < 4; j++) store(gates + j * VL, parts[j]);
        const float* memory = (t ? a.cells + (t - 1) * a.B * H : a.c0) + (b + i) * H + first;
        const Vec c = parts[1] * load(memory, n) + parts[0] * parts[2];
        store(a.cells + row * H + first, c, n);
        h = parts[3] * tanh(c);
      }
      store(out, h, n);
      put<S>(words, first, h, n);
    }
  }
}

template <int C> constexpr int gradients() { return C <= RELU ? 1 : 4; }  // of a unit in `d_preact`

// One tile of back-propagation: d_h of step t is the gradient through W_h from step t+1, plus that of the outputs and
// of the last state; from it the gradients of the gates.
template <class S, int C, int R> void backward_tile(const LayerCall& a, const Operands& o, Int t, Int b, Int panel) {
  const Int H = a.H, stride = gradients<C>() * H, first = panel * BACK_NV * VL;
  Vec sums[R][BACK_NV] = {};
  for (int i = 0; i < R && t >= 0; i++) {  // what comes after the product is fetched meanwhile
    const Int row = t * a.B + b + i;
    __builtin_prefetch(a.d_outputs + row * H + first);
    for (int k = 0; k < gradients<C>(); k++) __builtin_prefetch(a.d_preact + row * stride + k * H + first, 1);
    for (int k = 0; C > RELU && k < BACK_NV * 4 * VL; k += 16)
      __builtin_prefetch(saved(a, t, b + i, first + k / (4 * VL) * VL) + k % (4 * VL));
  }
  if (t < a.T - 1) multiply<S, R, BACK_NV>(o.row(a, t + 1, b), o.stride, 1, o.panels + panel * o.size, o.K, sums);
  for (int i = 0; i < R; i++)
    for (int j = 0; j < BACK_NV; j++) {
      const Int unit = first + j * VL, row = t * a.B + b + i, at = (b + i) * H + unit;
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
      float* d = a.d_preact + row * stride + unit;
      Word* words = o.row(a, t, b + i);
      if constexpr (C <= RELU) {
        const Vec h = load(a.outputs + row * H + unit, n);
        const Vec d_a = C == TANH ? d_h * (1.0f - h * h) : (h > 0.0f ? d_h : Vec{});
        store(d, d_a, n);
        put<S>(words, unit, d_a, n);
      } else {
        const float* from = saved(a, t, b + i, unit);
        Vec g[4], parts[4];
        for (int k = 0; k < 4; k++) g[k] = load(from + k * VL);
        if constexpr (C == GRU) {
          const Vec r = g[0], z = g[1], c = g[2], u = g[3];
          const Vec before = load((t ? a.outputs + (t - 1) * a.B * H : a.h0) + at, n);
          const Vec d_c = d_h * (1.0f - z) * (1.0f - c * c);
          parts[0] = d_c * u * r * (1.0f - r), parts[1] = d_h * (before - c) * z * (1.0f - z);
          parts[2] = d_c * r, parts[3] = d_c;
          store(a.d_h + at, d_h * z, n);
        } else {
          const Vec c = load(a.cells + row * H + unit, n), squashed = tanh(c);
          const Vec before = load((t ? a.cells + (t - 1) * a.B * H : a.c0) + at, n);
          const Vec d_c = load((t == a.T - 1 ? a.d_c_last : a.d_c) + at, n) + d_h * g[3] * (1.0f - squashed * squashed);
          parts[0] = d_c * g[2] * g[0] * (1.0f - g[0]), parts[1] = d_c * before * g[1] * (1.0f - g[1]);
          parts[2] = d_c * g[0] * (1.0f - g[2] * g[2]), parts[3] = d_h * squashed * g[3] * (1.0f - g[3]);
          store(a.d_c + at, d_c * g[1], n);
        }
        for (int k = 0; k < 4; k++) store(d + k * H, parts[k], n);
        for (int k = 0; k < gates<C>(); k++) put<S>(words, k * H + unit, parts[k], n);
      }
    }
}

// tile<R>(first row) for the rows b0 to b1 - 1, in blocks of at most M that are as even as can be.
template <int M, class Tile> INLINE void in_blocks(Int b0, Int b1, Tile tile) {
  for (Int blocks = (b1 - b0 + M - 1) / M; blocks > 0; blocks--) {
    const Int rows = (b1 - b0 + blocks - 1) / blocks;
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
  void operator()(Word* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<Word, Free>;
Buffer buffer(Int count) {
  return Buffer(static_cast<Word*>(std::aligned_alloc(64, (count * sizeof(Word) + 63) / 64 * 64)));
}

// work(panel) for all panels, shared out; then each thread its rows: rows(b0, b1).
template <class Pack, class Rows> void in_parallel(const LayerCall& a, Int panels, Pack pack, Rows rows) {
#ifdef _OPENMP
#pragma omp parallel num_threads(a.threads)
#endif
  {
#ifdef _OPENMP
#pragma omp for schedule(static)
#endif
    for (Int panel = 0; panel < panels; panel++) pack(panel);
#ifdef _OPENMP
    const Int me = omp_get_thread_num(), threads = omp_get_num_threads();
#else
    const Int me = 0, threads = 1;
#endif
    rows(a.B * me / threads, a.B * (me + 1) / threads);
  }
}

// Packs weights of K numbers into `panels`, lets rows(b0, b1, operands) go through them; false where memory ran out.
template <class S, class Pack, class Rows>
bool layer(const LayerCall& a, Int K, Int panels, Int width, Pack pack_one, Rows rows) {
  Operands o{};
  o.K = words(K, S::PER), o.size = o.K * width, o.stride = (o.K + 63) / 64 * 64 + 16;
  const Buffer packed = buffer(panels * o.size), both = buffer(2 * a.B * o.stride);
  if (!packed || !both) return false;
  o.panels = packed.get(), o.rows = both.get();
  std::memset(o.rows, 0, 2 * a.B * o.stride * sizeof(Word));  // an odd number of bfloat16 ends in a 0
  in_parallel(
      a, panels, [&](Int panel) { pack_one(panel, packed.get() + panel * o.size); },
      [&](Int b0, Int b1) { rows(b0, b1, o); });
  return true;
}

template <class S, int C> bool forward_of(const LayerCall& a) {
  constexpr int N = NV<C>(), each = units<C>();  // the vectors of a unit's gates are packed side by side
  const auto pack_one = [&](Int panel, Word* out) {
    if (C <= RELU) return pack<S>(a.W_h + panel * each * a.H, a.H, 1, a.H - panel * each, each, a.H, out, each);
    for (int j = 0; j < N; j++)
      pack<S>(a.W_h + (j * a.H + panel * each) * a.H, a.H, 1, a.H - panel * each, VL, a.H, out + j * VL, N * VL);
  };
  return layer<S>(a, a.H, (a.H + each - 1) / each, N * VL, pack_one, [&](Int b0, Int b1, const Operands& o) {
    for (Int b = b0; b < b1; b++)
      for (Int k = 0; k < a.H; k += VL)
        put<S>(o.row(a, -1, b), k, load(a.h0 + b * a.H + k, int(a.H - k)), int(a.H - k));
    for (Int t = 0; t < a.T; t++)
      for (Int panel = 0; panel < (a.H + each - 1) / each; panel++)
        in_blocks<MR<C>()>(b0, b1, [&](auto R, Int b) { forward_tile<S, C, decltype(R)::value>(a, o, t, b, panel); });
  });
}

template <class S, int C> bool backward_of(const LayerCall& a) {
  constexpr int width = BACK_NV * VL;
  const Int K = gates<C>() * a.H, panels = (a.H + width - 1) / width;
  const auto pack_one = [&](Int panel, Word* out) {
    pack<S>(a.W_h + panel * width, 1, a.H, a.H - panel * width, width, K, out, width);
  };
  return layer<S>(a, K, panels, width, pack_one, [&](Int b0, Int b1, const Operands& o) {
    for (Int t = a.T - 1; t >= -1; t--)
      for (Int panel = 0; panel < panels; panel++)
        in_blocks<BACK_MR>(b0, b1, [&](auto R, Int b) { backward_tile<S, C, decltype(R)::value>(a, o, t, b, panel); });
  });
}

template <class S> bool forward_in(int cell, const LayerCall& a) {
  return cell == TANH ? forward_of<S, TANH>(a) : cell == RELU ? forward_of<S, RELU>(a)
       : cell == GRU  ? forward_of<S, GRU>(a)  : forward_of<S, LSTM>(a);
}
template <class S> bool backward_in(int cell, const LayerCall& a) {
  return cell == TANH ? backward_of<S, TANH>(a) : cell == RELU ? backward_of<S, RELU>(a)
       : cell == GRU  ? backward_of<S, GRU>(a)  : backward_of<S, LSTM>(a);
}
bool forward(int cell, const LayerCall& a) { return a.bfloat16 ? forward_in<BF16>(cell, a) : forward_in<F32>(cell, a); }
bool backward(int cell, const LayerCall& a) {
  return a.bfloat16 ? backward_in<BF16>(cell, a) : backward_in<F32>(cell, a);
}

constexpr Int STRETCH = 256, CHUNK = 192;  // words of a sum, and rows, whose packed form stays in the cache

// Rows m0 to m1 and columns n0 to n1 of a product, by one thread, whose own are `panel` and `chunk`. Every stretch of a
// sum is added up by itself, which rounds less than one long sum.
template <class S> void product_of(const Product& p, Int m0, Int m1, Int n0, Int n1, Word* panel, Word* chunk) {
  constexpr int N = BACK_NV, M = BACK_MR;
  const bool in_place = S::PER == 1 && p.ak == 1;  // rows of float32 that lie in order are read where they are
  const Int step = in_place ? m1 - m0 : CHUNK;
  for (Int k0 = 0; k0 < p.K; k0 += STRETCH * S::PER)
    for (Int c0 = m0; c0 < m1; c0 += step) {
      const Int K = smaller(p.K - k0, STRETCH * S::PER), c1 = smaller(c0 + step, m1);
      const auto packed = [&](Int i) { return !in_place || c1 - i < M; };
      const auto slot = [&](Int i) { return chunk + (in_place ? 0 : (i - c0) / M * (M * STRETCH + VL)); };
      for (Int k = 0; k < K; k += 8)  // few rows of A at a time: their lines stay in the cache for the next columns
        for (Int i = c0; i < c1; i += M)
          if (packed(i))
            pack<S>(p.A + i * p.ai + (k0 + k) * p.ak, p.ai, p.ak, c1 - i, M, smaller(K - k, 8),
                    slot(i) + k / S::PER * M, M);
      for (Int n = n0; n < n1; n += N * VL) {
        pack<S>(p.B + k0 * p.bk + n * p.bj, p.bj, p.bk, n1 - n, N * VL, K, panel, N * VL);
        for (Int i = c0; i < c1; i += M) {
          Vec sums[M][N] = {};
          if (packed(i)) multiply<S, M, N>(slot(i), 1, M, panel, words(K, S::PER), sums);
          else multiply<S, M, N>(reinterpret_cast<const Word*>(p.A + i * p.ai + k0), p.ai, 1, panel, K, sums);
          for (int r = 0; r < M && i + r < c1; r++)
            for (int j = 0; j < N && n + j * VL < n1; j++) {
              const int left = int(n1 - n - j * VL);
              float* to = p.C + (i + r) * p.ldc + n + j * VL;
              const Vec sum = p.scale * sums[r][j];
              if (k0 || p.add) store(to, load(to, left) + sum, left);
              else store(to, p.bias ? load(p.bias + n + j * VL, left) + sum : sum, left);
            }
        }
      }
    }
}

bool product(const Product& p) {
  const Int panel = STRETCH * BACK_NV * VL, each = panel + (CHUNK / BACK_MR + 1) * (BACK_MR * STRETCH + VL);
  const Buffer own = buffer(each * p.threads);
  if (!own) return false;
#ifdef _OPENMP
#pragma omp parallel num_threads(p.threads)
#endif
  {
#ifdef _OPENMP
    const Int me = omp_get_thread_num(), threads = omp_get_num_threads();
#else
    const Int me = 0, threads = 1;
#endif
    const bool by_rows = p.M >= p.N;  // the longer side is shared out
    const Int all = by_rows ? p.M : p.N, unit = by_rows ? BACK_MR : BACK_NV * VL, blocks = (all + unit - 1) / unit;
    const auto edge = [&](Int thread) { return smaller(blocks * thread / threads * unit, all); };
    const Int from = edge(me), to = edge(me + 1);
    Word* mine = own.get() + me * each;
    const auto work = p.bfloat16 ? product_of<BF16> : product_of<F32>;
    if (from < to && by_rows) work(p, from, to, 0, p.N, mine, mine + panel);
    if (from < to && !by_rows) work(p, 0, p.M, from, to, mine, mine + panel);
  }
  return true;
}

// Cross-entropy: nats[n] = -log softmax(x[n])[target], and x becomes the gradient of their sum, softmax(x) - one-hot
// (target). A target below 0 adds 0.
void cross_entropy(Int N, Int V, Int stride, float* logits, const Int* targets, float* nats, int threads) {
#ifdef _OPENMP
#pragma omp parallel for schedule(static) num_threads(threads)
#else
  (void)threads;
#endif
  for (Int n = 0; n < N; n++) {
    float* x = logits + n * stride;
    const auto part = [&](Int j, float beyond) {
      Vec v = load(x + j, int(V - j));
      for (int lane = int(V - j); lane < VL; lane++) v[lane] = beyond;
      return v;
    };
    Vec most = part(0, -HUGE_VALF), sums{};
    for (Int j = VL; j < V; j += VL) {
      const Vec v = part(j, -HUGE_VALF);
      most = v > most ? v : most;
    }
    float top = most[0];
    double total = 0;
    for (int lane = 1; lane < VL; lane++) top = most[lane] > top ? most[lane] : top;
    const float wanted = targets[n] < 0 ? 0 : x[targets[n]];
    for (Int j = 0; j < V; j += VL) {
      Vec e = expm1(clamp(part(j, 0) - top, 87.0f), 0.0f);
      for (int lane = int(V - j); lane < VL; lane++) e[lane] = 0;
      store(x + j, e, int(V - j));
      sums += e;
    }
    for (int lane = 0; lane < VL; lane++) total += sums[lane];
    const float share = targets[n] < 0 ? 0 : float(1 / total);
    for (Int j = 0; j < V; j += VL) store(x + j, part(j, 0) * share, int(V - j));
    if (targets[n] >= 0) x[targets[n]] -= 1;
    nats[n] = targets[n] < 0 ? 0 : float(std::log(total) - (double(wanted) - top));
  }
}

void scatter(Int N, Int columns, Int stride, const Int* ids, const float* d, Int ldt, float* d_table, int threads) {
  constexpr Int STRIP = 64;  // columns at a time: a strip of a small table stays in the cache
#ifdef _OPENMP
#pragma omp parallel for schedule(static) num_threads(threads)
#else
  (void)threads;
#endif
  for (Int c = 0; c < columns; c += STRIP)
    for (Int n = 0; n < N; n++) {
      float* to = d_table + ids[n] * ldt + c;
      const float* from = d + n * stride + c;
      const Int width = smaller(columns - c, STRIP);
      for (Int j = 0; j < width; j += VL) {
        const int left = int(width - j);
        store(to + j, load(to + j, left) + load(from + j, left), left);
      }
    }
}

// Sampling: each thread takes its streams through all steps, reading a token and sampling the next. A single stream
// reads all weights for every token, so its tiles are one row by as many vectors as hide the latency of a sum. Every
// other step goes through the panels in reverse: what the cache still holds of the last step is read first.
constexpr int AFFINE = -1;  // no cell: the product alone
template <int C, bool ONE> constexpr int wide() { return !ONE ? NV<C>() : C == AFFINE ? 4 : C == GRU ? 12 : 8; }

// One tile of W x + b, and the cell's step on it and on the input projections: R rows from row b on, one panel's units.
template <int C, int R, int N>
void step_tile(const Map& m, Int panel, Int b, const float* x, const float* projected, const Int* ids, float* memory,
               float* out) {
  constexpr int U = N / gates<C>();
  const Int H = m.H, first = panel * U * VL;
  Vec sums[R][N];
  for (int j = 0; j < N; j++) {
    const Int unit = first + j % U * VL;
    const Vec bias = unit < H ? load(m.b + j / U * H + unit, int(H - unit)) : Vec{};
    for (int i = 0; i < R; i++) sums[i][j] = bias;
  }
  const auto words_of = [](const float* p) { return reinterpret_cast<const Word*>(p); };
  multiply<F32, R, N>(words_of(x + b * m.K), m.K, 1, words_of(m.W + panel * m.K * N * VL), m.K, sums);
  for (int i = 0; i < R; i++)
    for (int u = 0; u < U && first + u * VL < H; u++) {
      const Int unit = first + u * VL, at = (b + i) * H + unit;
      const int n = int(H - unit);
      if constexpr (C == AFFINE) {
        store(out + at, sums[i][u], n);
        continue;
      }
      const float* from = projected + (ids ? ids[b + i] : b + i) * gates<C>() * H + unit;
      const auto gate = [&](int g) { return sums[i][g * U + u] + load(from + g * H, n); };
      if constexpr (C == TANH || C == RELU) {
        store(out + at, C == TANH ? tanh(gate(0)) : relu(gate(0)), n);
      } else if constexpr (C == GRU) {
        const Vec r = sigmoid(gate(0)), z = sigmoid(gate(1)), c = tanh(load(from + 2 * H, n) + r * sums[i][2 * U + u]);
        store(out + at, c + z * (load(x + at, n) - c), n);
      } else if constexpr (C == LSTM) {
        const Vec c = sigmoid(gate(1)) * load(memory + at, n) + sigmoid(gate(0)) * tanh(gate(2));
        store(memory + at, c, n);
        store(out + at, sigmoid(gate(3)) * tanh(c), n);
      }
    }
}

template <int C, bool ONE>
void step(const Map& m, bool back, Int B, const float* x, const float* projected, const Int* ids, float* memory,
          float* out) {
  constexpr int N = wide<C, ONE>(), units = N / gates<C>() * VL;
  const Int panels = (m.H + units - 1) / units;
  for (Int i = 0; i < panels; i++) {
    const Int panel = back ? panels - 1 - i : i;
    const auto tile = [&](auto R, Int b) {
      step_tile<C, decltype(R)::value, N>(m, panel, b, x, projected, ids, memory, out);
    };
    if constexpr (ONE) tile(std::integral_constant<int, 1>(), 0);
    else in_blocks<MR<C>()>(0, B, tile);
  }
}

struct Ranked {  // a type of this file's own: what the library makes of it is compiled for this instruction set alone
  float logit;
  int32_t token;
  bool operator<(const Ranked& other) const {
    return logit > other.logit || (logit == other.logit && token < other.token);
  }
};
INLINE double sum(const float* p, Int n) {
  double total = 0;
  for (Int i = 0; i < n; i++) total += p[i];
  return total;
}

// Inverse transform sampling: the first token whose cumulative probability exceeds u; without u, or where a probability
// is NaN, the most probable token. `p` and `order` hold V.
Int sample(const Generation& a, float* logits, float* p, Ranked* order, const double* u) {
  const Int V = a.V;
  if (a.forbidden >= 0) logits[a.forbidden] = -INFINITY;
  Int best = 0;
  for (Int i = 1; i < V; i++) best = logits[i] > logits[best] ? i : best;
  if (!u) return best;
  for (Int i = 0; i < V; i += VL) {
    const Vec x = (load(logits + i, int(V - i)) - logits[best]) / a.temperature;
    store(p + i, x < -87.0f ? Vec{} : expm1(clamp(x, 87.0f), 0.0f), int(V - i));
  }
  double total = sum(p, V), mass = 0;
  if (!(total < INFINITY)) return best;
  if (a.top_k < V || a.top_p < 1) {
    for (Int i = 0; i < V; i++) order[i] = {logits[i], int32_t(i)};
    std::sort(order, order + V);
    const float least = order[a.top_k - 1].logit;
    for (Int i = 0; i < V; i++) p[i] = logits[i] < least ? 0.0f : p[i];
    const double enough = a.top_p < 1 ? a.top_p * sum(p, V) : INFINITY;
    for (Int i = 0; i < V; i++) {
      float& each = p[order[i].token];
      const float nucleus = mass < enough ? each : 0.0f;
      mass += each;
      each = nucleus;
    }
    total = sum(p, V), mass = 0;
  }
  for (Int i = 0; i < V; i++)
    if ((mass += p[i]) > *u * total) return i;
  return best;
}

// The streams b0 to b1 - 1; `scratch` holds six times `widest` numbers for each, of these streams alone.
template <int C, bool ONE>
void generate_rows(const Generation& a, Int b0, Int b1, float* scratch, Int widest, double* ones) {
  const Int rows = b1 - b0, size = rows * widest, row = a.maps[2 * a.layers].H;
  float *next = scratch, *projected = next + size, *logits = projected + size, *p = logits + size;
  const auto state = [&](Int i) { return a.state[i] + (a.state[i] ? b0 * a.maps[i | 1].H : 0); };
  for (Int t = 0; t < a.steps; t++) {
    const Int* read = (t ? a.tokens + (t - 1) * a.B : a.first) + b0;
    for (Int l = 0; l < a.layers; l++) {
      const Map &input = a.maps[2 * l], &recurrent = a.maps[2 * l + 1];
      for (Int b = 0; !l && input.W && b < rows; b++)
        std::memcpy(next + b * input.K, a.table + read[b] * input.K, input.K * sizeof(float));
      const float* x = l ? state(2 * l - 2) : next;
      if (input.W) step<AFFINE, ONE>(input, t % 2, rows, x, nullptr, nullptr, nullptr, projected);
      step<C, ONE>(recurrent, t % 2, rows, state(2 * l), input.W ? projected : a.table, input.W ? nullptr : read,
                   state(2 * l + 1), next);
      std::memcpy(state(2 * l), next, rows * recurrent.H * sizeof(float));
    }
    step<AFFINE, ONE>(a.maps[2 * a.layers], t % 2, rows, state(2 * a.layers - 2), nullptr, nullptr, nullptr, logits);
    for (Int b = 0, at = t * a.B + b0; b < rows; b++, at++) {
      if (a.experts) advance_experts(*a.experts, b0 + b, read[b], logits + b * row, ones);
      a.tokens[at] = sample(a, logits + b * row, p, reinterpret_cast<Ranked*>(p + size),
                          a.uniforms ? a.uniforms + at : nullptr);
    }
  }
}

template <int C> bool generate_of(const Generation& a) {
  Int widest = a.V;  // of what a map reads or makes
  for (Int i = 0; i <= 2 * a.layers; i++)
    for (const Int n : {a.maps[i].K, a.maps[i].H}) widest = n > widest ? n : widest;
  const Buffer scratch = buffer(6 * a.B * widest), ones = buffer(a.experts ? 2 * a.B * a.V : 1);
  if (!scratch || !ones) return false;
  for (Int i = 0; a.experts && i < a.B * a.V; i++) reinterpret_cast<double*>(ones.get())[i] = 1;
  LayerCall rows{};
  rows.B = a.B, rows.threads = a.threads;
  in_parallel(rows, 0, [](Int) {}, [&](Int b0, Int b1) {
    float* own = reinterpret_cast<float*>(scratch.get()) + 6 * b0 * widest;
    double* own_ones = reinterpret_cast<double*>(ones.get()) + (a.experts ? b0 * a.V : 0);
    (a.B == 1 ? generate_rows<C, true> : generate_rows<C, false>)(a, b0, b1, own, widest, own_ones);
  });
  return true;
}
bool generate(int cell, const Generation& a) {
  return cell == TANH ? generate_of<TANH>(a) : cell == RELU ? generate_of<RELU>(a)
       : cell == GRU  ? generate_of<GRU>(a)  : generate_of<LSTM>(a);
}
int vectors(int cell, bool one) {
  if (one) return cell == AFFINE ? wide<AFFINE, true>() : cell == GRU ? wide<GRU, true>() : wide<TANH, true>();
  return cell == GRU ? NV<GRU>() : cell == LSTM ? NV<LSTM>() : NV<TANH>();
}

}  // namespace

extern const Kernels JOIN(kernels_, ELMAN_ISA);
const Kernels JOIN(kernels_, ELMAN_ISA) = {
    TEXT(ELMAN_ISA), forward, backward, product, cross_entropy, scatter, generate, vectors, VL};

}  // namespace elman
