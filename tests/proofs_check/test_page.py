"""The page of `prove`: everything is on it, it stands alone, and what was not tested is said not to be."""

import html.parser
import re

import pytest

import proofs_check
from elastic_jax import algorithms
from proofs_check import page, record, report
from proofs_check.page import articles, plots
from proofs_check.page.words import anchor, file_of
from proofs_check.record import Check
from proofs_check.report import Outcome
from proofs_check.tables import TABLES

STATEMENTS = proofs_check.statements()
VOID = {"meta", "br"}


class Parsed(html.parser.HTMLParser):
    """Tags with their attributes, whether all are closed, and the text of each article."""

    def __init__(self, text):
        """Of a whole page or a part of one."""
        super().__init__()
        self.tags, self.texts, self._open, self._article = [], {}, [], None
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "article":
            self._article = dict(attrs)["id"]

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag
        if tag == "article":
            self._article = None

    def handle_data(self, data):
        self.texts[self._article] = self.texts.get(self._article, "") + data

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def made(id, name="a form", kind="upper", **given):
    """A record as a statement would return it."""
    setting = given.pop("setting", "synchronous_sgd on <linear>, all 1024 paths")
    values = {"ratio": 0.5, "verdict": "holds", "control_tripped": True, "is_exact": True, "ratios": (None, 0.25, 0.5)}
    return Check(id, name, kind, setting, (), 0.5, 1.0, **(values | given))


def outcome(id, *checks, is_noticed=True):
    control = record.planted(made(id, verdict="violated" if is_noticed else "holds"), "a bug & another")
    return Outcome(id, list(checks) or [made(id)], [control], 0.1)


@pytest.fixture(scope="module")
def whole():
    """A page of all statements, each with one record."""
    return page.render([outcome(id) for id in STATEMENTS], seconds=75.0)


def test_every_statement_is_on_the_page(whole):
    """Each has an article with its headings, links to its file, and is linked to from the contents."""
    parsed = Parsed(whole)
    assert {each["id"] for each in parsed.of("article")} == {anchor(id) for id in STATEMENTS}
    links = {each["href"] for each in parsed.of("a")}
    for id, module in STATEMENTS.items():
        assert f"#{anchor(id)}" in links
        assert file_of(module.__name__) in links
        assert all(
            heading in parsed.texts[anchor(id)] for heading in (*articles.HEADINGS, "a bug & another", "noticed")
        )


def test_ids_of_elements_are_unique_and_every_link_within_the_page_leads_somewhere(whole):
    parsed = Parsed(whole)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {each["href"][1:] for each in parsed.of("a") if each["href"].startswith("#")} <= set(ids)


def test_the_page_stands_alone(whole):
    """No script, nothing loaded, nothing outside the repository linked to."""
    parsed = Parsed(whole)
    assert not {"script", "link", "img", "iframe", "object", "image", "use"} & {tag for tag, _ in parsed.tags}
    assert not any(name in attributes for _, attributes in parsed.tags for name in ("src", "srcset", "xlink:href"))
    assert not re.search(r"https?:|@import|url\(", whole)


def test_the_text_of_a_statement_is_the_whole_docstring(whole):
    """No line under any heading is lost on the way to the page."""
    parsed = Parsed(whole)
    for id, module in STATEMENTS.items():
        text = " ".join(parsed.texts[anchor(id)].split())
        for line in module.__doc__.strip().rstrip(".").splitlines():
            assert " ".join(line.replace("`", "").split()).rstrip(".") in text, (id, line)


def test_links_to_the_code_are_relative_to_the_page(tmp_path):
    """From docs/ they go up one folder; outside the repository they are those of the repository."""
    one = [outcome("EC:I7")]
    file = file_of(STATEMENTS["EC:I7"].__name__)
    assert (page.REPOSITORY / file).is_file()
    assert f'href="../{file}"' in page.render(one, seconds=1.0, folder=page.REPOSITORY / "docs")
    page.write(one, tmp_path / "new" / "page.html", seconds=1.0)
    assert f'href="{file}"' in (tmp_path / "new" / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("planted", "told"),
    [
        (outcome("EC:E3"), "holds"),
        (outcome("EC:E3", is_noticed=False), "UNTESTED"),
        (outcome("EC:E3")._replace(controls=[]), "UNTESTED"),
        (outcome("EC:E3", made("EC:E3", control_tripped=False)), "UNTESTED"),
        (outcome("EC:E3", made("EC:E3", verdict="skipped", ratio=None, ratios=())), "UNTESTED"),
        (outcome("EC:E3", made("EC:E3", verdict="vacuous")), "UNTESTED"),
        (outcome("EC:E3", made("EC:E3"), made("EC:E3", verdict="violated", ratio=1.5)), "VIOLATED"),
    ],
)
def test_what_nothing_could_violate_is_untested(planted, told):
    """A bug that went unseen, no bug, or no setting that held: never "holds". In the table and in the article."""
    parsed = Parsed(page.render([planted], seconds=1.0))
    article = parsed.texts["EC-E3"]
    row = parsed.texts[None].partition("EC:E3")[2][:60]
    for text in (article, row):
        assert told in text
        assert all(other not in text for other in {"UNTESTED", "VIOLATED"} - {told})


