"""Streams of documents from folders, tar archives, JSONL and CSV files, and Python's own docstrings."""

import ast
import codecs
import contextlib
import csv
import email
import email.errors
import email.header
import email.parser
import email.utils
import itertools
import json
import os
import posixpath
import re
import sysconfig
import tarfile
import warnings
from collections import Counter, namedtuple
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from keras_ae.typing import FilePath
from keras_ae.utils import digests, files

MAX_BYTES = 2**20
"""Maximum length of a document: bytes of a file, or characters of a field in a JSONL or CSV file."""

MAX_LINE_BYTES = 2**26
_TITLE_CHARACTERS = 100
_MIN_WORDS = 5
_SOURCES = "a folder, a tar archive, a .jsonl or .csv file, or 'docstrings'"
# Tests, and applications in the library. Installed packages are excluded because "site-packages" has a hyphen.
_NOT_LIBRARY = {"__pycache__", "ensurepip", "idlelib", "lib2to3", "test", "tests", "turtledemo"}

# A header name has printable ASCII characters except the colon (RFC 5322, 2.2); mbox files add a line before.
_POSTING = re.compile(
    r"(?:From [^\n]*+\n)?"
    r"(?=(?:[^\r\n][^\n]*+\n)*?(?i:from|subject):)"
    r"(?:[!-9;-~]++:[^\n]*+\n(?:[ \t]++[^\n]*+\n)*+)++"
    r"\r?\n"
)
# `email` takes quadratic time in the length of these headers; about 1,000 is the limit of a line (RFC 5322, 2.1.1).
_LONG_SUBJECT = 1000
_LONG_TYPE = re.compile(r"^content-type:(?:[^\n]|\n[ \t]){1000}", re.IGNORECASE | re.MULTILINE)
# It reads each line once for every multipart around it: this many readings take about a second. A megabyte of base64
# is 14,000 lines.
_MAX_READINGS = 2**17
_PARTS = re.compile(r"^content-type:\s*(?:multipart|message)/", re.IGNORECASE | re.MULTILINE)
_CONTROL = re.compile("[\x00-\x07\x0b\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
_EXTENSIONS = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}


class Document(namedtuple("Document", "id label title text date")):
    """A document: `id` and `text`, str; `label` and `title`, str or None; `date`, a datetime in UTC or None.

    Example: `Document("news:1", "sci.space", "Orbit", "The shuttle reached its orbit.", None)`

    See also: `Documents`, which reads them.
    """

    __slots__ = ()


