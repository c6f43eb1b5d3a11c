"""Help pages become pairs of sentences, pairs become rows of tokens, and what is held out was not read before."""

import builtins
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from elastic_jax import cli, data
from elastic_jax.data import help_pages, pairs, subwords
from elastic_jax.data.help_pages import Block, Pair
from elastic_jax.problems import sequences

FRAME = '<body><p dir="auto">Menu</p><div id="DisplayArea">{}</div>\n<div id="SearchFrame"></div><p>Footer</p></body>'
ENGLISH = """<h1 id="hd_1" dir="auto">
<a name="x"></a>Checking&nbsp;<i>Spelling</i></h1>
<p id="par_1" class="paragraph">Choose <span class="emph">Tools</span> &amp; &lt;Spelling&gt;.</p>
<p dir="auto">A note\u00ad without   an\u200b id.</p>
<p id="par_2" class="code">Print "Hello"</p>"""
GERMAN = """<h1 id="hd_1" dir="auto">Rechtschreibung pru\u0308fen</h1>
<p id="par_1" class="paragraph">Wählen Sie <span class="emph">Extras</span> &amp; &lt;Rechtschreibung&gt;.</p>
<p dir="auto">Eine Notiz.</p>
<p id="par_2" class="code">Print "Hallo"</p>"""


# pages


def test_a_page_is_its_paragraphs_without_markup():
    """Between the frames, with entities read, invisible characters gone, composed letters, and no program code."""
    assert help_pages.blocks(FRAME.format(ENGLISH)) == [
        Block("h1", "hd_1", "Checking Spelling"),
        Block("p", "par_1", "Choose Tools & <Spelling>."),
        Block("p", None, "A note without an id."),
        Block("p", "par_2", ""),
    ]
    assert help_pages.blocks(FRAME.format(GERMAN))[0].text == "Rechtschreibung prüfen"
    assert help_pages.blocks("<p>no frames</p>") == []


def test_pages_of_one_layout_are_aligned_by_place():
    both = (help_pages.blocks(FRAME.format(page)) for page in (ENGLISH, GERMAN))
    assert help_pages.aligned(*both)[1:3] == [
        ("Choose Tools & <Spelling>.", "Wählen Sie Extras & <Rechtschreibung>."),
        ("A note without an id.", "Eine Notiz."),
    ]


def test_pages_in_another_order_are_aligned_by_single_ids():
    """What has no id, an id twice, or another tag is left out."""
    source = [Block("p", "a", "one"), Block("p", "b", "two"), Block("p", None, "x"), *[Block("p", "c", "y")] * 2]
    target = [Block("p", "b", "zwei"), Block("p", "a", "eins"), Block("p", "c", "z"), Block("p", None, "w")]
    assert help_pages.aligned(source, target) == [("one", "eins"), ("two", "zwei")]
    assert help_pages.aligned(source[:2], target[:2]) == [("one", "eins"), ("two", "zwei")]
    assert help_pages.aligned(source[:2], [Block("h1", "a", "eins")]) == []


@pytest.mark.parametrize(
    ("source", "target", "is_kept"),
    [
        ("Opens it.", "Öffnet es.", True),
        ("123 %", "123 Prozent", False),
        ("Sum", "1 + 2", False),
        ("=SUM(A1)", "=SUM(A1)", False),
        (" ".join(["word"] * 40), " ".join(["Wort"] * 40), True),
        (" ".join(["word"] * 41), " ".join(["Wort"] * 40), False),
        (" ".join(["word"] * 40), " ".join(["Wort"] * 41), False),
        ("abc", "abcdefghi", True),
        ("abc", "abcdefghij", False),
        ("abcdefghij", "abc", False),
    ],
)
def test_sentences_are_what_the_rules_say(source, target, is_kept):
    """Letters on both sides, 40 words, a ratio of lengths of 3, and sides that differ."""
    assert help_pages.is_sentence(Pair("page", source, target)) == is_kept


