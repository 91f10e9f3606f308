from typing import Any

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
def cross_entropy(
    isa: str, N: int, V: int, stride: int, logits: int, targets: int, nats: int, threads: int
) -> None: ...
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
    arguments: dict[str, Any],
) -> None: ...
def panel(isa: str, cell: int, one: bool) -> tuple[int, int]: ...

class ExpertTable: ...

def expert_table(V: int, chain: int, log_unigram: int, levels: list[list[int]]) -> ExpertTable: ...
def find_contexts(
    tables: list[ExpertTable],
    T: int,
    B: int,
    chosen: int,
    contexts: int,
    threads: int,
    of: tuple[int, int, int],
    inputs: int,
    read: int,
    memory: int,
    backoff: int,
) -> None: ...
def count_word_gains(tables: list[ExpertTable], places: int, chosen: int, contexts: int, offsets: int) -> None: ...
def add_experts(
    tables: list[ExpertTable],
    places: int,
    chosen: int,
    contexts: int,
    threads: int,
    weights: int,
    logits: int,
    stride: int,
    offsets: int,
    gains: int,
) -> None: ...
def expert_gradients(
    tables: list[ExpertTable],
    places: int,
    chosen: int,
    contexts: int,
    threads: int,
    d: int,
    d_weights: int,
    stride: int,
    offsets: int,
    gains: int,
) -> None: ...
def fill_slots(count: int, contexts: int, mask: int, slots: int) -> None: ...