class Documents:
    """The documents of a source, read again at each iteration, in the same order and in bounded memory.

    Only the file names of one folder at a time are kept in memory. A source is one of:

    - a folder, or a tar archive with any compression that `tarfile` supports: its files, `label/document`. The id is
      the path starting with the folder's own name (in an archive, the member's path), and the label is the name of
      the folder that contains the document: `20_newsgroups/sci.space/59497` has the label `sci.space` in both cases.
      Files directly in the source folder have no label. Folders are read in sorted order, files before subfolders;
      links to folders are not followed. Archives are read in their own order and never extracted.
    - a `.jsonl` file with one object per line, or a `.csv` file with a header line. The text is the string in
      `text_column`. The columns `id`, `label`, `title` and `date` (ISO 8601 or e-mail format; UTC if there is no time
      zone) are used if they exist and contain strings or numbers. The default id is `"<file name>:<line>"`.
    - `"docstrings"`: the docstrings with at least 5 words in the standard library of the running Python, for modules,
      classes and functions, from its source files. Id and title are the qualified name, and the label is the
      top-level module.

    Bytes are decoded as UTF-8, or else as Latin-1, which 20 Newsgroups uses; CSV and JSONL files are decoded line by
    line.

    Files that start with a block of header lines, including `From:` or `Subject:`, and a blank line are parsed as
    postings or e-mails. Their title is the subject, their text is subject + newline + body, and their date is the
    `Date:` header (UTC if the time zone is unknown). Other headers are dropped because they name the newsgroup. Quoted
    text and signatures are kept. The body of a multipart message is its first plain-text part. The default title of a
    document is the first 100 characters of its first non-blank line.

    Documents that cannot be used, or only in part, are counted in `skipped`, a `collections.Counter` for the latest
    iteration, finished or running:

    - `"empty"`: only white space.
    - `"truncated"`: longer than `MAX_BYTES`. The document is truncated but not skipped.
    - `"undecoded subject"`: the subject of a posting has an unknown or broken encoding. It stays as it is.
    - `"undecoded body"`: a posting has too many parts to be taken apart safely. Its body stays as it is.
    - `"binary"`: a file with a NUL byte, or with more than a tenth control characters. In JSONL and CSV files, NUL
      characters are replaced by spaces.
    - `"unreadable"`: a file or folder that the system cannot open.
    - `"not a file"`: pipes and devices; in archives, also links and sparse files.
    - `"unsafe path"`: an absolute path or one with `..`, in an archive.
    - `"malformed"`: a line that is not a JSON object, a CSV record with invalid quoting or a different length from the
      header, or a module that cannot be parsed.
    - `"text not a string"`: a JSON object in which `text_column` is missing or not a string.
    - `"too long"`: a line of more than 64 MB.

    Hidden files and folders, whose names begin with a dot, are skipped and not counted.

    Args:
        source: Path, or `"docstrings"`; for a folder with that name, pass `"./docstrings"`.
        text_column: Key of the text in JSONL and CSV files.

    Raises:
        FileNotFoundError: If `source` does not exist.
        ValueError: If `source` is of an unsupported kind, has no documents, or lacks `text_column`. If an archive is
            damaged or truncated, iteration raises the error at that point, so that an incomplete corpus does not go
            unnoticed.

    Example:

    >>> from keras_ae.datasets import Documents
    >>> document = next(iter(Documents("docstrings")))
    >>> document.id, document.text.split("\\n")[0]
    ('__future__', 'Record of phased-in incompatible language changes.')

    See also: `newsgroups.TwentyNewsgroups`, as a TFDS data set; `layers.TfIdf`, which turns texts into rows.
    """

    def __init__(self, source: FilePath, text_column: str = "text") -> None:
        self.source = os.fsdecode(source)
        self.text_column = text_column
        # Read one document to fail early: most errors occur before the first one.
        with contextlib.closing(iter(self)) as documents:
            next(documents)
        self.skipped: Counter[str] = Counter()

    def __iter__(self):
        self.skipped = Counter()
        return self._documents(self.skipped)

    def _documents(self, skipped):
        found = False
        for document, cut in self._read(skipped):
            if not document.text.strip():
                skipped["empty"] += 1
                continue
            if cut:
                skipped["truncated"] += 1
            found = True
            yield document
        if not found:
            raise ValueError(
                f"`source` must contain documents; {self.source!r} has none that can be used. Skipped: {dict(skipped)}."
            )

    def _read(self, skipped):
        suffix = os.path.splitext(self.source)[1].lower()
        if self.source == "docstrings":
            return _docstrings(skipped)
        if os.path.isdir(self.source):
            return _files(_folder(self.source, skipped), skipped)
        if not os.path.exists(self.source):
            raise FileNotFoundError(f"`source` must be {_SOURCES}; {self.source!r} does not exist.")
        if not files.is_regular(self.source):
            raise ValueError(f"`source` must be {_SOURCES}; {self.source!r} is neither a folder nor a regular file.")
        if suffix == ".jsonl":
            return _records(_jsonl(self.source, skipped), self.source, self.text_column, skipped)
        if suffix == ".csv":
            return _records(_csv(self.source, skipped), self.source, self.text_column, skipped)
        return _files(_tar(self.source, skipped), skipped)


def is_query(document_id: str) -> bool:
    """Whether a document is a query, as about one in five is, or belongs to the database.

        int(sha1(document_id)[:8 hex digits], 16) % 5 == 0

    The split depends only on the id, so adding documents later does not change it.

    Args:
        document_id: str; hashed as UTF-8.

    Returns:
        bool.

    Example:

    >>> from keras_ae.datasets.text import is_query
    >>> is_query("20_newsgroups/sci.space/59497"), is_query("20_newsgroups/sci.space/59848")
    (False, True)

    See also: `speech.is_validation`, for audio files.
    """
    return digests.of_name(document_id) % 5 == 0


# Files: (path, label, up to MAX_BYTES + 1 bytes) -> Document, whether it was truncated.


def _files(files, skipped):
    for path, label, data in files:
        cut = len(data) > MAX_BYTES
        text = decode(data[:MAX_BYTES], final=not cut)
        if "\0" in text or len(_CONTROL.findall(text)) > len(text) / 10:
            skipped["binary"] += 1
            continue
        posting = _POSTING.match(text)
        title, text, date = _posting(text, posting.end(), skipped) if posting else (None, text, None)
        yield Document(path, label, _title(title or text), text, date), cut


