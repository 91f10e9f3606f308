# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Recurrent networks from scratch, on your own text
#
# A language model gives the probability of each next symbol. By the chain rule these make the probability of a whole
# text:
#
# $$P(x_1, \dots, x_N) = \prod_{t=1}^{N} P(x_t \mid x_1, \dots, x_{t-1})$$
#
# We write a recurrent network with tensors alone, train it, find out why its memory is short, and then do the same in
# `elman` with a GRU. Each time we compare it with a uniform guess and with counting: a figure without its bounds means
# little.
#
# Put the name of a text file of yours into `SOURCE`. All cells together take about two minutes.

# %%
import math
import os

import matplotlib.pyplot as plt
import numpy as np
import torch

import elman

SOURCE = "python-docs"  # or "book.txt": any text, in any script
QUICK = bool(os.environ.get("NOTEBOOK_QUICK"))  # a run of seconds, for tests: its figures mean nothing
CHARACTERS, EPOCHS, H = (3_000, 1, 16) if QUICK else (150_000, 8, 128)
torch.set_num_threads(1)  # matrices this small are not worth sharing out

# %% [markdown]
# ## 1. A text becomes numbers
#
# Every symbol gets a number; number 0 is `<unk>`, for what the training part does not hold. The end of the text is
# held out **before** anything is counted or learnt. The question is how good the model is on text that it
# has never read.

# %%
corpus = elman.read_corpus([SOURCE], limit=CHARACTERS, held_out=0.1)
vocab, train, held_out = corpus.vocab, corpus.train.ids.astype(np.int64), corpus.held_out.ids.astype(np.int64)
V = len(vocab)
print(f"{len(train):,} characters to learn from, {len(held_out):,} held out, {V} symbols")
print(repr(vocab.decode(train[:60])), "->", train[:12])

# %% [markdown]
# ## 2. What is a guess worth?
#
# A model pays $-\ln P(x_t \mid \dots)$ for each symbol, and its **perplexity** is
#
# $$\exp\Big(-\frac{1}{N} \sum_t \ln P(x_t \mid x_1, \dots, x_{t-1})\Big),$$
#
# the number of equally likely choices that would be as hard. Guessing all $V$ symbols alike has perplexity $V$.
# Knowing how frequent each symbol is (the unigram) is much better, and it takes no learning at all.


# %%
def perplexity(p):
    """Of the probabilities that were given to what came."""
    return math.exp(-np.log(p).mean())


frequency = (np.bincount(train, minlength=V) + 1) / (len(train) + V)
table = {"uniform guess": float(V), "unigram": perplexity(frequency[held_out])}
print(table)

# %% [markdown]
# ## 3. A recurrent network, in five lines
#
# The network reads one symbol at a time and keeps a **state** $h_t$, a vector of $H$ numbers:
#
# $$h_t = \tanh(W_x x_t + W_h h_{t-1} + b), \qquad P(x_{t+1} \mid x_1, \dots, x_t) = \mathrm{softmax}(W_q h_t + b_q)$$
#
# $x_t$ is one-hot: a 1 in the place of the symbol, 0 elsewhere. So $W_x x_t$ is a column of $W_x$, and is looked
# up. The same weights serve all steps: the number of parameters does not depend on how long the text is.

# %%
rng = torch.Generator().manual_seed(0)
W_x = torch.randn(H, V, generator=rng)  # one unit is on, so its weights may be of size 1
W_h = torch.randn(H, H, generator=rng) / math.sqrt(H)
W_q = torch.randn(V, H, generator=rng) / math.sqrt(H)
b, b_q = torch.zeros(H), torch.zeros(V)
weights = [W_x, W_h, b, W_q, b_q]
for w in weights:
    w.requires_grad_()


def network(tokens, h):
    """Logits (B, T, V) after each of tokens (B, T), and the state (B, H) after the last."""
    states = []
    for x in tokens.T:
        h = torch.tanh(W_x.T[x] + h @ W_h.T + b)
        states.append(h)
    return torch.stack(states, 1) @ W_q.T + b_q, h


logits, h = network(torch.tensor([[1, 2, 3]]), torch.zeros(1, H))
print(tuple(logits.shape), tuple(h.shape))

