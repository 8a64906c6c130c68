"""The text of a file, and the command that converts it where its bytes are not UTF-8."""

from __future__ import annotations

import codecs
import gzip
import re
import shlex
import zlib
from collections.abc import Iterator
from pathlib import Path

import charset_normalizer

from curate.errors import UserError

GZIP = b"\x1f\x8b"
# A mark of UTF-32 begins with one of UTF-16, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
# Python's names of the encodings that are guessed, and iconv's: those of other scripts, and those of Latin ones with
# the letters that their languages use, the likeliest first.
_GUESSED = {
    "cp1251": "WINDOWS-1251",
    "koi8_r": "KOI8-R",
    "cp866": "CP866",
    "iso8859_5": "ISO-8859-5",
    "cp1253": "WINDOWS-1253",
    "cp1255": "WINDOWS-1255",
    "cp1256": "WINDOWS-1256",
    "tis_620": "TIS-620",
    "gb18030": "GB18030",
    "shift_jis": "CP932",
    "euc_jp": "EUC-JP",
    "euc_kr": "EUC-KR",
    "big5": "BIG5",
}
_WESTERN = ("àáâãäåæçèéêëìíîïñòóôõöøùúûüÿœß",)
_CENTRAL = ("ąćęłńóśźż", "áäčďéěíĺľňóôŕřšťúůýž", "áéíóöőúüű", "ăâîşţ", "ćčđšž", "äöüß")
_LATIN = {
    "cp1252": ("WINDOWS-1252", _WESTERN),
    "cp1250": ("WINDOWS-1250", _CENTRAL),
    "cp1254": ("WINDOWS-1254", ("âçğıîöşûüİ",)),
    "mac_roman": ("MACINTOSH", _WESTERN),
    "cp850": ("CP850", _WESTERN),
    "iso8859_2": ("ISO-8859-2", _CENTRAL),
    "cp852": ("CP852", _CENTRAL),
}
_APOSTROPHES, _MARKS_OF_PROSE = "’‘ʼ", "“”„‚«»‹›–—…•°€£§©®™¿¡\u00a0"
_SAMPLE_BYTES = 200_000
_WORD_WITH_HIGH_BYTE = re.compile(rb"[A-Za-z]*[\x80-\xff][A-Za-z\x80-\xff]*")


def read_text(file: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark; what is compressed with gzip is unpacked.

    A `UserError` where it is in another encoding names that and the command that converts the file.
    """
    data = _unpacked(file)
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            raise UserError(
                f"{file} is {encoding}: it begins with the byte order mark {mark.hex(' ').upper()}.",
                _convert(file, encoding),
            )
    silent = _silent_utf16(data)
    if silent is not None:
        raise UserError(
            f"{file} is {silent}: where its text is ASCII, every other byte is zero.", _convert(file, silent)
        )
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(file, data, error) from None


def text_lines(file: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file one by one, without ends and byte order mark; else raise as `read_text`."""
    with file.open("rb") as start:
        packed = start.read(2) == GZIP
    try:
        with gzip.open(file, "rb") if packed else file.open("rb") as stream:
            for number, line in enumerate(stream):
                whole = line if number else line.removeprefix(codecs.BOM_UTF8)
                yield whole.removesuffix(b"\n").decode("utf-8")
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error):
        read_text(file)
        raise


def _unpacked(file: Path) -> bytes:
    data = file.read_bytes()
    if not data.startswith(GZIP):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file} cannot be unpacked ({error}).", "Get it again: it was cut or damaged.") from None


def _silent_utf16(data: bytes) -> str | None:
    """UTF-16 without a mark: many of its characters are ASCII, with a zero for every other byte."""
    sample = data[:_SAMPLE_BYTES]
    for start, encoding in ((1, "UTF-16LE"), (0, "UTF-16BE")):
        zeros = sample[start::2]
        if len(zeros) > 8 and zeros.count(0) > 0.2 * len(zeros) and not sample[1 - start :: 2].count(0):
            return encoding
    return None


