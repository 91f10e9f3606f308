// The sums over experts of elman/models/ngram/experts.py, over the tokens that their contexts have seen alone:
//
//   D_m(w) = log(1 + s_m(w) / (r_m p_{m-1}(w))) = log p_m(w) - log r_m - log p_{m-1}(w)           0 for a token never seen
//   sum_k a_k log p_k(w) = (sum of all a) log p_1(w) + sum_m A_m D_m(w) + sum_side a_k D_k(w) + a constant of the context
//   A_m = a_m + ... + a_N + the a of the experts of words, which continue the longest n-gram
//
// with s the discounted probability, r the backoff weight and p_1 the unigram. D of n-grams and of lines does not depend on
// the rest of the context, and is stored. For words p_N(w) = p_1(w) rho e(w), with rho the product of all r of the chain and
// e(w) = 1 + sum_m s_m(w) / (p_1(w) r_2 ... r_m).
#include "experts.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>

namespace elman {
namespace {

constexpr Int UNREAD = -2;
constexpr double LEAST = 1e-290;  // of a product of backoff weights, so that its inverse is finite

Int mixed(Int a, Int b) {
  const uint64_t m = (uint64_t(a) ^ (uint64_t(b) + 0x632BE59BD9B4E019u)) * 0x2545F4914F6CDD1Du;
  return Int(m ^ uint64_t(Int(m) >> 29));
}
uint64_t spread(Int key) {
  uint64_t x = uint64_t(key);
  x ^= x >> 32, x *= 0x9E3779B97F4A7C15u;
  return x ^ x >> 29;
}

// The features after a token, as `ContextFeatures.extract` has them; a token below 0 changes nothing.
void features(const ContextTokens& of, Int token, Int* memory, Int* keys) {
  Int &word = memory[0], &before = memory[1], &earlier = memory[2], &last = memory[3], &column = memory[4];
  if (token >= 0) {
    const Int letter = word != 0 || !of.extending[token] ? of.letter[token] : 0;
    if (letter == 0 && word != 0) earlier = before, before = word;
    word = letter > 0 ? mixed(word, letter) : 0;
    last = token;
    column = token == of.newline ? 0 : std::min<Int>(column + 1, 255);
  }
  const Int with_word = mixed(word, before);
  keys[0] = mixed(word, word == 0 ? last + 1 : 0);
  keys[1] = with_word;
  keys[2] = mixed(with_word, earlier);
  keys[3] = Int(uint64_t(mixed(word, earlier)) + 1);
  keys[4] = 2 * column + (word != 0);
}

int32_t find(const ExpertLevel& level, Int key) {
  if (!level.slots) return -1;
  for (uint64_t at = spread(key) & level.mask; level.slots[at]; at = (at + 1) & level.mask)
    if (level.hashes[level.slots[at] - 1] == key) return level.slots[at] - 1;
  return -1;
}
// The rank of the n-gram of context c and a token, which is the next longer context; -1: it was never seen.
int32_t child(const ExpertLevel& level, int32_t c, Int token) {
  const uint16_t *first = level.tokens + level.contexts[c].first, *end = level.tokens + level.contexts[c + 1].first;
  const uint16_t* at = std::lower_bound(first, end, uint16_t(token));
  return at != end && *at == token ? int32_t(at - level.tokens) : -1;
}
// Chain contexts after one more token: contexts[k] has k + 1 tokens.
void read_token(const ExpertTable& table, Int token, int32_t* contexts) {
  for (Int k = table.chain - 1; k > 0; k--) {
    const int32_t shorter = contexts[k - 1];
    const bool counted = table.levels[k].contexts;
    contexts[k] = token < 0 ? int32_t(UNREAD) : shorter >= 0 ? counted ? child(table.levels[k - 1], shorter, token) : -1 : shorter;
  }
  contexts[0] = token < 0 ? int32_t(UNREAD) : table.levels[0].contexts ? int32_t(token) : -1;
}
void find_kinds(const ExpertTable& table, const Int* keys, int32_t* contexts) {
  for (int k = 0; k < KINDS; k++) contexts[table.chain + k] = find(table.levels[table.chain + k], keys[k]);
}

template <class F> void in_rows(Int rows, int threads, const F& work) {
#if defined(_OPENMP)
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
#else
  (void)threads;
#endif
  for (Int i = 0; i < rows; i++) work(i);
}

// The continuations of a context.
struct Seen {
  const uint16_t* tokens;
  const Continuation* found;
  int32_t count;
  float backoff;
  Seen(const ExpertLevel& level, int32_t c)
      : tokens(level.tokens + level.contexts[c].first), found(level.found + level.contexts[c].first),
        count(level.contexts[c + 1].first - level.contexts[c].first), backoff(level.contexts[c].backoff) {}
};

// logits += the sum; `gains` keeps those of words, one after the other, unless it is null. `e` are V ones, and stay so.
void add_row(const ExpertTable& table, const int32_t* contexts, const float* a, float* logits, double* e, float* gains) {
  const Int chain = table.chain, line = chain + KINDS - 1;
  float sums[MOST_EXPERTS], total = 0, run = 0;
  for (Int k = 0; k <= line; k++) total += a[k];
  for (Int k = chain; k < line; k++) run += a[k];
  for (Int k = chain; k-- > 0;) sums[k] = run += a[k];
  for (Int w = 0; w < table.V; w++) logits[w] += total * table.log_unigram[w];
  double rho = 1;
  Int touched = 0;
  for (Int k = 0; k < chain; k++) {
    if (contexts[k] < 0) continue;
    const Seen seen(table.levels[k], contexts[k]);
    rho = std::max(rho * seen.backoff, LEAST);
    const double inverse = 1 / rho;
    const float weight = sums[k];
    touched += seen.count;
    for (int32_t i = 0; i < seen.count; i++) {
      const int w = seen.tokens[i];
      e[w] += seen.found[i].ratio * inverse;
      logits[w] += weight * seen.found[i].gain;
    }
  }
  for (Int k = chain; k < line; k++) {
    if (contexts[k] < 0) continue;
    const Seen seen(table.levels[k], contexts[k]);
    const double factor = 1 / std::max(double(seen.backoff) * rho, LEAST);
    for (int32_t i = 0; i < seen.count; i++) {
      const int w = seen.tokens[i];
      const float gain = std::log(float(1 + seen.found[i].ratio * factor / e[w]));
      logits[w] += a[k] * gain;
      if (gains) *gains++ = gain;
    }
  }
  if (contexts[line] >= 0) {
    const Seen seen(table.levels[line], contexts[line]);
    for (int32_t i = 0; i < seen.count; i++) logits[seen.tokens[i]] += a[line] * seen.found[i].gain;
  }
  if (touched > table.V) {
    std::fill(e, e + table.V, 1.0);
    return;
  }
  for (Int k = 0; k < chain; k++) {
    if (contexts[k] < 0) continue;
    const Seen seen(table.levels[k], contexts[k]);
    for (int32_t i = 0; i < seen.count; i++) e[seen.tokens[i]] = 1;
  }
}

void gradient_row(const ExpertTable& table, const int32_t* contexts, const float* d, float* d_a, const float* gains) {
  const Int chain = table.chain, line = chain + KINDS - 1;
  double run = 0;
  for (Int w = 0; w < table.V; w++) run += double(d[w]) * table.log_unigram[w];
  const double base = run;
  for (Int k = 0; k <= line; k++) {
    double sum = 0;
    if (contexts[k] >= 0) {
      const Seen seen(table.levels[k], contexts[k]);
      if (k >= chain && k < line) {
        for (int32_t i = 0; i < seen.count; i++) sum += double(d[seen.tokens[i]]) * *gains++;
      } else {
        for (int32_t i = 0; i < seen.count; i++) sum += double(d[seen.tokens[i]]) * seen.found[i].gain;
      }
    }
    d_a[k] = float(k < chain ? run += sum : (k < line ? run : base) + sum);
  }
}

// Asks the memory for what a place some way ahead will need: first its contexts, then their continuations.
void prefetch(const ExpertTable& table, const int32_t* contexts, bool continuations) {
#if defined(__GNUC__)
  for (Int k = 0; k < table.chain + KINDS; k++) {
    if (contexts[k] < 0) continue;
    const ExpertLevel& level = table.levels[k];
    if (!continuations) {
      __builtin_prefetch(level.contexts + contexts[k]);
      continue;
    }
    __builtin_prefetch(level.tokens + level.contexts[contexts[k]].first);
    __builtin_prefetch(level.found + level.contexts[contexts[k]].first);
  }
#endif
}
constexpr Int AHEAD = 6;

// Places in blocks, one a thread.
template <class F> void for_blocks(const ExpertCall& call, const F& work) {
  const Int places = call.B * call.T, blocks = std::max<Int>(1, std::min<Int>(call.threads, places));
  in_rows(blocks, int(blocks), [&](Int block) { work(block, places * block / blocks, places * (block + 1) / blocks); });
}
const ExpertTable& table_at(const ExpertCall& call, Int place) {
  return *call.tables[call.chosen ? call.chosen[place] : 0];
}

}  // namespace

void find_contexts(const ExpertCall& call, const ContextTokens& of, const Int* inputs, const Int* read, Int* memory,
                   float* backoff) {
  const Int chain = call.tables[0]->chain, K = chain + KINDS, T = call.T;
  in_rows(call.B, call.threads, [&](Int b) {
    Int keys[KINDS], *own = memory + b * MEMORY;
    int32_t contexts[MOST_EXPERTS];
    const ExpertTable* current = nullptr;
    for (Int t = 0; t < T; t++) {
      const Int place = t * call.B + b;
      const ExpertTable& table = table_at(call, place);
      if (&table != current) {  // the contexts of another table, from the tokens before this one
        std::fill(contexts, contexts + chain, int32_t(UNREAD));
        for (Int i = t - chain; i < t; i++)
          read_token(table, i < 0 ? read[b * chain + chain + i] : inputs[b * T + i], contexts);
        current = &table;
      }
      read_token(table, inputs[b * T + t], contexts);
      features(of, inputs[b * T + t], own, keys);
      find_kinds(table, keys, contexts);
      std::copy(contexts, contexts + K, call.contexts + place * K);
      for (Int k = 0; k < K; k++)
        backoff[place * K + k] = contexts[k] >= 0 ? table.levels[k].contexts[contexts[k]].backoff : 1.0f;
    }
  });
}

void count_word_gains(const ExpertCall& call, Int* offsets) {
  offsets[0] = 0;
  for (Int i = 0; i < call.B * call.T; i++) {
    const ExpertTable& table = table_at(call, i);
    const int32_t* contexts = call.contexts + i * (table.chain + KINDS);
    Int count = 0;
    for (Int k = table.chain; k < table.chain + KINDS - 1; k++)
      if (contexts[k] >= 0) count += Seen(table.levels[k], contexts[k]).count;
    offsets[i + 1] = offsets[i] + count;
  }
}

bool add_experts(const ExpertCall& call, const float* weights, float* logits, Int stride, const Int* offsets,
                 float* gains) {
  const Int V = call.tables[0]->V, K = call.tables[0]->chain + KINDS, most = std::max(1, call.threads) * V;
  const std::unique_ptr<double[]> ones(new (std::nothrow) double[most]);
  if (!ones) return false;
  std::fill(ones.get(), ones.get() + most, 1.0);
  for_blocks(call, [&](Int block, Int first, Int end) {
    for (Int i = first; i < end; i++) {
      if (i + 2 * AHEAD < end) prefetch(table_at(call, i + 2 * AHEAD), call.contexts + (i + 2 * AHEAD) * K, false);
      if (i + AHEAD < end) prefetch(table_at(call, i + AHEAD), call.contexts + (i + AHEAD) * K, true);
      add_row(table_at(call, i), call.contexts + i * K, weights + i * stride, logits + i * stride, ones.get() + block * V,
              gains ? gains + offsets[i] : nullptr);
    }
  });
  return true;
}

void expert_gradients(const ExpertCall& call, const float* d, float* d_weights, Int stride, const Int* offsets,
                      const float* gains) {
  const Int K = call.tables[0]->chain + KINDS;
  for_blocks(call, [&](Int, Int first, Int end) {
    for (Int i = first; i < end; i++) {
      if (i + AHEAD < end) prefetch(table_at(call, i + AHEAD), call.contexts + (i + AHEAD) * K, true);
      gradient_row(table_at(call, i), call.contexts + i * K, d + i * stride, d_weights + i * stride, gains + offsets[i]);
    }
  });
}

void fill_slots(Int count, const Int* contexts, Int mask, int32_t* slots) {
  for (Int i = 0; i < count; i++) {
    uint64_t at = spread(contexts[i]) & mask;
    while (slots[at]) at = (at + 1) & mask;
    slots[at] = int32_t(i + 1);
  }
}

void advance_experts(const ExpertStreams& streams, Int b, Int token, float* row, double* ones) {
  const ExpertTable& table = *streams.table;
  const Int K = table.chain + KINDS;
  int32_t* contexts = streams.contexts + b * K;
  Int keys[KINDS];
  read_token(table, token, contexts);
  features(streams.of, token, streams.memory + b * MEMORY, keys);
  find_kinds(table, keys, contexts);
  float* a = row + table.V;
  for (Int k = 0; k < K; k++) {
    const float r = contexts[k] >= 0 ? table.levels[k].contexts[contexts[k]].backoff : 1.0f;
    for (Int j = 0; j < K; j++) a[j] += streams.C[j * K + k] * r;
  }
  add_row(table, contexts, a, row, ones, nullptr);
}

}  // namespace elman