# %% [markdown]
# ## 4. Training: short windows, a state that is carried on
#
# The text is cut into $B$ rows that are read side by side, $T$ symbols at a time. Row $i$ of the next window goes
# on where row $i$ of the last one stopped, so the state may go on as well. The gradient may not: it would reach
# back to the beginning of the text. `detach` cuts it there (*truncated back-propagation through time*).
#
# Gradients pass through $T$ products with $W_h$ and may become huge. They are **clipped**: with $\theta = 1$,
#
# $$g \leftarrow \min\Big(1, \frac{\theta}{\lVert g \rVert}\Big)\, g$$

# %%
B, T = (4, 8) if QUICK else (32, 32)


def windows(ids):
    """Inputs and targets (B, T), one after another; what does not fill a row is left out."""
    steps = (len(ids) - 1) // B
    inputs, targets = (torch.from_numpy(ids[i : i + B * steps]).view(B, steps) for i in (0, 1))
    for start in range(0, steps - T + 1, T):
        yield inputs[:, start : start + T], targets[:, start : start + T]


@torch.no_grad()
def held_out_perplexity():
    """One state, carried through the whole held-out text."""
    tokens = torch.from_numpy(held_out)
    logits, _ = network(tokens[None, :-1], torch.zeros(1, H))
    return math.exp(torch.nn.functional.cross_entropy(logits[0], tokens[1:]))


optimizer = torch.optim.Adam(weights, lr=3e-3)
curve = []
for _ in range(EPOCHS):
    h, costs = torch.zeros(B, H), []
    for inputs, targets in windows(train):
        logits, h = network(inputs, h.detach())
        cost = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        cost.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        costs.append(cost.item())
    curve.append((math.exp(np.mean(costs)), held_out_perplexity()))
    print(f"train {curve[-1][0]:6.2f}   held-out {curve[-1][1]:6.2f}")
table["our network"] = curve[-1][1]

# %% [markdown]
# Compare both columns. The first keeps falling: the network memorises its text. The second is the one that matters, and
# once it rises, more training makes the model worse. The unigram in the picture is a bound that even an n-gram beats.

# %%
for label, values in zip(("train", "held-out"), zip(*curve, strict=True), strict=True):
    plt.plot(range(1, EPOCHS + 1), values, "o-", label=label)
plt.axhline(table["unigram"], color="grey", linestyle=":", label="unigram")
plt.xlabel("epoch")
plt.ylabel("perplexity")
plt.yscale("log")
plt.legend()
plt.show()

# %% [markdown]
# ## 5. The same network in `elman`
#
# `elman.Recurrent` with the cell `elman` is this very network (it has two biases, as PyTorch's layers have). With
# our weights its logits must be the same, to the last digits of single precision. That is how everything in `elman` is
# tested: the slow version that you can read is the definition, and each fast one must equal it.

# %%
task = elman.TextTask.of(corpus)
same = elman.Recurrent(task, cell="elman", hidden=H)
same.load_state_dict(
    same.state_dict()
    | {"layers.0.W_x": W_x, "layers.0.W_h": W_h, "layers.0.b_x": b, "layers.0.b_h": 0 * b, "W_q": W_q, "b_q": b_q}
)
tokens = torch.from_numpy(held_out[:200])[None]
theirs, _ = same(tokens, same.initial(1))
ours, _ = network(tokens, torch.zeros(1, H))
torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
print("equal; the engine is", same.engine_name)

# %% [markdown]
# ## 6. Why its memory is short
#
# How much does the prediction at the last step depend on the state $k$ steps before? The gradient shows it:
#
# $$\frac{\partial \ell_T}{\partial h_{T-k}} = \frac{\partial \ell_T}{\partial h_T} \prod_{j=0}^{k-1}
#   \mathrm{diag}(1 - h_{T-j}^2)\, W_h$$
#
# A product of $k$ matrices shrinks or grows like $c^k$. A **GRU** has a gate $z$ that lets the state pass as it is,
# so that its product has a factor near 1:
#
# $$r = \sigma(\cdot), \quad z = \sigma(\cdot), \quad n = \tanh(W_n x + r \odot U_n h), \quad
#   h' = (1 - z) \odot n + z \odot h$$


