"""Documents of folders, tar archives, JSONL and CSV files as a stream; and those that Python itself embeds."""

import ast
import codecs
import contextlib
import csv
import email
import email.errors
import email.header
import email.parser
import email.utils
import hashlib
import itertools
import json
import os
import posixpath
import re
import stat
import sysconfig
import tarfile
import warnings
from collections import Counter, namedtuple
from datetime import UTC, datetime

MAX_BYTES = 2**20
"""What is read of a document: bytes of a file, characters of a field of a JSONL or CSV file."""

MAX_LINE_BYTES = 2**26
_TITLE_CHARACTERS = 100
_MIN_WORDS = 5
_SOURCES = "a folder, a tar archive, a .jsonl or .csv file, or 'docstrings'"
# Tests, and applications within the library; the names of installed packages' folders have a hyphen.
_NOT_LIBRARY = {"__pycache__", "ensurepip", "idlelib", "lib2to3", "test", "tests", "turtledemo"}

# The printable ASCII characters but the colon make a header's name (RFC 5322, 2.2); an mbox puts a line above.
_POSTING = re.compile(
    r"(?:From [^\n]*+\n)?"
    r"(?=(?:[^\r\n][^\n]*+\n)*?(?i:from|subject):)"
    r"(?:[!-9;-~]++:[^\n]*+\n(?:[ \t]++[^\n]*+\n)*+)++"
    r"\r?\n"
)
# email takes time quadratic in the length of these; 1,000 is what a line may have (RFC 5322, 2.1.1).
_LONG_SUBJECT = 1000
_LONG_TYPE = re.compile(r"^content-type:(?:[^\n]|\n[ \t]){1000}", re.IGNORECASE | re.MULTILINE)
_CONTROL = re.compile("[\x00-\x07\x0b\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
_EXTENSIONS = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}


class Document(namedtuple("Document", "id label title text date")):
    """A document: str `id` and `text`; str `label` and `title` or None; `date`, a datetime in UTC, or None."""

    __slots__ = ()


