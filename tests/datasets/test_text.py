"""Documents: the split, all kinds of sources, postings, and unusable files."""

import bz2
import doctest
import email
import email.header
import gzip
import hashlib
import io
import itertools
import json
import lzma
import os
import pickle
import tarfile
import tracemalloc
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from keras_ae.datasets import Document, Documents, text

DATA = Path(os.environ.get("KERAS_AE_DATA") or Path(__file__).parents[3] / "shared" / "data")
NEWSGROUPS = DATA / "text" / "20_newsgroups.tar.xz"

POSTING = b"""\
Path: cantaloupe!crabapple
Newsgroups: sci.space,sci.astro
From: someone@example.org (Some One)
Subject: Re: Gravity
\twaves
Date: Sun, 28 Mar 1993 20:18:04 GMT

In article <1@x> other@example.org writes:
> They exist.

They do.
--
Some One
"""
BODY = "In article <1@x> other@example.org writes:\n> They exist.\n\nThey do.\n--\nSome One\n"
FILES = {
    "news/sci.space/1": POSTING,
    "news/sci.space/2": b"Ariane 5\n\nis late.\n",
    "news/rec.autos/3": "Caf\xe9 racer".encode("latin-1"),
    "news/readme": b"\n  A few   files\n",
}


def write_folder(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root / next(iter(files)).split("/")[0]


def tar_bytes(members):
    """A tar of (name or TarInfo, bytes)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for info, data in members:
            info = info if isinstance(info, tarfile.TarInfo) else tarfile.TarInfo(info)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def write_tar(path, members):
    path.write_bytes(tar_bytes(members))
    return path


def write_lines(path, *lines):
    lines = [line if isinstance(line, bytes) else line.encode() for line in lines]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def read(source, **arguments):
    """The documents, and the skipped ones by reason."""
    corpus = Documents(source, **arguments)
    return list(corpus), dict(corpus.skipped)


def file_text(tmp_path, data):
    """The document read from a file with these bytes."""
    (tmp_path / "corpus").mkdir(exist_ok=True)
    (tmp_path / "corpus" / "file").write_bytes(data)
    [document], _ = read(tmp_path / "corpus")
    return document


def peak_bytes(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_docstring_examples_run():
    result = doctest.testmod(text)
    assert result.attempted >= 5 and result.failed == 0


# The split.


def test_a_query_is_decided_by_the_first_eight_digits_of_the_hash():
    ids = [f"20_newsgroups/sci.space/{i}" for i in range(4000)]
    queries = [text.is_query(document_id) for document_id in ids]
    # A digest's first 8 hex digits are its first 4 bytes, big-endian.
    expected = [int.from_bytes(hashlib.sha1(each.encode()).digest()[:4], "big") % 5 == 0 for each in ids]
    assert queries == expected
    assert abs(np.mean(queries) - 0.2) < 4 * np.sqrt(0.2 * 0.8 / len(ids))


# Sources.


def test_folder_documents(tmp_path):
    documents, skipped = read(write_folder(tmp_path, FILES))
    assert skipped == {}
    assert documents == [
        Document("news/readme", None, "A few files", "\n  A few   files\n", None),
        Document("news/rec.autos/3", "rec.autos", "Café racer", "Café racer", None),
        Document(
            "news/sci.space/1",
            "sci.space",
            "Re: Gravity waves",
            f"Re: Gravity waves\n{BODY}",
            datetime(1993, 3, 28, 20, 18, 4, tzinfo=UTC),
        ),
        Document("news/sci.space/2", "sci.space", "Ariane 5", "Ariane 5\n\nis late.\n", None),
    ]


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_tar_documents_are_those_of_the_folder(tmp_path, compress):
    folder = write_folder(tmp_path, FILES)
    path = tmp_path / "archive"  # The content decides, not the name.
    path.write_bytes(compress(tar_bytes(FILES.items())))
    documents, skipped = read(path)
    assert skipped == {} and [document.id for document in documents] == list(FILES)
    of_folder = {document.id: document for document in Documents(folder)}
    # In an archive, the folder `news` looks like a label.
    of_folder["news/readme"] = of_folder["news/readme"]._replace(label="news")
    assert {document.id: document for document in documents} == of_folder


def test_tar_of_several_compressed_streams_is_read_whole(tmp_path):
    content = tar_bytes(FILES.items())
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        (tmp_path / "a.tar").write_bytes(compress(content[:1500]) + compress(content[1500:]))
        assert len(read(tmp_path / "a.tar")[0]) == 4


def test_ids_do_not_depend_on_how_the_path_is_written(tmp_path, monkeypatch):
    folder = write_folder(tmp_path, FILES)
    expected = [document.id for document in Documents(folder)]
    monkeypatch.chdir(folder)
    for source in (f"{folder}/", ".", "../news", os.fsencode(folder)):
        assert [document.id for document in Documents(source)] == expected
    archive = write_tar(tmp_path / "a.tar", [("./news//sci.space/./1", b"text")])
    assert [document.id for document in Documents(archive)] == ["news/sci.space/1"]


def test_names_of_other_bytes_than_utf8_become_latin1(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / "news").mkdir()
    (tmp_path / "news" / name).write_bytes(b"text")
    archive = write_tar(tmp_path / "a.tar", [(f"news/{name}", b"text")])
    for source in (tmp_path / "news", archive):
        [document], _ = read(source)
        assert document.id == "news/café"
        assert isinstance(text.is_query(document.id), bool)


def test_jsonl_documents(tmp_path):
    path = write_lines(
        tmp_path / "a.jsonl",
        json.dumps({"body": "First line\nsecond", "label": 3}),
        "",
        json.dumps({"body": "b", "id": "x", "label": "y", "title": " A  title ", "date": "1993-04-06T10:00:00+02:00"}),
        json.dumps({"body": "c", "id": None, "label": ["y"], "title": "", "date": "Tue, 6 Apr 1993 08:00:00 GMT"}),
        b'{"body": "caf\xe9", "date": "soon"}',
        '{"body": "caf\xe9", "date": "1993-04-06"}',
    )
    date = datetime(1993, 4, 6, 8, tzinfo=UTC)
    documents, skipped = read(path, text_column="body")
    assert skipped == {}
    assert documents == [
        Document("a.jsonl:1", "3", "First line", "First line\nsecond", None),
        Document("x", "y", "A title", "b", date),
        Document("a.jsonl:4", None, "c", "c", date),
        Document("a.jsonl:5", None, "café", "café", None),
        Document("a.jsonl:6", None, "café", "café", date.replace(hour=0)),
    ]
    assert all(document.date is None or document.date.tzinfo is UTC for document in documents)


def test_csv_documents(tmp_path):
    path = write_lines(
        tmp_path / "a.CSV",
        b"\xef\xbb\xbftext,label,id",  # as spreadsheets write it
        '"one, two',
        '""three""",y,',
        "",
        b"caf\xe9,,7",
        f'"{"long " * 40_000}",y,8',  # over the csv module's own limit
    )
    documents, skipped = read(path)
    assert skipped == {}
    assert documents[:2] == [
        Document("a.CSV:2", "y", "one, two", 'one, two\n"three"', None),
        Document("7", None, "café", "café", None),
    ]
    assert len(documents) == 3 and len(documents[2].text) == 200_000 and len(documents[2].title) == 100


