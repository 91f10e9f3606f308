def instruction_sets() -> list[str]: ...
def run(isa: str, cell: int, back: bool, arguments: dict[str, int]) -> None: ...
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