def test_each_sentence_is_kept_once_with_its_usual_translation():
    """On the first page that has it; of translations that are as usual the first."""
    raw = [
        Pair("a", "Open", "Auf"),
        Pair("b", "Open", "Öffnen"),
        Pair("c", "Open", "Öffnen"),
        Pair("c", "Close", "Zu"),
        Pair("d", "Close", "Schließen"),
    ]
    assert help_pages.cleaned(raw) == [Pair("a", "Open", "Öffnen"), Pair("c", "Close", "Zu")]


# fetching


def pages_of(content, number):
    """Help pages as the packages have them, with one sentence each."""
    for language, word in ((help_pages.ENGLISH, "Page"), (help_pages.GERMAN, "Seite")):
        for page in range(number):
            path = content / language / f"text/{page:02}.html"
            path.parent.mkdir(parents=True, exist_ok=True)
            name = "".join(chr(ord("a") + int(digit)) for digit in f"{page:02}")
            path.write_text(FRAME.format(f'<p id="x">{word} {name}</p>'), encoding="utf-8")


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """Stand-ins for the clients: packages are empty files, and unpacking one brings the pages of one language."""
    folder = "usr/share/libreoffice/help"
    pages_of(tmp_path / "pages", 40)
    (tmp_path / "bin").mkdir()
    for name, script in (
        ("apt-get", f'echo "$@" >> {tmp_path}/calls; shift 2; for name; do touch "$name.deb"; done'),
        (
            "dpkg-deb",
            "case $2 in *de.deb) language=de;; *) language=en-US;; esac\n"
            f'mkdir -p "$3/{folder}"; cp -r {tmp_path}/pages/$language "$3/{folder}"',
        ),
    ):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin:/usr/bin")
    monkeypatch.setattr(help_pages, "MIN_PAGES", 40)
    monkeypatch.setattr(help_pages, "MIN_PAIRS", 40)
    return tmp_path


def test_pairs_come_out_of_two_packages_and_are_not_fetched_again(apt):
    """One line a pair, in the order of the pages; the next call asks for nothing, unless the file has changed."""
    folder = data.fetch("help_en_de", apt / "root", progress=False)
    assert data.fetched("help_en_de", apt / "root") == folder
    lines = (folder / "pairs.tsv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 40
    assert lines[1] == "text/01\tPage ab\tSeite ab"
    data.fetch("help_en_de", apt / "root", progress=False)
    calls = (apt / "calls").read_text().splitlines()
    assert calls == ["-q download libreoffice-help-de libreoffice-help-en-us"]
    (folder / "pairs.tsv").write_text("changed")
    assert data.fetched("help_en_de", apt / "root") is None


def test_fewer_pages_than_there_must_be_are_refused(apt, monkeypatch):
    monkeypatch.setattr(help_pages, "MIN_PAGES", 41)
    with pytest.raises(ValueError, match="has 40 pages with 40 pairs, must be at least 41 with 40; the layout"):
        data.fetch("help_en_de", apt / "root", progress=False)
    assert not (apt / "root/help_en_de").exists()


def test_a_package_without_a_language_is_refused(apt):
    (apt / "bin/dpkg-deb").write_text("#!/bin/sh\nmkdir -p $3/usr/share/libreoffice/help/en-US\n")
    with pytest.raises(ValueError, match=r"the package has no .*/de; its layout has changed"):
        data.fetch("help_en_de", apt / "root", progress=False)


def test_there_is_no_other_source(tmp_path):
    with pytest.raises(ValueError, match="source = 'official' has no help_en_de; take 'packages'"):
        data.fetch("help_en_de", tmp_path, source="official")


def test_the_command_line_says_in_a_line_that_the_client_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit) as stop:
        cli.main(["data", "fetch", "help_en_de", "--root", str(tmp_path)])
    assert stop.value.code == 2
    assert "apt-get is not installed. To go on, get it with: elastic-jax data fetch" in capsys.readouterr().err


# pairs