def test_a_posting_within_jsonl_stays_as_it_is(tmp_path):
    [document], _ = read(write_lines(tmp_path / "a.jsonl", json.dumps({"text": POSTING.decode()})))
    assert document.text == POSTING.decode() and document.date is None


def test_docstrings_of_the_standard_library():
    corpus = Documents("docstrings")
    documents = list(corpus)
    by_id = {document.id: document for document in documents}
    assert 4000 < len(by_id) == len(documents) < 10_000 and not corpus.skipped
    dedent = by_id["textwrap.dedent"]
    assert dedent.label == "textwrap" and dedent.title == "textwrap.dedent" and dedent.date is None
    assert dedent.text.startswith("Remove any common leading whitespace")
    assert by_id["email.message.Message.get_payload"].label == "email" and "json" in by_id
    labels = {document.label for document in documents}
    assert len(labels) > 100 and not labels & {"test", "idlelib", "lib2to3", "site-packages"}
    assert not any({"test", "tests"} & set(document.id.split(".")[:-1]) for document in documents)
    assert min(len(document.text.split()) for document in documents) == 5
    assert [document.id for document in itertools.islice(corpus, 100)] == [each.id for each in documents[:100]]


# Iterating.


def test_each_iteration_counts_for_itself(tmp_path):
    corpus = Documents(write_folder(tmp_path, FILES | {"news/a": b"", "news/b": b"\0"}))
    assert corpus.skipped == Counter()
    first, second = iter(corpus), list(corpus)
    assert corpus.skipped == {"empty": 1, "binary": 1}
    assert list(first) == second == list(corpus)
    assert corpus.skipped == {"empty": 1, "binary": 1}
    assert pickle.loads(pickle.dumps(second)) == second


