// The Python bindings: the builds of the kernels that this processor runs, and calls with the addresses of tensors.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <new>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "kernels.h"

namespace nb = nanobind;
using elman::Int;
using elman::Kernels;

namespace {

// The builds that run here, the fastest first.
std::vector<const Kernels*> usable() {
  std::vector<const Kernels*> found;
#if defined(ELMAN_X86)
  __builtin_cpu_init();
#endif
#if defined(ELMAN_AVX512)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq")) {
    if (__builtin_cpu_supports("avx512bf16")) found.push_back(&elman::kernels_avx512bf16);
    found.push_back(&elman::kernels_avx512);
  }
#endif
#if defined(ELMAN_X86)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&elman::kernels_avx2);
#endif
#if defined(__aarch64__)
  found.push_back(&elman::kernels_neon);
#else
  found.push_back(&elman::kernels_plain);
#endif
  return found;
}

const Kernels& named(const std::string& name) {
  for (const Kernels* kernels : usable())
    if (name == kernels->name) return *kernels;
  throw std::invalid_argument("this processor does not run the instruction set " + name);
}

template <class T> T* at(size_t address) { return reinterpret_cast<T*>(address); }

elman::LayerCall layer_call(nb::dict d) {
  const auto size = [&](const char* key) { return nb::cast<Int>(d[key]); };
  const auto in = [&](const char* key) { return at<float>(d.contains(key) ? nb::cast<size_t>(d[key]) : 0); };
  elman::LayerCall a{};
  a.T = size("T"), a.B = size("B"), a.H = size("H"), a.threads = int(size("threads"));
  a.bfloat16 = size("bfloat16");
  a.ids = at<const Int>(d.contains("ids") ? nb::cast<size_t>(d["ids"]) : 0);
  a.projected = in("projected"), a.W_h = in("W_h"), a.b_h = in("b_h"), a.h0 = in("h0"), a.c0 = in("c0");
  a.outputs = in("outputs"), a.cells = in("cells"), a.gates = in("gates");
  a.d_outputs = in("d_outputs"), a.d_h_last = in("d_h_last"), a.d_c_last = in("d_c_last");
  a.d_preact = in("d_preact"), a.d_h = in("d_h"), a.d_c = in("d_c");
  return a;
}

void run_layer(const std::string& isa, int cell, bool back, nb::dict arguments) {
  const Kernels& kernels = named(isa);
  const elman::LayerCall a = layer_call(arguments);
  bool done;
  {
    const nb::gil_scoped_release released;
    done = (back ? kernels.backward : kernels.forward)(cell, a);
  }
  if (!done) throw std::bad_alloc();
}

void product(const std::string& isa, Int M, Int N, Int K, size_t A, Int ai, Int ak, size_t B, Int bk,
             Int bj, size_t C, Int ldc, size_t bias, float scale, bool add, bool bfloat16, int threads) {
  const Kernels& kernels = named(isa);
  bool done;
  {
    const nb::gil_scoped_release released;
    done = kernels.product({M, N, K, at<const float>(A), at<const float>(B), ai, ak, bk, bj, at<float>(C), ldc,
                            at<const float>(bias), scale, add, bfloat16, threads});
  }
  if (!done) throw std::bad_alloc();
}

void cross_entropy(const std::string& isa, Int N, Int V, Int stride, size_t logits, size_t targets, size_t nats,
                   int threads) {
  const Kernels& kernels = named(isa);
  const nb::gil_scoped_release released;
  kernels.cross_entropy(N, V, stride, at<float>(logits), at<const Int>(targets), at<float>(nats), threads);
}

void scatter(const std::string& isa, Int N, Int columns, Int stride, size_t ids, size_t d, Int ldt,
             size_t d_table, int threads) {
  const Kernels& kernels = named(isa);
  const nb::gil_scoped_release released;
  kernels.scatter(N, columns, stride, at<const Int>(ids), at<const float>(d), ldt, at<float>(d_table), threads);
}

elman::ContextTokens context_tokens(const std::tuple<size_t, size_t, Int>& of) {
  return {at<const Int>(std::get<0>(of)), at<const uint8_t>(std::get<1>(of)), std::get<2>(of)};
}

