"""The native engine alone, on one thread: GF/s forward and backward, and their share of a matrix product's rate.

Products of large matrices take turns with it; there is no output layer and no optimiser. The flops are those of the
recurrence, 2 G H^2 a token forward and twice that backward, which includes the gradient of W_h; what else the calls do
(activations, the scatter of the input's gradient, Python) is in the time.

    python benchmarks/kernels.py [--rounds 15] [--cells elman gru lstm] [--hidden 128 256 512 1024]
"""

import argparse

import torch
from side_by_side import interleave, quartiles, write

from elman.cells import CELLS
from elman.comparison.benchmark import Shape
from elman.comparison.timing import Work, lasting, repeated
from elman.comparison.training_steps import batches, elman_model, product
from elman.engines.native import INSTRUCTIONS, Native
from elman.inference.spreads import Quartiles

GOAL = {"H": 512, "share": 0.8}
TURN = 0.1


def forward_and_backward(shape: Shape) -> tuple[Work, Work]:
    """The two calls, from token ids to outputs and from the outputs' gradient to those of weights and state."""
    model = elman_model(shape, "native")
    cell, weights = CELLS[shape.cell], model.stack[0].weights()
    inputs, _ = next(batches(shape))
    state = tuple(s.detach().clone().requires_grad_() for s in model.initial(shape.batch))
    flops = shape.tokens * 2 * shape.gates * shape.hidden**2

    def forward() -> float:
        Native.run(cell, inputs, state, weights)
        return flops

    outputs, _ = Native.run(cell, inputs, state, weights)
    owed = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0))

    def backward() -> float:
        torch.autograd.grad(outputs, [*weights, *state], owed, retain_graph=True)
        return 2 * flops

    return forward, backward


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cells", nargs="+", default=["elman", "gru", "lstm"])
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 256, 512, 1024])
    options = parser.parse_args()
    if not INSTRUCTIONS:
        raise SystemExit("elman was built without a compiler: there are no kernels to measure")
    torch.set_num_threads(1)
    table = []
    for cell in options.cells:
        for hidden in options.hidden:
            forward, backward = forward_and_backward(Shape(cell, hidden))
            ways = {"forward": lasting(forward, TURN), "backward": lasting(backward, TURN)}
            rates = interleave(ways | {"matrix product": repeated(product(), 3)}, options.rounds)
            products = rates.pop("matrix product")
            row = {"cell": cell, "H": hidden, "matrix product": quartiles(products)}
            for name, values in rates.items():
                row[name] = {"per_second": quartiles(values), "share": Quartiles.of_ratios(values, products).to_dict()}
            table.append(row)
            figures = ", ".join(
                f"{name} {row[name]['per_second']['median'] / 1e9:.1f} GF/s, "
                f"{Quartiles(*(100 * s for s in row[name]['share'].values())).written('.0f')} %"
                for name in ways
            )
            print(f"{cell:5} {hidden:4}  {figures}", flush=True)
    write("kernels", {"instructions": INSTRUCTIONS[0], "threads": 1, "goal": GOAL, "rows": table})


if __name__ == "__main__":
    main()