def test_documents_come_before_the_rest_is_read(tmp_path):
    folder = write_folder(tmp_path, {f"news/{label}/{i}": b"text" for label in "ab" for i in range(3)})
    corpus = Documents(folder)
    documents = iter(corpus)
    assert next(documents).id == "news/a/0"
    (folder / "a" / "1").unlink()
    for i in range(3):
        (folder / "b" / str(i)).unlink()
    (folder / "b").rmdir()
    assert [document.id for document in documents] == ["news/a/2"]
    assert corpus.skipped == {"unreadable": 2}  # the file a/1, the folder b


def test_memory_does_not_grow_with_an_archive(tmp_path):
    path = write_tar(tmp_path / "a.tar", [(f"a/{i}", b"text") for i in range(4000)])
    corpus = Documents(path)
    # The buffer for a document takes 1 MB; headers kept for all members would take another 5.
    assert peak_bytes(lambda: [None for _ in corpus]) < 2**21


# Postings.


def test_headers_other_than_the_subject_are_dropped(tmp_path):
    document = file_text(tmp_path, POSTING)
    for word in ("Newsgroups", "sci.astro", "Path", "example.org (Some", "Date", "Subject"):
        assert word not in document.text
    assert file_text(tmp_path, POSTING.replace(b"\n", b"\r\n")).text == f"Re: Gravity waves\n{BODY}".replace(
        "\n", "\r\n"
    ).replace("\r\n", "\n", 1)
    assert file_text(tmp_path, b"From someone Sun Mar 28 1993\n" + POSTING) == document
    assert file_text(tmp_path, POSTING.replace(b"From", b"FROM").replace(b"Subject", b"subject")) == document


@pytest.mark.parametrize(
    "data",
    [
        b"Note: foo\n\nbar",
        b"Note: foo\nTo do: Subject: bar\n\nbaz",
        b"Subject: foo",
        b"Subject: foo\nbar\n\nbaz",
        b"\nSubject: foo\n\nbar",
        b"Subject matter: foo\n\nbar",
        b"Note: foo\n\nFrom: bar\n\nbaz",
        b"Note: foo\r\n\r\nFrom: bar\r\n\r\nbaz",
        b"Said: foo\n From: bar\n\nbaz",
    ],
)
def test_a_text_that_only_resembles_a_posting_is_none(tmp_path, data):
    assert file_text(tmp_path, data).text == data.decode()


def test_postings_lacking_a_part(tmp_path):
    assert file_text(tmp_path, b"From: a\n\nHello\n\nworld")[2:] == ("Hello", "Hello\n\nworld", None)
    assert file_text(tmp_path, b"Subject: Hello\n\n")[2:] == ("Hello", "Hello\n", None)
    (tmp_path / "corpus" / "file").write_bytes(b"From: a\n\n \n")
    (tmp_path / "corpus" / "other").write_bytes(b"text")
    documents, skipped = read(tmp_path / "corpus")
    assert len(documents) == 1 and skipped == {"empty": 1}


@pytest.mark.parametrize(
    "date, expected",
    [
        ("Thu, 22 Apr 93 23:30:00 -0500", datetime(1993, 4, 23, 4, 30, tzinfo=UTC)),
        ("22 Apr 1993 18:00:00 EST", datetime(1993, 4, 22, 23, tzinfo=UTC)),
        ("22 Apr 1993 18:00:00", datetime(1993, 4, 22, 18, tzinfo=UTC)),
        ("22 Apr 1993 18:00:00 MEZ", datetime(1993, 4, 22, 18, tzinfo=UTC)),
        ("31 Apr 1993 18:00:00 GMT", None),
        ("yesterday", None),
        ("", None),
        ("0001-01-01T00:00:00+23:59", None),
        (f"{'9' * 5000} Apr 1993 18:00:00 GMT", None),
    ],
)
def test_dates_are_in_utc_or_none(tmp_path, date, expected):
    document = file_text(tmp_path, f"Subject: s\nDate: {date}\n\nbody".encode())
    assert document.date == expected and document.text == "s\nbody"
    assert expected is None or document.date.tzinfo is UTC