# %%
def influence(model, ids, steps):
    """The norm of the gradient of the last cost with respect to the state 1 .. steps before, relative to the first."""
    state, states = model.initial(1), []
    for token in ids[: steps + 1]:
        logits, state = model(torch.tensor([[token]]), state)
        state[0].retain_grad()
        states.append(state[0])
    torch.nn.functional.cross_entropy(logits[0], torch.tensor([ids[steps + 1]])).backward()
    norms = np.array([float(h.grad.norm()) for h in reversed(states[:-1])])
    return norms / norms[0]


K = 12 if QUICK else 40
PLACES = range(0, len(held_out) - K - 2, len(held_out) // 20)
gru = elman.Recurrent(task, cell="gru", hidden=H)
for epoch in elman.train(gru, corpus.train, corpus.held_out, epochs=EPOCHS, num_reports=EPOCHS, batch=B, window=T):
    if epoch.report:
        print(f"train {epoch.train:6.2f}   held-out {epoch.held_out.perplexity:6.2f}")
for label, model in (("ours", same), ("GRU", gru)):
    shares = np.mean([influence(model, held_out[place:].tolist(), K) for place in PLACES], 0)
    plt.plot(range(1, K + 1), shares, label=label)
plt.yscale("log")
plt.xlabel("k, steps before")
plt.ylabel("gradient, relative to k = 1")
plt.legend()
plt.show()

# %% [markdown]
# ## 7. Beside counting
#
# An n-gram counts which symbols followed the last $n-1$ and smooths the counts (modified Kneser-Ney). It takes a
# second. If a network does not beat it, the network is not worth its electricity. A **hybrid** is a network that
# reads the probabilities of n-grams as inputs, and learns how to weight them.

# %%
ngram = elman.NGram.fit(task, corpus.train.ids)
hybrid = elman.Hybrid(elman.Recurrent(task, hidden=H, dropout=0.3), ngram_experts=5)
elman.fit(hybrid, corpus.train, corpus.held_out, epochs=EPOCHS, batch=B, window=T)
for name, model in (("GRU", gru), (ngram.name, ngram), ("GRU + counts", hybrid)):
    table[name] = elman.evaluate(model, corpus.held_out).perplexity
for name, value in sorted(table.items(), key=lambda row: -row[1]):
    print(f"{name:<14} {value:7.2f}   {math.log2(value):.2f} bits a character")

# %% [markdown]
# ## 8. What it writes
#
# Draw a symbol from $P$, read it, draw the next. The **temperature** $\tau$ divides the logits before the softmax:
# near 0 the most probable symbol is always taken and the text repeats itself; at 1 symbols are drawn from the model's
# own probabilities.

# %%
for temperature in (0, 0.5, 1):
    text = "".join(elman.generate(hybrid, vocab.decode(train[:20]), 150, temperature=temperature))
    print(f"--- temperature {temperature}\n{text}\n")

# %% [markdown]
# ## 9. What surprised it
#
# The average hides where the bits go. Here is what each character of a passage cost: what is dark was expected.
# Words are hard at their beginnings.

# %%
passage = corpus.held_out.ids[:240]
costs = elman.surprisals(hybrid, passage) / math.log(2)
figure, axes = plt.subplots(figsize=(10, 1.5))
axes.imshow(costs.reshape(4, 60), cmap="magma", vmin=0, vmax=8, aspect="auto")
for i, (token, cost) in enumerate(zip(passage, costs, strict=True)):
    symbol = vocab.decode([token]).replace("\n", "↵")
    axes.text(i % 60, i // 60, symbol, ha="center", va="center", color="black" if cost > 5 else "white")
axes.axis("off")
plt.show()
dearest = vocab.decode(passage[[costs.argmax()]])
print(f"{costs.mean():.2f} bits a character; the dearest: {dearest!r}")

# %% [markdown]
# ## 10. Keep it
#
# ```python
# elman.save(hybrid, "runs/mine")   # a new folder; it holds the text that was counted
# hybrid = elman.load("runs/mine")
# ```
#
# Try next: a file of yours as `SOURCE`; `cell="lstm"`; more `EPOCHS`, until the held-out figure rises;
# `dropout=0.5` for the GRU; windows of 8 instead of 32 (does the influence reach less far?); `read_corpus(...,
# tokens="word")`.
