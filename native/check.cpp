// The kernels against the equations in double precision, for processors that no test machine has: compiled for each and
// run under an emulator by native/portable. Outputs are compared as they are, gradients as slopes along a direction.
#include <cmath>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>
#include "kernels.h"
using namespace elman;
using Doubles = std::vector<double>;
using Floats = std::vector<float>;

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
namespace elman {
extern const Kernels JOIN(kernels_, ELMAN_ISA);
}
static const Kernels& kernels = JOIN(kernels_, ELMAN_ISA);
static std::mt19937 rng(1);
static int failures = 0;

static Floats normal(size_t n, float scale) {
  std::normal_distribution<float> draw(0, scale);
  Floats v(n);
  for (float& x : v) x = draw(rng);
  return v;
}
static void expect(const std::string& what, double found, double expected, double tolerance) {
  if (std::abs(found - expected) <= tolerance) return;  // a NaN is within none
  failures++;
  std::printf("FAILED %s: %.9g, not %.9g\n", what.c_str(), found, expected);
}
static float half(float x) {  // rounded to bfloat16, by arithmetic and not by bits
  int exponent;
  const double m = std::frexp(x, &exponent);
  return float(std::ldexp(std::nearbyint(m * 256), exponent - 8));
}

struct Case { Int T, B, H, V; int cell; };
struct Weights { Doubles projected, W_h, b_h, h0, c0; };

// outputs (T, B, H) and the last memory (B, H), by the equations.
static void run(const Case& c, const std::vector<Int>& ids, const Weights& w, Doubles& outputs, Doubles& memory) {
  const int G = c.cell <= RELU ? 1 : c.cell == GRU ? 3 : 4;
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  Doubles h = w.h0;
  memory = w.c0;
  outputs.assign(c.T * c.B * c.H, 0);
  for (Int t = 0; t < c.T; t++)
    for (Int b = 0; b < c.B; b++) {
      Doubles u(G * c.H), after(c.H);
      for (Int r = 0; r < G * c.H; r++) {
        u[r] = w.b_h[r];
        for (Int k = 0; k < c.H; k++) u[r] += w.W_h[r * c.H + k] * h[b * c.H + k];
      }
      const double* x = &w.projected[ids[t * c.B + b] * G * c.H];
      for (Int i = 0; i < c.H; i++) {
        const auto a = [&](int g) { return x[g * c.H + i] + u[g * c.H + i]; };
        if (c.cell == TANH) after[i] = std::tanh(a(0));
        if (c.cell == RELU) after[i] = a(0) > 0 ? a(0) : 0;
        if (c.cell == GRU) {
          const double z = sigmoid(a(1)), n = std::tanh(x[2 * c.H + i] + sigmoid(a(0)) * u[2 * c.H + i]);
          after[i] = n + z * (h[b * c.H + i] - n);
        }
        if (c.cell == LSTM) {
          double& m = memory[b * c.H + i];
          m = sigmoid(a(1)) * m + sigmoid(a(0)) * std::tanh(a(2));
          after[i] = sigmoid(a(3)) * std::tanh(m);
        }
      }
      for (Int i = 0; i < c.H; i++) outputs[(t * c.B + b) * c.H + i] = h[b * c.H + i] = after[i];
    }
}

