class Value:
    def __add__(self, other: int | Value) -> Value: ...
    def via(self, transform: str) -> Value: ...

IMM: Value
IMM64: Value
OFFSET: Value
TARGET: Value
TARGET_IMM: Value
ONCE: Value
END: Value
HERE: Value

def param(index: int) -> Value: ...
def local(index: int) -> Value: ...