def _folder(root, skipped):
    def unreadable(error):
        skipped["unreadable"] += 1

    name = _text(os.path.basename(os.path.abspath(root)))
    for folder, subfolders, names in os.walk(root, onerror=unreadable):
        subfolders[:] = sorted(each for each in subfolders if not each.startswith("."))
        below = "" if folder == root else _text(os.path.relpath(folder, root).replace(os.sep, "/"))
        label = posixpath.basename(below) or None
        for each in sorted(each for each in names if not each.startswith(".")):
            path = os.path.join(folder, each)
            try:
                if os.path.exists(path) and not files.is_regular(path):
                    skipped["not a file"] += 1
                    continue
                with open(path, "rb") as file:
                    data = file.read(MAX_BYTES + 1)
            except OSError:
                skipped["unreadable"] += 1
                continue
            yield posixpath.join(name, below, _text(each)), label, data


def _tar(path, skipped):
    n = 0
    with open(path, "rb") as file, _open_archive(path, file) as archive:
        while True:
            try:
                member, data = _next_member(archive)
            except Exception as error:  # tarfile and the decompressors raise almost any type on corrupt files.
                raise ValueError(
                    f"{path!r} is damaged or truncated: after {n} documents, {error or type(error).__name__}."
                ) from error
            if member is None:
                return
            name = _text(member.name)
            parts = posixpath.normpath(name).split("/")
            if member.isdir():
                continue
            if name.startswith("/") or ".." in name.split("/"):
                skipped["unsafe path"] += 1
            elif any(part.startswith(".") for part in parts):
                continue
            elif data is None:
                skipped["not a file"] += 1
            else:
                n += 1
                yield "/".join(parts), parts[-2] if len(parts) > 1 else None, data


def _open_archive(path, file):
    try:
        # Stream mode ("r|*") would read only the first of several compressed streams.
        return tarfile.open(fileobj=file, tarinfo=_Member, encoding="utf-8", errors="surrogateescape")
    except Exception as error:  # As in `_tar`.
        raise ValueError(f"`source` must be {_SOURCES}; {path!r} is none of these, or is damaged.") from error


def _next_member(archive):
    archive.members.clear()  # Otherwise it keeps all headers.
    member = archive.next()
    if member is None or not member.isreg() or member.issparse():
        return member, None
    return member, archive.extractfile(member).read(MAX_BYTES + 1)


class _Member(tarfile.TarInfo):
    """A header that raises an error if it is damaged, rather than ending the archive silently, and bounds memory."""

    @classmethod
    def fromtarfile(cls, archive):
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error

    def _proc_member(self, archive):  # The hook that tarfile provides for subclasses.
        if self.size < 0 or (self.type in _EXTENSIONS and self.size > MAX_BYTES):
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        member = super()._proc_member(archive)
        if member.size < 0:  # An extended header may replace the size.
            raise tarfile.ReadError(f"a member of {member.size} bytes")
        return member


# Postings.


def _posting(text, start, skipped):
    """Returns the subject, text and date of a posting whose body begins at `start`; counts what it leaves undecoded."""
    headers, body = email.parser.HeaderParser().parsestr(text[:start]), text[start:]
    if headers.get_content_maintype() == "multipart" or _is_encoded(headers):
        if _LONG_TYPE.search(text) or text.count("\n") * (1 + len(_PARTS.findall(text))) > _MAX_READINGS:
            skipped["undecoded body"] += 1
        else:
            body = _plain_part(email.message_from_string(text)) or body
    subject = headers["Subject"] or ""
    try:
        subject = _subject(subject)
    except (ValueError, LookupError, email.errors.MessageError):
        skipped["undecoded subject"] += 1
    subject = " ".join(_clean(subject).split())
    return subject, f"{subject}\n{body}" if subject else body, _date(headers["Date"])


def _subject(subject):
    if len(subject) > _LONG_SUBJECT:
        raise ValueError("too long to decode")
    return str(email.header.make_header(email.header.decode_header(subject)))


def _is_encoded(message):
    return message.get("Content-Transfer-Encoding", "").strip().lower() in ("base64", "quoted-printable")


def _plain_part(message):
    for part in message.walk():
        if part.get_content_type() == "text/plain" and not part.is_multipart():
            return _clean(decode(part.get_payload(decode=True))) if _is_encoded(part) else part.get_payload()


def _date(value):
    for parse in (datetime.fromisoformat, email.utils.parsedate_to_datetime):
        try:
            date = parse(value)
            return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, TypeError, IndexError, OverflowError):
            pass
    return None


# Lines: (default id, {column: value}) -> Document, whether it was truncated.


def _records(records, path, text_column, skipped):
    for i, (default_id, record) in enumerate(records):
        if i == 0 and text_column not in record:
            raise ValueError(
                f"`text_column` must be one of the columns of {path!r}, {list(record)}, received {text_column!r}."
            )
        found = of_record(record, default_id, text_column)
        if found is None:
            skipped["text not a string"] += 1
        else:
            yield found