def some_pairs(number=400):
    """Distinct sentences of five on a page, one of which every page has in a spelling of its own."""
    digests = (hashlib.sha256(str(i).encode()).hexdigest() for i in range(number))
    letters = str.maketrans("0123456789", "ghijklmnop")
    words = [digest.translate(letters)[: 5 + i % 7] for i, digest in enumerate(digests)]
    return [
        Pair(f"page {i // 5}", f"Choose {i // 5}!" if i % 5 == 0 else f"The {word} opens", f"Der {word} öffnet")
        for i, word in enumerate(words)
    ]


def test_whole_pages_are_held_out_and_no_sentence_of_theirs_was_read():
    """Not even in another spelling: "Choose 7!" of the test pages is "Choose 3!" of the others."""
    train, test = pairs.split(some_pairs())
    assert not {pair.page for pair in train} & {pair.page for pair in test}
    assert not {pairs.letters(pair.source) for pair in train} & {pairs.letters(pair.source) for pair in test}
    assert len(test) > 8
    assert any(pair.source.startswith("Choose") for pair in train)
    held_out = [pair for pair in some_pairs() if pairs.is_held_out(pair.page)]
    assert len(train) + len(held_out) == 400
    assert len(test) == len([pair for pair in held_out if not pair.source.startswith("Choose")])


def test_the_split_does_not_depend_on_the_order_of_the_file():
    """A smaller set is the beginning of a larger one, and from all pages."""
    forwards, backwards = pairs.split(some_pairs()), pairs.split(some_pairs()[::-1])
    assert forwards == backwards
    assert len({pair.page for pair in forwards.train[:40]}) > 20


