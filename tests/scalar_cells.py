"""The equations of every cell in scalars: one unit of one row at a time, no tensors."""

from math import exp, tanh

Vector = list[float]


def sigmoid(a: float) -> float:
    return 1 / (1 + exp(-a))


def elman_unit(x: Vector, u: Vector, h: float) -> tuple[float]:
    return (tanh(x[0] + u[0]),)


def elman_relu_unit(x: Vector, u: Vector, h: float) -> tuple[float]:
    a = x[0] + u[0]
    return (a if a > 0 else 0.0,)


def gru_unit(x: Vector, u: Vector, h: float) -> tuple[float]:
    reset = sigmoid(x[0] + u[0])
    keep = sigmoid(x[1] + u[1])
    candidate = tanh(x[2] + reset * u[2])
    return (candidate - keep * candidate + keep * h,)


def lstm_unit(x: Vector, u: Vector, h: float, c: float) -> tuple[float, float]:
    enter, forget, leave = sigmoid(x[0] + u[0]), sigmoid(x[1] + u[1]), sigmoid(x[3] + u[3])
    memory = forget * c + enter * tanh(x[2] + u[2])
    return leave * tanh(memory), memory


UNITS = {"elman": (elman_unit, 1), "elman-relu": (elman_relu_unit, 1), "gru": (gru_unit, 3), "lstm": (lstm_unit, 4)}


def scalar_layer(cell: str, inputs: list[Vector], state: list[Vector], w: dict[str, list]) -> list[list[Vector]]:
    """The states (h, ...) after every step of one sequence; gate k of unit j is row k*H + j of the weights."""
    unit, gates = UNITS[cell]
    H = len(state[0])
    history = []
    for x_t in inputs:
        h, new = state[0], []
        for j in range(H):
            rows = [k * H + j for k in range(gates)]
            x = [sum(a * b for a, b in zip(w["W_x"][r], x_t, strict=True)) + w["b_x"][r] for r in rows]
            u = [sum(a * b for a, b in zip(w["W_h"][r], h, strict=True)) + w["b_h"][r] for r in rows]
            new.append(unit(x, u, *(s[j] for s in state)))
        state = [list(s) for s in zip(*new, strict=True)]
        history.append(state)
    return history