class Documents:
    """The documents of a source, read anew at each iteration, in the same order and in bounded memory.

    Only a folder's names are held, one folder at a time. Documents are those of

    - a folder, or a tar archive of any compression that `tarfile` knows: its files, `label/document`. The id is
      the path from the folder's own name on (in an archive the member's path), the label the name of the
      folder that holds the document: `20_newsgroups/sci.space/59497` has the label `sci.space` either way.
      Files directly in the source folder have none. Folders are read in sorted order, files before
      sub-folders; links to folders are not followed. Archives are read in their order and never extracted.
    - a `.jsonl` file of one object a line, or a `.csv` file with a header line: the strings in `text_column`, and
      in the columns `id`, `label`, `title` and `date` (ISO 8601 or as in e-mails; UTC if it names no zone) where
      they exist and hold strings or numbers. The default id is `"<file name>:<line>"`.
    - `"docstrings"`: the docstrings, of 5 words or more, of the modules, classes and functions of the Python that
      runs, from its source files. Id and title are the qualified name, the label is the top-level module.

    Bytes are UTF-8, or else Latin-1, as is 20 Newsgroups; CSV and JSONL files are decoded line by line.

    Postings and e-mails, files that begin with a block of header lines with `From:` or `Subject:` in it and a blank
    line after it, have the subject as title, subject + newline + body as text, and the `Date:` header as
    date (UTC where its zone is unknown). Other headers are dropped: they name the newsgroup. Quoted text and
    signatures are kept. Of several parts the first in plain text is the body. Without a title of its own, a document
    has the first 100 characters of its first line that is not blank.

    What cannot be used is skipped and counted, `skipped` is a `collections.Counter` of the latest iteration,
    finished or running:

    - `"empty"`: nothing but white space.
    - `"truncated"`: longer than `MAX_BYTES`. Kept, but cut there.
    - `"binary"`: a file with a NUL byte, or more than a tenth of it control characters. In JSONL and CSV files NUL
      characters become spaces.
    - `"unreadable"`: a file or folder that the system does not open.
    - `"not a file"`: pipes and devices; in archives links and sparse files, too.
    - `"unsafe path"`: absolute, or with `..`; in archives.
    - `"malformed"`: a line that is no JSON object, a CSV record of other length than the header or quoted wrongly, a
      module that does not parse.
    - `"text not a string"`: a JSON object with another value, or none, in `text_column`.
    - `"too long"`: a line of more than 64 MB.

    Hidden files and folders, whose names begin with a dot, are skipped and not counted.

    Args:
        source: Path, or `"docstrings"`; for a folder of that name pass `"./docstrings"`.
        text_column: Key of the text in JSONL and CSV files.

    Raises:
        FileNotFoundError: If `source` does not exist.
        ValueError: If `source` is of another kind, has no documents or lacks `text_column`. While iterating, after
            the documents before that point, if an archive is damaged or cut short: the corpus would not be the one
            that was meant.

    Example:

    >>> from keras_ae.datasets import Documents
    >>> document = next(iter(Documents("docstrings")))
    >>> document.id, document.text.split("\\n")[0]
    ('__future__', 'Record of phased-in incompatible language changes.')
    """

    def __init__(self, source, text_column="text"):
        self.source = os.fsdecode(source)
        self.text_column = text_column
        # What is wrong with a source is wrong before its first document, mostly.
        with contextlib.closing(iter(self)) as documents:
            next(documents)
        self.skipped = Counter()

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
                f"`source` must hold documents, {self.source!r} has none that can be used; skipped: {dict(skipped)}."
            )

    def _read(self, skipped):
        suffix = os.path.splitext(self.source)[1].lower()
        if self.source == "docstrings":
            return _docstrings(skipped)
        if os.path.isdir(self.source):
            return _files(_folder(self.source, skipped), skipped)
        if not os.path.exists(self.source):
            raise FileNotFoundError(f"`source` must be {_SOURCES}; {self.source!r} does not exist.")
        if not os.path.isfile(self.source):  # Opening a pipe would block for ever.
            raise ValueError(f"`source` must be {_SOURCES}; {self.source!r} is neither a folder nor a file.")
        if suffix == ".jsonl":
            return _records(_jsonl(self.source, skipped), self.source, self.text_column, skipped)
        if suffix == ".csv":
            return _records(_csv(self.source, skipped), self.source, self.text_column, skipped)
        return _files(_tar(self.source, skipped), skipped)