def test_encoded_mail_is_decoded(tmp_path):
    mail = (
        b"From: a\nSubject: =?utf-8?q?Caf=C3=A9?=\nContent-Type: multipart/alternative; boundary=B\n\n"
        b"--B\nContent-Type: text/html\n\n<p>no</p>\n"
        b"--B\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\nna=C3=AFve=00\n--B--\n"
    )
    document = file_text(tmp_path, mail)
    assert document.title == "Café" and document.text.split("\n")[:2] == ["Café", "naïve "]
    assert file_text(tmp_path, b"Subject: s\nContent-Transfer-Encoding: BASE64\n\nSGVsbG8=\n").text == "s\nHello"
    for broken in (b"=?utf-8?b?A?=", b"=?nonsense?q?x?=", b"=?utf-8?q?=FF?="):
        assert file_text(tmp_path, b"Subject: " + broken + b"\n\nbody").text.endswith("\nbody")


@pytest.mark.parametrize("subject", ["=?ä?q?a?=", "=?utf-999?q?a?=", "=?utf-8?b?A?="])
def test_a_subject_of_an_unknown_encoding_stays_and_is_counted(tmp_path, subject):
    documents, skipped = read(
        write_folder(tmp_path, {"news/1": f"Subject: {subject}\n\nbody".encode(), "news/2": b"Subject: s\n\nbody"})
    )
    assert [each.title for each in documents] == [subject, "s"] and skipped == {"undecoded subject": 1}
    assert documents[0].text == f"{subject}\nbody"


