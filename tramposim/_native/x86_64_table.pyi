TABLE: tuple[tuple[str, int, int, int, int, int], ...]
ARITY: dict[int, int]