void generate(const std::string& isa, int cell, const std::vector<std::tuple<Int, Int, size_t, size_t>>& maps,
              const std::vector<size_t>& state, nb::dict d) {
  const Kernels& kernels = named(isa);
  std::vector<elman::Map> all;
  for (const auto& [K, H, W, b] : maps) all.push_back({K, H, at<const float>(W), at<const float>(b)});
  std::vector<float*> states;
  for (const size_t s : state) states.push_back(at<float>(s));
  const auto size = [&](const char* key) { return nb::cast<Int>(d[key]); };
  const auto address = [&](const char* key) { return nb::cast<size_t>(d[key]); };
  elman::Generation a{};
  a.steps = size("steps"), a.B = size("B"), a.V = size("V"), a.layers = Int(maps.size() / 2);
  a.threads = int(size("threads")), a.maps = all.data(), a.state = states.data();
  a.table = at<const float>(address("table")), a.first = at<const Int>(address("first"));
  a.tokens = at<Int>(address("tokens")), a.uniforms = at<const double>(address("uniforms"));
  a.forbidden = size("forbidden"), a.top_k = size("top_k");
  a.top_p = nb::cast<double>(d["top_p"]), a.temperature = float(nb::cast<double>(d["temperature"]));
  elman::ExpertStreams experts{};
  if (d.contains("experts")) {
    experts.table = nb::cast<const elman::ExpertTable*>(d["experts"]);
    experts.of = context_tokens(nb::cast<std::tuple<size_t, size_t, Int>>(d["context_tokens"]));
    experts.C = at<const float>(address("C")), experts.contexts = at<int32_t>(address("contexts"));
    experts.memory = at<Int>(address("memory"));
    a.experts = &experts;
  }
  bool done;
  {
    const nb::gil_scoped_release released;
    done = kernels.generate(cell, a);
  }
  if (!done) throw std::bad_alloc();
}

// A table of experts and the levels of it, whose memory the caller keeps.
elman::ExpertTable* expert_table(Int V, Int chain, size_t log_unigram, const std::vector<std::vector<size_t>>& levels) {
  auto* table = new elman::ExpertTable{};
  table->V = V, table->chain = chain, table->log_unigram = at<const float>(log_unigram);
  for (size_t k = 0; k < levels.size(); k++) {
    const std::vector<size_t>& of = levels[k];
    table->levels[k] = {at<const elman::ExpertContext>(of[0]), at<const uint16_t>(of[1]),
                        at<const elman::Continuation>(of[2]), at<const Int>(of[3]), at<const int32_t>(of[4]), Int(of[5])};
  }
  return table;
}
using Tables = std::vector<const elman::ExpertTable*>;
elman::ExpertCall expert_call(const Tables& tables, Int T, Int B, size_t chosen, size_t contexts, int threads) {
  return {T, B, threads, tables.data(), at<const int32_t>(chosen), at<int32_t>(contexts)};
}
void find_contexts(const Tables& tables, Int T, Int B, size_t chosen, size_t contexts, int threads,
                   const std::tuple<size_t, size_t, Int>& of, size_t inputs, size_t read, size_t memory, size_t backoff) {
  const nb::gil_scoped_release released;
  elman::find_contexts(expert_call(tables, T, B, chosen, contexts, threads), context_tokens(of), at<const Int>(inputs),
                       at<const Int>(read), at<Int>(memory), at<float>(backoff));
}
void count_word_gains(const Tables& tables, Int places, size_t chosen, size_t contexts, size_t offsets) {
  elman::count_word_gains(expert_call(tables, places, 1, chosen, contexts, 1), at<Int>(offsets));
}
void add_experts(const Tables& tables, Int places, size_t chosen, size_t contexts, int threads, size_t weights,
                 size_t logits, Int stride, size_t offsets, size_t gains) {
  bool done;
  {
    const nb::gil_scoped_release released;
    done = elman::add_experts(expert_call(tables, places, 1, chosen, contexts, threads), at<const float>(weights),
                              at<float>(logits), stride, at<const Int>(offsets), at<float>(gains));
  }
  if (!done) throw std::bad_alloc();
}
void expert_gradients(const Tables& tables, Int places, size_t chosen, size_t contexts, int threads, size_t d,
                      size_t d_weights, Int stride, size_t offsets, size_t gains) {
  const nb::gil_scoped_release released;
  elman::expert_gradients(expert_call(tables, places, 1, chosen, contexts, threads), at<const float>(d),
                          at<float>(d_weights), stride, at<const Int>(offsets), at<const float>(gains));
}
void fill_slots(Int count, size_t contexts, Int mask, size_t slots) {
  elman::fill_slots(count, at<const Int>(contexts), mask, at<int32_t>(slots));
}