static void layer(const Case& c, int threads, bool bfloat16) {
  const int G = c.cell <= RELU ? 1 : c.cell == GRU ? 3 : 4, D = c.cell <= RELU ? 1 : 4;
  const std::string name = "cell " + std::to_string(c.cell) + " H " + std::to_string(c.H) + " B " + std::to_string(c.B);
  const size_t n = c.T * c.B * c.H, rows = c.B * c.H;
  std::vector<Int> ids(c.T * c.B);
  for (auto& id : ids) id = rng() % c.V;
  const Floats projected = normal(c.V * G * c.H, 1), bias = normal(G * c.H, 1);
  const Floats W = normal(G * c.H * c.H, 1 / std::sqrt(float(c.H)));
  const Floats h0 = normal(rows, 1), c0 = normal(rows, 1);
  const Floats d_outputs = normal(n, 1), d_h_last = normal(rows, 1), d_c_last = normal(rows, 1);
  Floats outputs(n, NAN), cells(n, NAN), d(c.T * c.B * D * c.H, NAN);
  Floats gates(c.T * c.B * 4 * ((c.H + 15) / 16 * 16), NAN);
  Floats d_h(rows, NAN), d_c(rows, NAN);
  LayerCall a{};
  a.T = c.T, a.B = c.B, a.H = c.H, a.threads = threads, a.bfloat16 = bfloat16, a.ids = ids.data();
  a.projected = projected.data(), a.W_h = W.data(), a.b_h = bias.data(), a.h0 = h0.data(), a.c0 = c0.data();
  a.outputs = outputs.data(), a.cells = cells.data(), a.gates = gates.data(), a.d_outputs = d_outputs.data();
  a.d_h_last = d_h_last.data(), a.d_c_last = d_c_last.data(), a.d_preact = d.data();
  a.d_h = d_h.data(), a.d_c = d_c.data();
  const auto doubles = [](const Floats& v) { return Doubles(v.begin(), v.end()); };
  Weights w{doubles(projected), doubles(W), doubles(bias), doubles(h0), doubles(c0)};
  Doubles expected, memory;
  run(c, ids, w, expected, memory);
  kernels.forward(c.cell, a), kernels.backward(c.cell, a);
  const double tolerance = bfloat16 ? 0.06 : 2e-5;
  for (size_t i = 0; i < n; i++)
    expect(name + " outputs", outputs[i], expected[i], tolerance * (1 + std::abs(expected[i])));
  if (bfloat16) return;
  // The directional derivative of the loss: by the gradients, and by a difference.
  const Weights dir{doubles(normal(projected.size(), 1)), {}, {}, doubles(normal(rows, 1)), doubles(normal(rows, 1))};
  double slope = 0;
  for (Int r = 0; r < c.T * c.B; r++)
    for (Int g = 0; g < G; g++)
      for (Int i = 0; i < c.H; i++)
        slope += d[(r * D + (c.cell == GRU && g == 2 ? 3 : g)) * c.H + i] * dir.projected[(ids[r] * G + g) * c.H + i];
  for (size_t i = 0; i < rows; i++) slope += d_h[i] * dir.h0[i] + (c.cell == LSTM ? d_c[i] * dir.c0[i] : 0);
  const auto loss = [&](double step) {
    Weights moved = w;
    for (size_t i = 0; i < projected.size(); i++) moved.projected[i] += step * dir.projected[i];
    for (size_t i = 0; i < rows; i++) moved.h0[i] += step * dir.h0[i], moved.c0[i] += step * dir.c0[i];
    run(c, ids, moved, expected, memory);
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += d_outputs[i] * expected[i];
    for (size_t i = 0; i < rows; i++) {
      sum += d_h_last[i] * expected[n - rows + i];
      if (c.cell == LSTM) sum += d_c_last[i] * memory[i];
    }
    return sum;
  };
  const double step = c.cell == RELU ? 1e-8 : 1e-5, difference = (loss(step) - loss(-step)) / (2 * step);
  expect(name + " slope", slope, difference, 3e-4 * (std::sqrt(double(n)) + std::abs(difference)));
}

static void product(Int M, Int N, Int K, bool bfloat16, int threads) {
  const Floats A = normal(M * K, 1), B = normal(K * N, 1), bias = normal(N, 1);
  for (int layout = 0; layout < 4; layout++) {
    const Int ai = layout & 1 ? 1 : K, ak = layout & 1 ? M : 1, bk = layout & 2 ? 1 : N, bj = layout & 2 ? K : 1;
    Floats C(M * N, NAN);
    kernels.product({M, N, K, A.data(), B.data(), ai, ak, bk, bj, C.data(), N, bias.data(), 0.5f, false, bfloat16,
                     threads});
    for (Int i = 0; i < M; i++)
      for (Int j = 0; j < N; j++) {
        double sum = 0;
        for (Int k = 0; k < K; k++) {
          const float x = A[i * ai + k * ak], y = B[k * bk + j * bj];
          sum += bfloat16 ? double(half(x)) * half(y) : double(x) * y;
        }
        expect("product", C[i * N + j], 0.5 * sum + bias[j], 1e-5 * (1 + K));
      }
  }
}

static void cross_entropy(Int N, Int V) {
  const Floats logits = normal(N * V, 3);
  Floats d = logits, nats(N, NAN);
  std::vector<Int> targets(N);
  for (Int n = 0; n < N; n++) targets[n] = n % 4 == 3 ? -1 : Int(rng() % V);
  kernels.cross_entropy(N, V, V, d.data(), targets.data(), nats.data(), 1);
  for (Int n = 0; n < N; n++) {
    double sum = 0;
    for (Int v = 0; v < V; v++) sum += std::exp(double(logits[n * V + v]));
    const bool none = targets[n] < 0;
    const double expected = none ? 0 : std::log(sum) - logits[n * V + targets[n]];
    expect("nats", nats[n], expected, 1e-5 * (1 + expected));
    for (Int v = 0; v < V; v++) {
      const double p = none ? 0 : std::exp(double(logits[n * V + v])) / sum - (v == targets[n]);
      expect("gradient of logits", d[n * V + v], p, 1e-6);
    }
  }
}

int main() {
  for (int cell : {TANH, RELU, GRU, LSTM})
    for (Int H : {1, 7, 33})
      for (Int B : {1, 33}) {
        const Case c{H == 33 ? 9 : 3, B, H, 5, cell};
        layer(c, B == 33 ? 2 : 1, false);
        layer(c, 1, true);
      }
  for (bool bfloat16 : {false, true})
    for (Int n : {1, 5, 37})
      product(n, 13, 300, bfloat16, 1), product(13, n, 7, bfloat16, 2), product(n, n, 257, bfloat16, 2);
  for (Int V : {1, 2, 28, 100}) cross_entropy(9, V);
  std::printf("%s: %d failures\n", kernels.name, failures);
  return failures ? 1 : 0;
}
