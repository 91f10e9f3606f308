def instruction_sets() -> list[str]: ...
def run_layer(isa: str, cell: int, back: bool, arguments: dict[str, int]) -> None: ...
def product(
    isa: str,
    M: int,
    N: int,
    K: int,
    A: int,
    ai: int,
    ak: int,
    B: int,
    bk: int,
    bj: int,
    C: int,
    ldc: int,
    bias: int,
    scale: float,
    add: bool,
    bfloat16: bool,
    threads: int,
) -> None: ...
def cross_entropy(isa: str, N: int, V: int, logits: int, targets: int, nats: int, threads: int) -> None: ...
def scatter(
    isa: str,
    N: int,
    columns: int,
    stride: int,
    ids: int,
    d: int,
    ldt: int,
    d_table: int,
    threads: int,
) -> None: ...
def generate(
    isa: str,
    cell: int,
    maps: list[tuple[int, int, int, int]],
    state: list[int],
    arguments: dict[str, int | float],
) -> None: ...
def panel(isa: str, cell: int, one: bool) -> tuple[int, int]: ...
