"""The whole training step, elman against others, in turns: tokens a second, and their ratio to plain PyTorch's.

Beside it the share of what a large matrix product reaches in the same rounds (`elman.comparison.benchmark`).

    plain PyTorch     the textbook's concise network: one-hot vectors, `nn.RNN`, `nn.GRU` or `nn.LSTM`, a linear layer,
                      cross-entropy, backward, clipping by `clip_grad_norm_`, SGD
    elman             elman's own training loop with the engine that "auto" takes, or each of --engines
    textbook's loop   the network from scratch as the textbook writes it (elman alone)
    JAX               one jitted function over `lax.scan`, where jax is installed
    autocast          plain PyTorch under `torch.autocast` in bfloat16

All learn batches of the same shapes. The products are single precision for every row, autocast's too.

    python benchmarks/training.py [--rounds 15] [--steps 4] [--threads 1 2] [--vocab 28 1000] [--cells ...] ...

A run may be cut in pieces: `--add` keeps the rows of earlier ones.
"""

import argparse
from contextlib import ExitStack

import torch
import torch.nn.functional as F
from jax_step import installed, jax_step
from side_by_side import against, interleave, merged, quartiles, read, write
from torch import Tensor

from elman.comparison.benchmark import Shape
from elman.comparison.timing import Work, repeated
from elman.comparison.training_steps import batches, elman_model, elman_step, plain_step, product
from elman.inference.findings.benchmark import PLAIN
from elman.inference.spreads import Quartiles

LOOP, JAX, AUTOCAST, PRODUCT = "textbook's loop", "JAX", "autocast", "matrix product"
KEY = ("threads", "V", "cell", "H")


def scratch_weights(shape: Shape) -> list[Tensor]:
    """W_xh, W_hh, b_h, W_hq, b_q as the textbook begins."""
    torch.manual_seed(0)
    V, H = shape.vocab, shape.hidden
    W_xh, W_hh, W_hq = (torch.randn(size) * 0.01 for size in ((V, H), (H, H), (H, V)))
    return [W_xh, W_hh, torch.zeros(H), W_hq, torch.zeros(V)]


def scratch_step(shape: Shape, parameters: list[Tensor]) -> Work:
    """A step of the network from scratch: its own products for every step of time, gradients by autograd."""
    V = shape.vocab
    W_xh, W_hh, b_h, W_hq, b_q = (p.requires_grad_() for p in parameters)
    text = batches(shape)
    state = torch.zeros(shape.batch, shape.hidden)

    def step() -> float:
        nonlocal state
        inputs, targets = next(text)
        h, outputs = state.detach(), []
        for x in F.one_hot(inputs.T, V).to(torch.float32):
            h = torch.tanh(torch.matmul(x, W_xh) + torch.matmul(h, W_hh) + b_h)
            outputs.append(torch.matmul(h, W_hq) + b_q)
        state = h
        loss = F.cross_entropy(torch.stack(outputs).reshape(-1, V), targets.T.reshape(-1))
        for p in parameters:
            p.grad = None
        loss.backward()
        norm = torch.sqrt(sum(torch.sum(p.grad**2) for p in parameters))
        with torch.no_grad():
            for p in parameters:
                if norm > 1:
                    p.grad[:] *= 1 / norm
                p.sub_(0.1 * p.grad)
        return shape.tokens

    return step


def refusal(name: str, step: Work) -> dict[str, str]:
    """Why PyTorch cannot take that step here, if it cannot: oneDNN has no bfloat16 LSTM for every processor."""
    try:
        step()
    except RuntimeError as error:
        return {name: str(error).split(".", maxsplit=1)[0]}
    return {}


def measured(shape: Shape, threads: int, options: argparse.Namespace) -> dict:
    """A row of the table."""
    row = {"threads": threads, "V": shape.vocab, "cell": shape.cell, "H": shape.hidden}
    ways = {PLAIN: plain_step(shape)}
    for engine in options.engines:
        ways["elman" if engine == "auto" else f"elman {engine}"] = elman_step(shape, engine)
    if shape.cell == "elman" and LOOP in options.ways:
        ways[LOOP] = scratch_step(shape, scratch_weights(shape))
    ways = {name: repeated(step, options.steps) for name, step in ways.items()}
    missing = {}
    if AUTOCAST in options.ways:
        step = plain_step(shape, bfloat16=True)
        ways[AUTOCAST] = repeated(step, max(1, options.steps // 4))  # far slower where the processor has no bfloat16
        missing |= refusal(AUTOCAST, step)
    if JAX in options.ways and not installed():
        missing[JAX] = "jax is not installed"
    ways = {name: work for name, work in ways.items() if name not in missing}
    with ExitStack() as stack:
        if JAX in options.ways and JAX not in missing:
            ways[JAX] = stack.enter_context(jax_step(shape, threads, options.steps))
        rates = interleave(ways | {PRODUCT: repeated(product(), 3)}, options.rounds)
    products = rates.pop(PRODUCT)
    compared = against(rates, PLAIN)
    for name, values in rates.items():
        compared[name]["share"] = Quartiles.of_ratios([v * shape.flops for v in values], products).to_dict()
    row |= {"engine": elman_model(shape).engine_name, "flops_per_token": shape.flops}
    row |= {"not measured": missing} if missing else {}
    return row | {PRODUCT: quartiles(products)} | compared


def said(row: dict) -> str:
    """A line a way."""
    head = f"{row['threads']} threads  V {row['V']:4}  {row['cell']:5} {row['H']}"
    lines = [f"{head}  {name}: not measured, {why}" for name, why in row.get("not measured", {}).items()]
    for name, found in row.items():
        if isinstance(found, dict) and "per_second" in found:
            label = f"{name} ({row['engine']})" if name == "elman" else name
            lines.append(
                f"{head}  {label:16} {found['per_second']['median']:9,.0f} tokens/s  "
                f"{Quartiles.from_dict(found['ratio']).written()} x plain PyTorch  "
                f"{100 * found['share']['median']:3.0f} %"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=4, help="training steps of a turn")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--vocab", type=int, nargs="+", default=[28, 1000])
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--cells", nargs="+", default=["elman", "gru", "lstm"])
    parser.add_argument("--engines", nargs="*", default=["auto"], help="of elman")
    parser.add_argument("--ways", nargs="*", default=[LOOP, JAX, AUTOCAST], help="beside elman and plain PyTorch")
    parser.add_argument("--add", action="store_true", help="keep the other rows of benchmarks/results/training.json")
    options = parser.parse_args()
    before = read("training") if options.add else None
    table: list[dict] = []
    for threads in options.threads:
        torch.set_num_threads(threads)
        for size in options.vocab:
            for cell in options.cells:
                for hidden in options.hidden:
                    row = measured(Shape(cell, hidden, size), threads, options)
                    table.append(row)
                    print(said(row), flush=True)
                    # At once, so that a run that is cut short has lost no row.
                    write("training", merged(before, table, KEY) if before else table, before=before)


if __name__ == "__main__":
    main()
