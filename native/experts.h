// Counted experts: the corrections that they make to logits, over the tokens that their contexts have seen alone.
#pragma once
#include <cstdint>

namespace elman {

using Int = int64_t;

constexpr int KINDS = 5;       // contexts that are no n-grams: four of words, and last one of lines
constexpr int MEMORY = 5;      // numbers of their state in a stream
constexpr int MOST_EXPERTS = 32;

// A context: where its continuations begin, and its backoff weight.
struct ExpertContext {
  int32_t first;
  float backoff;
};
// What a continuation w of context c adds: its discounted probability over its unigram probability, and the gain
// log(P(w | c) / (backoff(c) P_general(w))), which is 0 and not used for words, whose general expert varies.
struct Continuation {
  float ratio, gain;
};
// The continuations of the contexts of one expert. Those of context c are numbers contexts[c].first to contexts[c + 1].first
// - 1, sorted by token. In the n-gram chain the number of a continuation is the longer context that ends with it.
struct ExpertLevel {
  const ExpertContext* contexts;  // one more than there are; null: nothing was counted
  const uint16_t* tokens;         // of each continuation
  const Continuation* found;
  const Int* hashes;              // of the contexts, sorted; null in the chain
  const int32_t* slots;           // (mask + 1,) open addressing: 1 + the rank of a hash, 0: none
  Int mask;
};

struct ExpertTable {
  Int V, chain;             // chain: n - 1, the contexts of n-grams
  const float* log_unigram;  // (V,)
  ExpertLevel levels[MOST_EXPERTS];
};

// What tells words and lines apart, by token.
struct ContextTokens {
  const Int* letter;          // number of the letter, 0: none
  const uint8_t* extending;   // whether it belongs to the letter before it
  Int newline;                // the token that ends a line, or -1
};

// T steps of B rows, time-major; `chosen` (T, B) says which table predicts after each token, null: the first.
struct ExpertCall {
  Int T, B;
  int threads;
  const ExpertTable* const* tables;
  const int32_t* chosen;
  int32_t* contexts;        // (T, B, K) rank of each expert's context, -1 where it was never seen, -2 where it is not known
};

// Finds contexts (T, B, K) and their backoff weights (T, B, K). `read` (B, n-1) are the tokens before, -1: none; `memory`
// (B, MEMORY) is the state of words and lines, changed in place; inputs (B, T).
void find_contexts(const ExpertCall& call, const ContextTokens& of, const Int* inputs, const Int* read, Int* memory,
                   float* backoff);
// offsets (T B + 1,): how many tokens the contexts of words have seen up to each place.
void count_word_gains(const ExpertCall& call, Int* offsets);
// logits (T B, V) += sum_k weights_k log p_k, but for a constant; weights (T B, K). Rows of both lie `stride` apart. Unless
// they are null, `gains` of offsets[T B] numbers keeps those of words for the gradients.
bool add_experts(const ExpertCall& call, const float* weights, float* logits, Int stride, const Int* offsets,
                 float* gains);
// d_weights (T B, K) of gradients d (T B, V) whose rows sum to 0; rows of both lie `stride` apart.
void expert_gradients(const ExpertCall& call, const float* d, float* d_weights, Int stride, const Int* offsets,
                      const float* gains);
// The slots of sorted hashes: slots (mask + 1,) are 0 before.
void fill_slots(Int count, const Int* contexts, Int mask, int32_t* slots);

// Streams that go on token by token, for sampling.
struct ExpertStreams {
  const ExpertTable* table;
  ContextTokens of;
  const float* C;           // (K, K) weights of the backoff weights
  int32_t* contexts;        // (B, K)
  Int* memory;              // (B, MEMORY)
};
// Reads a token of stream b, and corrects `row`: V logits, then K weights of experts; `ones` are V ones, and stay so.
void advance_experts(const ExpertStreams& streams, Int b, Int token, float* row, double* ones);

}  // namespace elman
