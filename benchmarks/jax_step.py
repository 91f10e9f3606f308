"""The whole training step in JAX: row look-up, `lax.scan`, cross-entropy, gradient, clipping, SGD, one jitted function.

It runs in a process of its own, since the number of its threads is settled when it starts: every line on standard
input is a number of steps to do, and is answered by the tokens they learnt from.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np

from elman.data.batches import even_windows, gather

GATES = {"elman": 1, "gru": 3, "lstm": 4}


def installed() -> bool:
    return find_spec("jax") is not None


@contextmanager
def jax_step(shape, threads: int, steps: int) -> Iterator[Callable[[], float]]:
    """Work of so many steps by a process on so many threads."""
    sizes = {name: getattr(shape, name) for name in ("cell", "hidden", "vocab", "batch", "window")}
    flags = "--xla_cpu_multi_thread_eigen=false" if threads == 1 else ""
    with subprocess.Popen(
        [sys.executable, __file__, json.dumps(sizes)],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "NPROC": str(threads), "XLA_FLAGS": flags},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def work() -> float:
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        yield work


def make(cell: str, hidden: int, vocab: int):
    """Initial weights, and step(weights, state, inputs, targets) -> weights, state, loss; inputs and targets (T, B)."""
    import jax
    import jax.numpy as jnp
    from jax import lax

    gates = GATES[cell]
    keys = iter(jax.random.split(jax.random.key(0), 8))

    def uniform(*size):
        return jax.random.uniform(next(keys), size, minval=-(hidden**-0.5), maxval=hidden**-0.5)

    weights = {
        "W_x": uniform(vocab, gates * hidden),
        "W_h": uniform(hidden, gates * hidden),
        "b_x": uniform(gates * hidden),
        "b_h": uniform(gates * hidden),
        "W_q": uniform(hidden, vocab),
        "b_q": uniform(vocab),
    }

    def elman(x, u, _h):
        return (jnp.tanh(x + u),)

    def gru(x, u, h):
        (x_r, x_z, x_n), (u_r, u_z, u_n) = jnp.split(x, 3, -1), jnp.split(u, 3, -1)
        z = jax.nn.sigmoid(x_z + u_z)
        n = jnp.tanh(x_n + jax.nn.sigmoid(x_r + u_r) * u_n)
        return ((1 - z) * n + z * h,)

    def lstm(x, u, _h, c):
        i, f, g, o = jnp.split(x + u, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    advance = {"elman": elman, "gru": gru, "lstm": lstm}[cell]

    def loss(w, state, inputs, targets):
        def one(state, x):
            state = advance(x, state[0] @ w["W_h"] + w["b_h"], *state)
            return state, state[0]

        state, outputs = lax.scan(one, state, w["W_x"][inputs] + w["b_x"])
        chances = jax.nn.log_softmax(outputs @ w["W_q"] + w["b_q"])
        return -jnp.take_along_axis(chances, targets[..., None], -1).mean(), state

    def step(w, state, inputs, targets):
        (cost, state), gradients = jax.value_and_grad(loss, has_aux=True)(w, state, inputs, targets)
        norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(gradients)))
        rate = 0.1 * jnp.minimum(1.0, 1.0 / norm)
        return jax.tree.map(lambda p, g: p - rate * g, w, gradients), state, cost

    return weights, jax.jit(step, donate_argnums=(0, 1))


def serve(cell: str, hidden: int, vocab: int, batch: int, window: int) -> None:
    import jax.numpy as jnp

    weights, step = make(cell, hidden, vocab)
    ids = np.random.default_rng(0).integers(1, vocab, 40 * batch * window).astype(np.int32)
    text = [gather(ids, row) for row in even_windows(len(ids), batch, window)]
    batches = [(jnp.asarray(x.T.astype(np.int32)), jnp.asarray(y.T.astype(np.int32))) for x, y in text]
    state = tuple(jnp.zeros((batch, hidden)) for _ in range(2 if cell == "lstm" else 1))
    done = 0
    for line in sys.stdin:
        for _ in range(int(line)):
            weights, state, cost = step(weights, state, *batches[done % len(batches)])
            cost.block_until_ready()  # as PyTorch's, whose steps end before the next begins
            done += 1
        print(int(line) * batch * window, flush=True)


if __name__ == "__main__":
    serve(**json.loads(sys.argv[1]))