def test_long_headers_are_kept_from_parsers_of_quadratic_time(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("the parser was given a long header")

    decode = email.header.decode_header
    monkeypatch.setattr(email.header, "decode_header", lambda value: decode(value) if len(value) < 1000 else refuse())
    monkeypatch.setattr(email, "message_from_string", refuse)
    mixed = b"Subject: s\nContent-Type: multipart/mixed; boundary=B"
    for head in (
        b"Subject: " + b"=?a?q?" * 10**5,
        mixed + b";" * 10**6,
        mixed + b"\n\n--B\nContent-Type: multipart/mixed; x=" + b"\n ;" * 10**5,
    ):
        assert file_text(tmp_path, head + b"\n\nbody").text.endswith("\nbody")


def nested(depth, body):
    parts = "".join(f'Content-Type: multipart/mixed; boundary="{i}"\n\n--{i}\n' for i in range(depth))
    return f"Subject: s\n{parts}Content-Type: text/plain\n\n{body}\n--0--\n".encode()


@pytest.mark.parametrize("depth, lines", [(3000, 1), (100, 2000)])
def test_parts_that_would_take_long_to_read_stay_as_they_are(tmp_path, monkeypatch, depth, lines):
    monkeypatch.setattr(email, "message_from_string", lambda _: pytest.fail("the parser was given many parts"))
    documents, skipped = read(write_folder(tmp_path, {"news/1": nested(depth, "\n" * lines)}))
    assert documents[0].title == "s" and documents[0].text.startswith("s\n--0\n")
    assert skipped == {"undecoded body": 1}


def test_parts_within_parts_are_read(tmp_path):
    documents, skipped = read(write_folder(tmp_path, {"news/1": nested(20, "inside")}))
    assert documents[0].text.strip() == "s\ninside" and not skipped


# Unusable files.


def test_empty_and_binary_files_are_counted(tmp_path, rng):
    noise = rng.integers(1, 256, 4096).astype(np.uint8).tobytes()
    files = {
        "news/a/empty": b"",
        "news/a/blank": b" \r\n\t\n",
        "news/a/nul": b"text\0text",
        "news/a/noise": noise,
        "news/a/utf-16": "text".encode("utf-16"),
        "news/a/escapes": b"\x1b[1mbold\x1b[0m\f\b" + b"text " * 3,
        "news/a/.hidden": b"text",
        "news/.git/config": b"text",
    }
    folder = write_folder(tmp_path, files)
    for source in (folder, write_tar(tmp_path / "a.tar", files.items())):
        documents, skipped = read(source)
        assert [document.id for document in documents] == ["news/a/escapes"]
        assert skipped == {"empty": 2, "binary": 3}


def test_nul_characters_of_lines_become_spaces(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", b'{"text": "a\0b\\u0000c\\ud800", "id": "\\udfffx"}')
    assert read(path)[0][0][:1] + read(path)[0][0][3:] == (" x", "a b c ", None)
    [document], _ = read(write_lines(tmp_path / "a.csv", b"text", b"a\0b"))
    assert document.text == "a b"


@pytest.mark.parametrize("kind", ["folder", "tar", "jsonl", "csv"])
def test_fifty_megabytes_in_one_document(tmp_path, kind):
    content = b"word " * 10**7
    path = tmp_path / f"a.{kind}"
    if kind == "folder":
        path = write_folder(tmp_path, {"news/big": content, "news/small": b"text"})
    elif kind == "tar":
        path.write_bytes(gzip.compress(tar_bytes([("news/big", content), ("news/small", b"text")]), 1))
    elif kind == "jsonl":
        write_lines(path, b'{"text": "' + content + b'"}', '{"text": "text"}')
    else:
        write_lines(path, "text", content, "text")
    del content
    found = []
    peak = peak_bytes(lambda: found.append(read(path)))
    [(documents, skipped)] = found
    assert [len(document.text) for document in documents] == [text.MAX_BYTES, 4] and skipped == {"truncated": 1}
    assert peak < (2**24 if kind in ("folder", "tar") else 2**29)


def test_a_cut_within_a_character_does_not_change_the_encoding(tmp_path):
    document = file_text(tmp_path, b"x" + "é".encode() * text.MAX_BYTES)
    assert document.text == "x" + "é" * ((text.MAX_BYTES - 1) // 2)


def test_lines_beyond_bounds_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "MAX_LINE_BYTES", 200)
    path = write_lines(tmp_path / "a.jsonl", '{"text": "a"}', f'{{"text": "{"b" * 1000}"}}', '{"text": "c"}')
    documents, skipped = read(path)
    assert [document.id for document in documents] == ["a.jsonl:1", "a.jsonl:3"] and skipped == {"too long": 1}


def test_malformed_json_lines_are_counted(tmp_path):
    lines = ['{"text": "a"}', "{", "[1]", "3", "[" * 100_000, '{"text": 3}', '{"text": null}', "{}", '{"text": " "}']
    documents, skipped = read(write_lines(tmp_path / "a.jsonl", *lines))
    assert [document.text for document in documents] == ["a"]
    assert skipped == {"malformed": 4, "text not a string": 3, "empty": 1}


def test_malformed_csv_records_are_counted(tmp_path):
    lines = ["id,text", "1,a", "2", "3,b,c", '4,"stray', '5,"b"', "6,c", '7,"open']
    documents, skipped = read(write_lines(tmp_path / "a.csv", *lines))
    assert [document.id for document in documents] == ["1", "6"]
    # Records 2, 3 and 7, and 4 up to the next quote, which takes 5 with it.
    assert skipped == {"malformed": 4}


@pytest.mark.parametrize("name, lines", [("a.jsonl", ['{"body": "a", "id": 1}']), ("a.csv", ["body,id", "a,1"])])
def test_a_missing_text_column_raises_with_the_columns_there_are(tmp_path, name, lines):
    with pytest.raises(ValueError, match=r"`text_column`.*\['body', 'id'\], received 'text'"):
        Documents(write_lines(tmp_path / name, *lines))


def special(name, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info, b""


def test_hostile_members_are_skipped_and_counted(tmp_path):
    members = [
        ("/etc/motd", b"text"),
        ("../escape", b"text"),
        ("news/a/../../../escape", b"text"),
        ("news/a/..fine", b"hidden"),
        special("news/a/link", tarfile.SYMTYPE),
        special("news/a/hard", tarfile.LNKTYPE),
        special("news/a/null", tarfile.CHRTYPE),
        special("news/a/pipe", tarfile.FIFOTYPE),
        special("news/b", tarfile.DIRTYPE),
        ("news/a/fine..", b"text"),
    ]
    before = sorted(tmp_path.iterdir())
    path = write_tar(tmp_path / "a.tar", members)
    documents, skipped = read(path)
    assert [document.id for document in documents] == ["news/a/fine.."]
    assert skipped == {"unsafe path": 3, "not a file": 4}
    assert sorted(tmp_path.iterdir()) == [*before, path]


def test_a_folders_links_and_pipes(tmp_path):
    folder = write_folder(tmp_path, {"news/a/1": b"text"})
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "a" / "self").symlink_to("self")
    (folder / "a" / "broken").symlink_to("missing")
    (folder / "a" / "to_1").symlink_to("1")
    os.mkfifo(folder / "a" / "pipe")
    documents, skipped = read(folder)
    assert [document.id for document in documents] == ["news/a/1", "news/a/to_1"]
    assert skipped == {"unreadable": 2, "not a file": 1}


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress])
def test_an_archive_cut_anywhere_yields_what_is_before_and_raises(tmp_path, compress):
    members = [(f"news/{i}", bytes([97 + i]) * 700) for i in range(3)]
    content = tar_bytes(members)
    whole = [data.decode() for _, data in members]
    path = tmp_path / "a.tar"
    compressed = compress(content)
    # The first block after the third member completes an archive.
    end = 3 * 1536 + 1 if compress is bytes else len(compressed)
    counts = set()
    for cut in range(1, end, 37 if compress is bytes else 1):
        path.write_bytes(compressed[:cut])
        documents = []
        try:
            for document in Documents(path):
                documents.append(document.text)
        except ValueError as error:
            assert "a.tar" in str(error) and "damaged" in str(error)
        else:
            assert len(documents) == 3 and compress is not bytes
        assert documents == whole[: len(documents)]
        counts.add(len(documents))
    assert counts == {0, 1, 2, 3} if compress is bytes else counts
    path.write_bytes(content[: 3 * 1536])  # between two members, or after the last
    documents = iter(Documents(path))
    assert [next(documents).text for _ in range(3)] == whole
    with pytest.raises(ValueError, match=r"truncated: after 3 documents"):
        next(documents)