def test_one_page_of_sixteen_is_held_out():
    assert sum(pairs.is_held_out(f"text/{page}") for page in range(16_000)) == pytest.approx(1000, abs=100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("page\tone\teins\npage\ttwo\n", "line 2: 2 fields, must be page, source and target"),
        ("page\tone\t \n", "line 1: 3 fields"),
        ("page\tone\teins\n", "1 lines are 1 training and 0 test pairs"),
        (b"\xff\xfe", "is no text in UTF-8"),
    ],
)
def test_a_file_that_holds_no_pairs_says_where(tmp_path, text, message):
    (tmp_path / "pairs.tsv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        pairs.load(tmp_path / "pairs.tsv")


# tokens


@pytest.fixture
def root(tmp_path):
    """A folder of data sets with a small corpus."""
    (tmp_path / "help_en_de").mkdir()
    lines = ("\t".join(pair) + "\n" for pair in some_pairs())
    (tmp_path / "help_en_de/pairs.tsv").write_text("".join(lines), encoding="utf-8")
    return tmp_path


def test_rows_of_tokens_are_the_texts(root):
    """There and back; targets end, sources do not; rows are what the transformer takes."""
    found = data.load_translation(root=root, num_subwords=80)
    dataset = sequences.check(found.dataset)
    assert dataset.num_classes == len(found.subwords) == 80
    for rows, pairs_, side in (
        (dataset.train_inputs, found.train, "source"),
        (dataset.train_targets, found.train, "target"),
        (dataset.test_inputs, found.test, "source"),
        (dataset.test_targets, found.test, "target"),
    ):
        assert rows.dtype == np.int32
        assert found.subwords.decode(rows) == [getattr(pair, side) for pair in pairs_]
        last = rows[np.arange(len(rows)), sequences.lengths(rows) - 1]
        assert ((last == sequences.END) == (side == "target")).all()
        assert not (rows == sequences.START).any()
    longest = max(sequences.lengths(rows).max() for rows in (dataset.train_inputs, dataset.test_inputs))
    assert dataset.train_inputs.shape[1] == dataset.test_inputs.shape[1] == longest
    assert (subwords.PADDING, subwords.START, subwords.END) == (sequences.PADDING, sequences.START, sequences.END)
    assert data.load_translation(root=root / "help_en_de", num_subwords=80).test == found.test


def test_long_pairs_are_left_out_and_fewer_are_the_first(root):
    whole = data.load_translation(root=root, num_subwords=80)
    length = int(np.median(sequences.lengths(whole.dataset.train_targets)))
    short = data.load_translation(root=root, num_subwords=80, max_length=length)
    assert short.dataset.train_targets.shape[1] == length
    assert len(short.test) < len(whole.test)
    longest = np.maximum(*(sequences.lengths(rows) for rows in whole.dataset[1:3]))
    assert short.train == [pair for pair, own in zip(whole.train, longest, strict=True) if own <= length]
    fewer = data.load_translation(root=root, num_subwords=80, max_length=length, num_train=7, num_test=2)
    assert (fewer.train, fewer.test) == (short.train[:7], short.test[:2])
    assert fewer.dataset.train_inputs.shape[0] == 7


def test_tokens_are_learnt_once_and_of_the_training_part_alone(root, monkeypatch):
    """They are kept beside the file, under a name that other texts do not have."""
    seen = []
    train = subwords.train
    monkeypatch.setattr(subwords, "train", lambda texts, number: seen.append(texts) or train(texts, number))
    found = data.load_translation(root=root, num_subwords=80)
    data.load_translation(root=root, num_subwords=80, num_train=5, max_length=30)
    assert len(seen) == 1
    assert set(seen[0]) == {text for pair in pairs.split(some_pairs()).train for text in pair[1:]}
    with (root / "help_en_de/pairs.tsv").open("a", encoding="utf-8") as file:
        file.write("page 0\tAnother line\tEine weitere Zeile\n")
    data.load_translation(root=root, num_subwords=80)
    assert len(seen) == 2
    assert len(list((root / "help_en_de").glob("bpe_80_*.model"))) == 2
    assert found.subwords.encode(["The"], has_end=True)[0][-1] == sequences.END


def test_files_and_tokens_do_not_depend_on_hashes(apt):
    """Two processes with other hash seeds write the same bytes."""
    code = (
        "import hashlib, sys, pathlib; from elastic_jax.data import help_pages, pairs, subwords\n"
        "folder = pathlib.Path(sys.argv[2]); help_pages.MIN_PAGES = help_pages.MIN_PAIRS = 1\n"
        "help_pages.write(pathlib.Path(sys.argv[1]), folder)\n"
        "texts = [text for pair in pairs.load(folder / 'pairs.tsv').train for text in pair[1:]]\n"
        "print(hashlib.sha256((folder / 'pairs.tsv').read_bytes() + subwords.train(texts, 30)).hexdigest())\n"
    )
    found = set()
    for seed in ("1", "2"):
        (apt / seed).mkdir()
        command = [sys.executable, "-c", code, str(apt / "pages"), str(apt / seed)]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"}
        ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        found.add(ran.stdout)
    assert len(found) == 1


def test_wrong_arguments_are_named(root):
    for wrong, message in (
        ({"num_subwords": 4}, "num_subwords = 4"),
        ({"num_subwords": 5000}, "num_subwords = 5000 does not fit"),
        ({"max_length": 1}, "max_length = 1"),
        ({"max_length": 2, "num_subwords": 80}, "max_length = 2 leaves no training pair"),
        ({"num_train": 0}, "num_train = 0"),
    ):
        with pytest.raises(ValueError, match=message):
            data.load_translation(root=root, **wrong)
    with pytest.raises(TypeError, match="name = 3"):
        data.load_translation(3, root)
    with pytest.raises(FileNotFoundError, match=r"own\.tsv is no file"):
        data.load_translation("own.tsv", root)
    with pytest.raises(FileNotFoundError, match="elastic-jax data fetch help_en_de"):
        data.load("help_en_de", root / "help_en_de/none")
    with pytest.raises(ValueError, match="none of sentencepiece"):
        data.Subwords(b"nothing")


def test_a_file_of_ones_own_needs_no_name(root):
    (root / "help_en_de/pairs.tsv").rename(root / "own.tsv")
    assert data.load_translation("own.tsv", root, num_subwords=80).dataset.name == "own"
    assert data.load_translation(root / "own.tsv", num_subwords=80).dataset.name == "own"


def test_without_its_package_the_extra_is_named(root, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("sentencepiece"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "elastic-jax\[translation\]"'):
        data.load("help_en_de", root)