def of_record(record: Mapping[str, Any], default_id: str, text_column: str = "text") -> tuple[Document, bool] | None:
    """Converts an object of a JSONL file or a record of a CSV file to a document, in the same way as `Documents`.

    Args:
        record: dict.
        default_id: str, used if the record has no id.
        text_column: key of the text.

    Returns:
        a `Document`, and whether its text was truncated; None if `text_column` is missing or not a string.

    Example: `document, cut = of_record({"text": "The shuttle reached its orbit."}, default_id="news:1")`

    See also: `json_object`, for a line that is not parsed yet.
    """
    text = record.get(text_column)
    if not isinstance(text, str):
        return None
    fields = {
        key: _clean(str(record[key]))
        for key in ("id", "label", "title", "date")
        if isinstance(record.get(key), (str, int, float)) and str(record[key]).strip()
    }
    cut, text = len(text) > MAX_BYTES, _clean(text[:MAX_BYTES])
    title, date = _title(fields.get("title") or text), _date(fields.get("date"))
    return Document(fields.get("id", default_id), fields.get("label"), title, text, date), cut


def _jsonl(path, skipped):
    name = _text(os.path.basename(path))
    for number, line in _lines(path, skipped):
        if line.strip():
            record = json_object(line)
            if record is None:
                skipped["malformed"] += 1
            else:
                yield f"{name}:{number}", record


def json_object(line: bytes) -> dict[str, Any] | None:
    """Parses a line of a JSONL file, bytes, in the same way as `Documents`; None if it is not an object.

    Example: `json_object(b'{"text": "orbit"}')    # {"text": "orbit"}`

    See also: `of_record`, which takes the result.
    """
    try:
        record = json.loads(_line(line))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _csv(path, skipped):
    # The limit is global to the process, so only ever raise it.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    name, header, last = _text(os.path.basename(path)), None, 0

    def lines():
        nonlocal last
        for number, line in _lines(path, skipped):
            last = number
            yield _line(line)

    # Strict, so that a stray quote is an error at the next quote, rather than merging all documents up to there.
    rows = csv.reader(lines(), strict=True)
    while True:
        first = last + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:
            skipped["malformed"] += 1
            continue
        if header is None:
            header = row
        elif len(row) == len(header):
            yield f"{name}:{first}", dict(zip(header, row, strict=True))
        elif row:
            skipped["malformed"] += 1


def _lines(path, skipped):
    with open(path, "rb") as file:
        for number in itertools.count(1):
            line = file.readline(MAX_LINE_BYTES)
            if not line:
                return
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                skipped["too long"] += 1
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE_BYTES)
            else:
                yield number, line


def _line(data):
    return decode(data).replace("\0", " ")


# Docstrings.


def _docstrings(skipped):
    root = sysconfig.get_path("stdlib")
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(each for each in subfolders if each.isidentifier() and each not in _NOT_LIBRARY)
        for each in sorted(each for each in names if each.endswith(".py")):
            path = os.path.join(folder, each)
            try:
                with open(path, "rb") as file, warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # about escapes in strings
                    tree = ast.parse(file.read())
            except OSError:
                skipped["unreadable"] += 1
                continue
            except (SyntaxError, ValueError):
                skipped["malformed"] += 1
                continue
            module = os.path.relpath(path, root).removesuffix(".py").replace(os.sep, ".").removesuffix(".__init__")
            seen = set()  # A name may be defined in more than one branch.
            for name, node in [(module, tree), *_definitions(tree, module)]:
                text = ast.get_docstring(node) or ""
                if name not in seen and len(text.split()) >= _MIN_WORDS:
                    seen.add(name)
                    yield Document(name, module.partition(".")[0], name, _clean(text), None), False


def _definitions(node, name):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{name}.{child.name}", child
            yield from _definitions(child, f"{name}.{child.name}")
        elif isinstance(child, (ast.stmt, ast.excepthandler)):
            yield from _definitions(child, name)


# Strings.


def decode(data: bytes, final: bool = True) -> str:
    """Decodes bytes as UTF-8, or else as Latin-1; unless `final`, they may end within a character.

    Example: `decode("café".encode("latin-1"))    # "café"`
    """
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(data, final)
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _clean(text):
    """Replaces NULs and lone surrogates, which UTF-8 cannot encode, by spaces."""
    return re.sub("[\0\ud800-\udfff]", " ", text)


def _text(name):
    """Returns a file name without the surrogates that represent non-UTF-8 bytes."""
    return decode(name.encode("utf-8", "surrogateescape"))


def _title(text):
    # Split only a prefix, because a document may be a single line of a megabyte.
    line = text.lstrip()[: 10 * _TITLE_CHARACTERS].partition("\n")[0]
    return " ".join(line.split())[:_TITLE_CHARACTERS] or None