def test_a_damaged_header_does_not_end_an_archive_in_silence(tmp_path):
    content = bytearray(tar_bytes([(f"news/{i}", b"text") for i in range(3)]))
    content[1024 + 3] ^= 1  # in the second member's name
    (tmp_path / "a.tar").write_bytes(content)
    documents = iter(Documents(tmp_path / "a.tar"))
    assert next(documents).id == "news/0"
    with pytest.raises(ValueError, match=r"a\.tar' is damaged.*after 1 documents, bad checksum"):
        next(documents)


@pytest.mark.parametrize("size, kind", [(-1024, tarfile.REGTYPE), (-512, tarfile.XHDTYPE), (2**28, tarfile.XHDTYPE)])
def test_sizes_meant_to_hang_or_to_fill_the_memory(tmp_path, size, kind):
    info = tarfile.TarInfo("news/bad")
    info.size, info.type = size, kind
    header = info.tobuf(tarfile.GNU_FORMAT)
    path = write_tar(tmp_path / "a.tar", [("news/good", b"text")])
    path.write_bytes(path.read_bytes()[:1024] + header)
    os.truncate(path, 2**29)
    documents = iter(Documents(path))
    next(documents)

    def rest():
        with pytest.raises(ValueError, match=f"a header of {size} bytes"):
            next(documents)

    assert peak_bytes(rest) < 2**22


def test_an_extended_header_cannot_make_a_size_negative(tmp_path):
    info = tarfile.TarInfo("news/bad")
    info.pax_headers = {"size": "-1024"}
    path = write_tar(tmp_path / "a.tar", [("news/good", b"text"), (info, b"text")])
    documents = iter(Documents(path))
    next(documents)
    with pytest.raises(ValueError, match=r"a member of -1024 bytes"):
        next(documents)


def test_sources_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a folder, a tar archive, .*no/such' does not exist"):
        Documents(tmp_path / "no/such")
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ValueError, match=r"`source` must be a folder, a tar archive, .*a\.txt' is none"):
        Documents(tmp_path / "a.txt")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"pipe' is neither a folder nor a regular file"):
        Documents(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.tar").write_bytes(b"")
    for name in ("folder", "empty.tar", "empty.jsonl", "empty.csv"):
        if name.startswith("empty."):
            (tmp_path / name).touch()
        with pytest.raises(ValueError, match=name):
            Documents(tmp_path / name)
    with pytest.raises(ValueError, match=r"must contain documents; .*a\.tar' has none .*\{\}"):
        Documents(write_tar(tmp_path / "a.tar", []))
    (tmp_path / "folder" / "image").write_bytes(b"\0")
    with pytest.raises(ValueError, match=r"folder' has none that can be used\. Skipped: \{'binary': 1\}"):
        Documents(tmp_path / "folder")


# Real data.


@pytest.mark.skipif(not NEWSGROUPS.exists(), reason="KERAS_AE_DATA has no text/20_newsgroups.tar.xz")
def test_newsgroups():
    corpus = Documents(NEWSGROUPS)
    n, labels, undated = Counter(), set(), 0
    for document in corpus:
        n[text.is_query(document.id)] += 1
        labels.add(document.label)
        undated += document.date is None
        assert document.title and not document.text.startswith(("Path:", "Newsgroups:", "Xref:", "From:"))
    assert n == {True: 3637, False: 14300} and len(labels) == 20 and not corpus.skipped
    assert undated == 1
