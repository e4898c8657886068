"""Tokens of the eBPF assembler text, with their places for error messages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from tramposim.errors import InputError

__all__ = ["Cursor", "Token", "tokenize"]

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<comment>;.*|//.*|\#(?!\d).*|/\*.*?\*/)
  | (?P<op>s(?:>>=|/=|%=|>=|<=|>|<)
      |<<=|>>=|\+=|-=|\*=|/=|%=|\|=|&=|\^=|==|!=|>=|<=
      |[-+*/%|&^=<>()\[\]{},:\#])
  | (?P<number>0[xX][0-9a-fA-F]+|[0-9]+)
  | (?P<word>\.?[A-Za-z_$][A-Za-z0-9_.$/?@]*)
    """,
    re.VERBOSE,
)
_MAX_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Token:
    """A token: its kind (`op`, `number`, `word`, `end`), text and 1-based column."""

    kind: str
    text: str
    column: int


def tokenize(line: str, file: str, number: int) -> list[Token]:
    """Split one line, without its comments; the last token is of kind `end`.

    Raises `InputError` at the first character that starts no token.
    """
    tokens: list[Token] = []
    position = 0
    while position < len(line):
        match = _TOKEN.match(line, position)
        if match is None:
            raise InputError(
                f"unexpected character {line[position]!r}", f"{file}:{number}:{position + 1}"
            )
        kind = match.lastgroup or ""
        if kind not in ("space", "comment"):
            tokens.append(Token(kind, match[0], position + 1))
        position = match.end()
    tokens.append(Token("end", "end of line", len(line) + 1))
    return tokens


class Cursor:
    """A position in the tokens of one line, with the parsing steps that statements share."""

    def __init__(self, tokens: list[Token], file: str, number: int) -> None:
        self._tokens = tokens
        self._next = 0
        self._file = file
        self._number = number

    @property
    def token(self) -> Token:
        """The token at the cursor."""
        return self._tokens[self._next]

    def peek(self, ahead: int = 1) -> Token:
        """The token `ahead` places after the cursor (the `end` token beyond the last)."""
        return self._tokens[min(self._next + ahead, len(self._tokens) - 1)]

    def place(self, token: Token | None = None) -> str:
        """`file:line:column` of a token (default: the one at the cursor)."""
        return f"{self._file}:{self._number}:{(token or self.token).column}"

    def fail(self, message: str, token: Token | None = None) -> NoReturn:
        """Raise `InputError` at a token (default: the one at the cursor)."""
        raise InputError(message, self.place(token))

    def take(self) -> Token:
        """The token at the cursor, stepping over it."""
        token = self.token
        if token.kind != "end":
            self._next += 1
        return token

    def accept(self, *texts: str) -> bool:
        """Step over the given token texts if they all come next."""
        for ahead, text in enumerate(texts):
            if self.peek(ahead).text != text or self.peek(ahead).kind == "end":
                return False
        self._next += len(texts)
        return True

    def expect(self, *texts: str) -> None:
        """Step over the given token texts; raise `InputError` at the first that differs."""
        for text in texts:
            if not self.accept(text):
                self.fail(f"expected {text!r}, found {self.token.text!r}")

    def word(self, what: str) -> Token:
        """A word token; `what` names it in the error."""
        if self.token.kind != "word":
            self.fail(f"expected {what}, found {self.token.text!r}")
        return self.take()

    def integer(self, what: str) -> int:
        """A number with optional sign; `what` names it in the error."""
        negative = False
        if self.token.text in ("-", "+") and self.token.kind == "op":
            negative = self.take().text == "-"
        if self.token.kind != "number":
            self.fail(f"expected {what}, found {self.token.text!r}")
        token = self.take()
        if len(token.text) > _MAX_DIGITS:
            self.fail(f"a number of {len(token.text)} digits", token)
        value = int(token.text, 16 if token.text[:2].lower() == "0x" else 10)
        return -value if negative else value

    def end(self) -> None:
        """Raise `InputError` unless the line is used up."""
        if self.token.kind != "end":
            self.fail(f"unexpected {self.token.text!r} after the instruction")