def test_a_form_that_no_setting_could_violate_is_untested_though_the_statement_holds():
    never = made("EC:E3", "another form", verdict="skipped", ratio=None, ratios=(), reason="not so")
    text = page.render([outcome("EC:E3", made("EC:E3"), never)], seconds=1.0)
    assert re.search(r"another form</b> <span[^>]*>upper</span> <span[^>]*>UNTESTED", text)
    assert re.search(r"a form</b> <span[^>]*>upper</span><br>", text)
    assert "skipped: not so" in text


def test_the_table_has_the_numbers_of_the_records():
    """The largest ratio of all settings with its place, "attained" at 1, and a link to the variant."""
    low, high = made("EC:E3", ratio=0.2), made("EC:E3", ratio=0.7313, where="t = 3, i = 1")
    table = page.render([outcome("EC:E3", low, high)], seconds=1.0).partition("<tbody>")[2].partition("</tbody>")[0]
    assert "0.731" in table
    assert "synchronous_sgd on &lt;linear&gt;, all 1024 paths; t = 3, i = 1" in table
    assert "attained" not in table
    assert f'href="{file_of(algorithms.variants()["synchronous_sgd"].__name__)}"' in table
    table = page.render([outcome("EC:E3", low, made("EC:E3", ratio=1 - 1e-12))], seconds=1.0).partition("</tbody>")[0]
    assert "attained" in table


def test_the_tables_name_every_bound_of_the_theory_and_no_other():
    """Each statement about B, and each about the cost of mixing, is in a row, and every row has its statements."""
    rows = [row for table in TABLES for _, members in table.parts for row in members]
    named = [id for row in rows for id in row.ids]
    assert len(named) == len(set(named))
    assert {id for id in named if id.startswith("EC:")} == {id for id in STATEMENTS if id.startswith("EC:E")}
    families = proofs_check.families()
    others = {id for id in families["cooperative_rates"] if id.startswith("CO:T")} - {"CO:T1"}
    assert others <= set(named) <= set(STATEMENTS)
    assert all(row.papers or row.proved for row in rows)


def test_a_plot_has_a_line_for_each_setting_that_was_measured():
    """Lines over steps, points without steps; a violated one in its own colour; nothing measured, no plot."""
    skipped = made("EC:E3", verdict="skipped", ratio=None, ratios=())
    drawn = Parsed(plots.ratios([made("EC:E3"), made("EC:E3", is_exact=False, verdict="violated"), skipped]))
    assert [each["class"] for each in drawn.of("polyline")] == ["line exact", "line violated"]
    assert len(Parsed(plots.ratios([made("EC:E3", ratios=()), skipped])).of("circle")) == 1
    assert plots.ratios([skipped]) == ""


@pytest.mark.parametrize("largest", [1.0, 1.3, 0.5, 1e-3, 1e-9, 0.0, -0.2])
def test_a_plot_stays_on_its_paper(largest):
    """Every point lies between the axes, whatever the ratios are; larger ones are higher, 1 is where it is claimed."""
    ratios = (0.0, largest / 2, largest, None, -1.0)
    drawn = Parsed(plots.ratios([made("EC:E3", ratio=largest, ratios=ratios)]))
    (line,) = drawn.of("polyline")
    points = [tuple(map(float, point.split(","))) for point in line["points"].split()]
    assert all(plots.LEFT <= x <= plots.WIDTH - plots.RIGHT for x, _ in points)
    assert all(0 < y <= plots.HEIGHT - plots.BOTTOM for _, y in points)
    if largest > 0:
        assert points[2][1] <= points[1][1] <= points[0][1]
    (claim,) = [each for each in drawn.of("line") if each["class"] == "claim"]
    if largest == 1.0:
        assert float(claim["y1"]) == pytest.approx(points[2][1])


def test_figures_are_embedded_one_for_each_form(whole):
    assert len(Parsed(whole).of("svg")) == len(STATEMENTS)


def test_the_data_of_a_page_have_what_the_page_has():
    """Records, planted bugs and where the figures come from, as plain data."""
    data = report.as_data([outcome("EC:E3")], seconds=2.0)
    assert data["controls"] == [{"id": "EC:E3", "bug": "a bug & another", "is_noticed": True}]
    assert set(data["statements"][0]) == set(Check._fields)
    assert {"machine", "commit", "versions", "seconds"} <= set(data)