def is_query(document_id):
    """Tells whether a document is a query, about one in five, or belongs to the database.

        int(sha1(document_id)[:8 hex digits], 16) % 5 == 0

    The split depends on nothing but the id, so that documents added later leave it as it was.

    Args:
        document_id: str; hashed as UTF-8.

    Returns:
        bool.

    Example:

    >>> from keras_ae.datasets.text import is_query
    >>> is_query("20_newsgroups/sci.space/59497"), is_query("20_newsgroups/sci.space/59848")
    (False, True)
    """
    digest = hashlib.sha1(document_id.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    return int(digest[:8], 16) % 5 == 0


# Files: (path, label, up to MAX_BYTES + 1 bytes) -> Document, whether it was cut.


def _files(files, skipped):
    for path, label, data in files:
        cut = len(data) > MAX_BYTES
        text = decode(data[:MAX_BYTES], final=not cut)
        if "\0" in text or len(_CONTROL.findall(text)) > len(text) / 10:
            skipped["binary"] += 1
            continue
        posting = _POSTING.match(text)
        title, text, date = _posting(text, posting.end()) if posting else (None, text, None)
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
                if not stat.S_ISREG(os.stat(path).st_mode):
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
            except Exception as error:  # tarfile and the decompressors raise nearly any type on broken files.
                raise ValueError(
                    f"{path!r} is damaged or cut short: after {n} documents, {error or type(error).__name__}."
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
        # Not as a stream ("r|*"): that mode reads only the first of several compressed streams.
        return tarfile.open(fileobj=file, tarinfo=_Member, encoding="utf-8", errors="surrogateescape")
    except Exception as error:  # As in `_tar`.
        raise ValueError(f"`source` must be {_SOURCES}; {path!r} is none, or is damaged.") from error


def _next_member(archive):
    archive.members.clear()  # Else it keeps all headers.
    member = archive.next()
    if member is None or not member.isreg() or member.issparse():
        return member, None
    return member, archive.extractfile(member).read(MAX_BYTES + 1)


class _Member(tarfile.TarInfo):
    """A header that neither ends an archive in silence where it is damaged nor asks for memory without bounds."""

    @classmethod
    def fromtarfile(cls, archive):
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error

    def _proc_member(self, archive):  # The hook that tarfile means for subclasses.
        if self.size < 0 or (self.type in _EXTENSIONS and self.size > MAX_BYTES):
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        member = super()._proc_member(archive)
        if member.size < 0:  # An extended header may replace the size.
            raise tarfile.ReadError(f"a member of {member.size} bytes")
        return member


# Postings.


def _posting(text, start):
    """Returns subject, text and date of a posting whose body begins at `start`."""
    headers, body = email.parser.HeaderParser().parsestr(text[:start]), text[start:]
    if (headers.get_content_maintype() == "multipart" or _is_encoded(headers)) and not _LONG_TYPE.search(text):
        # Parts nested deeper than Python's stack stay as they are.
        with contextlib.suppress(RecursionError):
            body = _plain_part(email.message_from_string(text)) or body
    subject = headers["Subject"] or ""
    if len(subject) < _LONG_SUBJECT:
        with contextlib.suppress(ValueError, LookupError, email.errors.HeaderParseError):
            subject = str(email.header.make_header(email.header.decode_header(subject)))
    subject = " ".join(_clean(subject).split())
    return subject, f"{subject}\n{body}" if subject else body, _date(headers["Date"])


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


# Lines: (default id, {column: value}) -> Document, whether it was cut.


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


def of_record(record, default_id, text_column="text"):
    """The document of an object of a JSONL file, or of a record of a CSV file, as `Documents` makes it.

    Args:
        record: dict.
        default_id: str, where the record has no id.
        text_column: key of the text.

    Returns:
        a `Document`, and whether its text was cut; None if there is no string in `text_column`.
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


def json_object(line):
    """The object of a line of a JSONL file, bytes, as `Documents` reads it; None if it is no object."""
    try:
        record = json.loads(_line(line))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _csv(path, skipped):
    # The limit is of the whole process, hence only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    name, header, last = _text(os.path.basename(path)), None, 0

    def lines():
        nonlocal last
        for number, line in _lines(path, skipped):
            last = number
            yield _line(line)

    # Strict: a stray quote is noticed at the next one, and does not take the documents up to there into its field.
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
                    warnings.simplefilter("ignore")  # of escapes in strings
                    tree = ast.parse(file.read())
            except OSError:
                skipped["unreadable"] += 1
                continue
            except (SyntaxError, ValueError):
                skipped["malformed"] += 1
                continue
            module = os.path.relpath(path, root).removesuffix(".py").replace(os.sep, ".").removesuffix(".__init__")
            seen = set()  # A name may be defined in several branches.
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


def decode(data, final=True):
    """The text of UTF-8 or else Latin-1 bytes; unless `final`, they may end within a character."""
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(data, final)
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _clean(text):
    """Returns the text with spaces for NULs and for lone surrogates, which UTF-8 lacks."""
    return re.sub("[\0\ud800-\udfff]", " ", text)


def _text(name):
    """Returns a file name without the surrogates that stand for bytes other than UTF-8."""
    return decode(name.encode("utf-8", "surrogateescape"))


def _title(text):
    # Only so much is split: a document may be one line of a megabyte.
    line = text.lstrip()[: 10 * _TITLE_CHARACTERS].partition("\n")[0]
    return " ".join(line.split())[:_TITLE_CHARACTERS] or None