def _not_utf8(file: Path, data: bytes, error: UnicodeDecodeError) -> UserError:
    offset = error.start + (len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0)
    line = data.count(b"\n", 0, offset) + 1
    what = f"{file}:{line}: not UTF-8 (byte {data[offset]:#04x} at offset {offset})"
    if data.startswith(codecs.BOM_UTF8) or _mostly_utf8(data):
        drop = _command(file, "iconv -c -f UTF-8 -t UTF-8")
        return UserError(f"{what}, though the rest is.", f"Correct that line, or drop what is broken: {drop}")
    encoding = _guess(data)
    if encoding is None:
        command = _command(file, "iconv -f ENCODING -t UTF-8")
        return UserError(f"{what}.", f"Ask whoever wrote it for its encoding, then: {command}")
    return UserError(f"{what} but most likely {encoding}.", _convert(file, encoding))


def _mostly_utf8(data: bytes) -> bool:
    """Whether more characters outside ASCII are written in UTF-8 than bytes are broken."""
    text = data.decode("utf-8", "surrogateescape")
    outside = [sign for sign in text if sign > "\x7f"]
    broken = sum("\udc80" <= sign <= "\udcff" for sign in outside)
    return len(outside) - broken > broken


def _guess(data: bytes) -> str | None:
    """The likeliest encoding, iconv's name. In Latin text a word with a byte above 0x7f has mostly letters of ASCII."""
    words = b"".join(_WORD_WITH_HIGH_BYTE.findall(data[: 50 * _SAMPLE_BYTES])[:100_000])
    high = sum(byte >= 0x80 for byte in words)
    lines = b"\n".join(line for line in data.split(b"\n") if not line.isascii())[:_SAMPLE_BYTES]
    if high < 0.6 * len(words):
        fits = {
            encoding: max(_fit(lines.decode(encoding, "replace"), letters) for letters in alphabets)
            for encoding, (_, alphabets) in _LATIN.items()
            if _decodes(data, encoding)
        }
        best = max(fits, key=lambda encoding: fits[encoding], default=None)  # of equals the first: the likeliest
        return _LATIN[best][0] if best is not None and fits[best] > 0.5 else None
    match = charset_normalizer.from_bytes(lines, cp_isolation=list(_GUESSED)).best()
    return _GUESSED.get(match.encoding) if match is not None and _decodes(data, match.encoding) else None


def _fit(text: str, letters: str) -> float:
    """How well the characters above ASCII stand where they stand, from -1 to 1, in a language with these `letters`.

    Letters stand in words, capitals do not follow small letters, and a sign between letters is an apostrophe.
    """
    total, count = 0.0, 0
    for place, sign in enumerate(text):
        if sign <= "\x7f":
            continue
        count += 1
        before, after = text[place - 1 : place], text[place + 1 : place + 2]
        if sign.isalpha():
            misplaced = (sign.isupper() and before.islower()) or not (before.isalpha() or after.isalpha())
            total += -1 if misplaced else 1 if sign.lower() in letters or sign in letters else 0.2
        elif sign in _APOSTROPHES:
            total += 1
        else:
            total += -1 if sign not in _MARKS_OF_PROSE or (before.isalpha() and after.isalpha()) else 1
    return total / count if count else 0.0


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _convert(file: Path, encoding: str) -> str:
    return f"Convert it and name the new file: {_command(file, f'iconv -f {encoding} -t UTF-8')}"


def _command(file: Path, iconv: str) -> str:
    """A shell line that writes the converted text beside the file, under the ending that says its format."""
    packed = file.read_bytes()[:2] == GZIP
    stem = file.with_suffix("") if packed and file.suffix.lower() == ".gz" else file
    source, target = shlex.quote(str(file)), shlex.quote(str(stem.with_suffix(f".utf8{stem.suffix}")))
    return f"gunzip -c {source} | {iconv} > {target}" if packed else f"{iconv} {source} > {target}"
