from tramposim._native.asmplan import Isa

ISA: Isa