std::tuple<int, int> panel(const std::string& isa, int cell, bool one) {
  const Kernels& kernels = named(isa);
  return {kernels.vectors(cell, one), kernels.VL};
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const Kernels* kernels : usable()) names.emplace_back(kernels->name);
  return names;
}

}  // namespace

NB_MODULE(_native, m) {
  nb::set_leak_warnings(false);  // models live until the interpreter ends
  m.doc() = "Recurrences compiled for this machine; see elman.engines.native.";
  m.def("instruction_sets", &instruction_sets, "The builds that run here, the fastest first.");
  m.def("run_layer", &run_layer, nb::arg("isa"), nb::arg("cell"), nb::arg("back"), nb::arg("arguments"),
        "A layer over a sequence, forward or backward; sizes and addresses by name (LayerCall in native/kernels.h).");
  m.def("product", &product, nb::arg("isa"), nb::arg("M"), nb::arg("N"), nb::arg("K"), nb::arg("A"), nb::arg("ai"),
        nb::arg("ak"), nb::arg("B"), nb::arg("bk"), nb::arg("bj"), nb::arg("C"), nb::arg("ldc"), nb::arg("bias"),
        nb::arg("scale"), nb::arg("add"), nb::arg("bfloat16"), nb::arg("threads"),
        "C = scale A B + bias, or + C; addresses and strides (Product in native/kernels.h).");
  m.def("cross_entropy", &cross_entropy, nb::arg("isa"), nb::arg("N"), nb::arg("V"), nb::arg("stride"), nb::arg("logits"),
        nb::arg("targets"), nb::arg("nats"), nb::arg("threads"),
        "The negative log-likelihood of every row in nats; its gradient replaces the logits.");
  m.def("scatter", &scatter, nb::arg("isa"), nb::arg("N"), nb::arg("columns"), nb::arg("stride"), nb::arg("ids"),
        nb::arg("d"), nb::arg("ldt"), nb::arg("d_table"), nb::arg("threads"), "d_table[ids[n]] += d[n].");
  m.def("generate", &generate, nb::arg("isa"), nb::arg("cell"), nb::arg("maps"), nb::arg("state"), nb::arg("arguments"),
        "Samples tokens; maps as (K, H, W, b), sizes and addresses by name (Generation in native/kernels.h).");
  nb::class_<elman::ExpertTable>(m, "ExpertTable", "The flat memory of counted experts (native/experts.h).");
  m.def("expert_table", &expert_table, nb::rv_policy::take_ownership, nb::arg("V"), nb::arg("chain"),
        nb::arg("log_unigram"), nb::arg("levels"), "A table; of each level the addresses and the mask of ExpertLevel.");
  m.def("find_contexts", &find_contexts, nb::arg("tables"), nb::arg("T"), nb::arg("B"), nb::arg("chosen"),
        nb::arg("contexts"), nb::arg("threads"), nb::arg("of"), nb::arg("inputs"), nb::arg("read"), nb::arg("memory"),
        nb::arg("backoff"), "The contexts (T, B, K) of every expert after each token, and their backoff weights.");
  m.def("count_word_gains", &count_word_gains, nb::arg("tables"), nb::arg("places"), nb::arg("chosen"),
        nb::arg("contexts"), nb::arg("offsets"), "How many gains of words `add_experts` keeps up to each place.");
  m.def("add_experts", &add_experts, nb::arg("tables"), nb::arg("places"), nb::arg("chosen"), nb::arg("contexts"),
        nb::arg("threads"), nb::arg("weights"), nb::arg("logits"), nb::arg("stride"), nb::arg("offsets"),
        nb::arg("gains"), "logits += sum_k weights_k log p_k, but for a constant of each place.");
  m.def("expert_gradients", &expert_gradients, nb::arg("tables"), nb::arg("places"), nb::arg("chosen"),
        nb::arg("contexts"), nb::arg("threads"), nb::arg("d"), nb::arg("d_weights"), nb::arg("stride"),
        nb::arg("offsets"), nb::arg("gains"), "The gradients of those weights, of gradients d whose rows sum to 0.");
  m.def("fill_slots", &fill_slots, nb::arg("count"), nb::arg("contexts"), nb::arg("mask"), nb::arg("slots"),
        "Open addressing: where each hash stands, plus 1.");
  m.def("panel", &panel, nb::arg("isa"), nb::arg("cell"), nb::arg("one"),
        "Vectors of a panel and numbers of a vector: how `generate` wants the weights of a cell (-1: without a cell).");
}
