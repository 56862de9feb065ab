"""The tables of an experiment: tests corrected over the whole page, effect sizes, edges of grids, several sets."""

import io
import statistics
from dataclasses import replace

import pytest
import results
from made_study import COSTS, LEADS, NOISE, SETS, Made, accuracy, study
from rich.console import Console
from scipy import stats

from parse_p2p.core.errors import ConfigError
from parse_p2p.lab.commands.compare import shown, written
from parse_p2p.lab.experiments.experiment_tables import of_one_page
from parse_p2p.lab.experiments.statistics import hedges, holm


def test_measures_of_real_processes_are_refused_before_anything_is_run(tmp_path, monkeypatch):
    monkeypatch.setattr(Made, "complete", None)
    with pytest.raises(ConfigError, match=r"mine\.yaml: measures: they need the agents at hand"):
        study(tmp_path, engine="processes", measures=["agents"], tune={"values": [0.1, 0.2], "seeds": [9]})


def cell(table, row, column):
    [line] = [line for line in table.body if line[0] == row]
    return line[table.head.index(column)]


def lead(data, row):
    return [
        accuracy({"data": data, "method": "parse"}, s) - accuracy({"data": data, "method": row}, s) for s in range(5)
    ]


def test_p_is_corrected_over_all_tables_and_claims_of_the_experiment_together(tmp_path):
    claim = {"says": "it helps", "of": "all", "first": "harmony", "second": "local"}
    made = study(tmp_path, claims=[claim])
    keys = [(data, row) for data in ("one", "two", "three") for row in ("local", "harmony")]
    plain = {key: float(stats.ttest_1samp(lead(*key), 0).pvalue) for key in keys}
    claims = [stats.ttest_1samp([b - a for a, b in zip(lead(data, "harmony"), lead(data, "local"), strict=True)], 0)
              for data in ("one", "two", "three")]  # fmt: skip
    corrected = holm([*plain.values(), *(float(c.pvalue) for c in claims)])
    assert made.comparisons.number == 9
    for table, data in zip(made.tables(), ("one", "two", "three"), strict=True):
        for row in ("local", "harmony"):
            p = corrected[keys.index((data, row))]
            assert cell(table, row, "p") == ("<0.001" if p < 0.001 else f"{p:.3f}")
            assert cell(table, row, "g") == f"{hedges(lead(data, row)):+.2f}"
            word = "no difference shown" if p >= 0.05 else "better"
            mean = statistics.mean(lead(data, row))
            assert cell(table, row, "parse less this row").startswith(f"{mean:+.3f} ± ")
            assert cell(table, row, "parse less this row").endswith(f"({word})")
        assert cell(table, "parse", "p") == cell(table, "parse", "g") == ""
    assert max(corrected[i] / plain[key] for i, key in enumerate(keys)) > 3, "else nothing is seen of it"
    assert "over all 9 comparisons of this experiment" in "\n".join(written(made, list(made.tables())))
    words = ["better" if p < 0.05 else "no difference shown" for p in corrected[-3:]]
    assert [line.rpartition("(")[2][:-1] for line in next(made.claims()).body[0][1:]] == words


def test_with_one_seed_nothing_is_tested(tmp_path):
    made = study(tmp_path, seeds=[0])
    assert "p" not in next(made.tables()).head and made.comparisons.number == 0
    assert "Holm" not in "\n".join(written(made, list(made.tables())))


def test_a_best_value_on_the_edge_is_marked_and_said(tmp_path):
    tune = {"values": [0.1, 0.2], "seeds": [9], "widen": 1}
    made = study(tmp_path, tuned=lambda value: value, tune=tune)
    table = next(made.tables())
    assert cell(table, "local", "lr") == "0.4 (edge)"
    [note] = table.notes
    assert note.startswith("The best train.lr lies on the edge") and "parse (highest), local (highest)" in note
    text = "\n".join(written(made, list(made.tables())))
    assert note in text and "the grid was continued: 0.4." in text
    assert "on 20 % of the training samples, kept for that in runs with the seeds 9" in text and "test set" in text
    inside = study(tmp_path, tuned=lambda value: -abs(value - 0.15), tune={**tune, "values": [0.1, 0.15, 0.2]})
    assert next(inside.tables()).notes == [] and cell(next(inside.tables()), "local", "lr") == "0.15"


def test_rows_that_measure_the_same_throughout_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(LEADS, "local", LEADS["harmony"])
    monkeypatch.setitem(NOISE, "local", [*NOISE["harmony"][:4], 5])
    assert [table.notes for table in study(tmp_path).tables()] == [[]] * 3, "one seed differs"
    monkeypatch.setitem(NOISE, "local", NOISE["harmony"])
    alike = "Equal to the last digit, by every agent and in every round: local = harmony."
    assert [table.notes for table in study(tmp_path).tables()] == [[alike]] * 3

    real = Made.outcome

    def measured(self, job):
        return replace(real(self, job), measures={"kept": 1.0 + (dict(job.labels)["method"] == "local")})

    monkeypatch.setattr(Made, "outcome", measured)
    assert next(study(tmp_path).tables()).notes == []


def test_rows_are_compared_over_sets_once_for_each_combination_of_other_axes(tmp_path):
    made = study(tmp_path, sets="data")
    [table] = made.over_sets()
    mean = statistics.mean(statistics.mean(lead(data, "local")) for data in ("one", "two", "three"))
    assert cell(table, "local", "parse less this row") == f"{mean:+.3f}"
    assert cell(table, "local", "ahead on") == "3 of 3" and cell(table, "local", "p") == "0.500"  # .25, twice
    assert table.heading == "Over all data" and table.heading in "\n".join(written(made, list(made.tables())))
    axes = {"data": {k: SETS[k] for k in ("one", "two")}, "mix": {"few": {}, "many": {}}, "method": ["parse", "local"]}
    assert [t.heading for t in study(tmp_path, sets="data", axes=axes).over_sets()] == [
        "Over all data, few",
        "Over all data, many",
    ]
    assert not list(study(tmp_path).over_sets())


def test_tasks_of_one_data_set_count_once_together(tmp_path):
    axes = {"data": SETS | {"three": {"dataset": "bits", "partition": {"kind": "dirichlet"}}},
            "method": ["parse", "local", "harmony"]}  # fmt: skip
    [table] = study(tmp_path, sets="data", axes=axes).over_sets()
    one, two, three = (statistics.mean(lead(data, "local")) for data in SETS)
    assert cell(table, "local", "parse less this row") == f"{(one + (two + three) / 2) / 2:+.3f}"
    assert cell(table, "local", "ahead on") == "2 of 2"
    assert table.notes[0].startswith("Each of 2 data sets counts once, by the mean of its tasks, 3 in all, and over")
    own = {name: {"dataset": "own", "data": {"kind": "npz"}} for name in SETS}
    [each] = study(tmp_path, sets="data", axes={**axes, "data": own}).over_sets()
    assert cell(each, "local", "ahead on") == "3 of 3", "of people's own data each is a set"
    assert each.notes[0].startswith("Each of 3 data sets counts once, by the mean over seeds.")
    for key, options in (("path", {"dataset": "npz"}), ("object", {"dataset": "python"})):
        files = {name: {**options, f"data.{key}": f"{'a' if name == 'one' else 'b'}.b"} for name in SETS}
        [each] = study(tmp_path, sets="data", axes={**axes, "data": files}).over_sets()
        assert cell(each, "local", "ahead on") == "2 of 2", "of files each is a set"


def test_tasks_of_a_single_data_set_are_no_sets(tmp_path, monkeypatch):
    monkeypatch.setattr(Made, "complete", None)
    axes = {"data": {"one": {}, "two": {"partition": {"kind": "dirichlet"}}}, "method": ["parse", "local"]}
    with pytest.raises(ConfigError, match=r"mine\.yaml: sets: all labels .* 'data' are tasks of one data set, htad"):
        study(tmp_path, sets="data", axes=axes)
    mixed = {"data": {"one": {}, "two": {}}, "mix": {"few": {}, "many": {"dataset": "bits"}}, "method": axes["method"]}
    with pytest.raises(ConfigError, match="one data set, htad"):
        study(tmp_path, sets="data", axes=mixed)


def test_tests_of_one_page_are_corrected_together(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    axes = {"data": {"two": SETS["two"]}, "method": ["parse", "harmony"]}
    one, other = study(tmp_path / "a"), study(tmp_path / "b", axes=axes)
    keys = [(data, row) for data in SETS for row in ("local", "harmony")] + [("two", "harmony")]
    plain = [float(stats.ttest_1samp(lead(*key), 0).pvalue) for key in keys]
    before = float(cell(next(other.tables()), "harmony", "p"))
    assert before == pytest.approx(plain[-1], abs=5e-4)
    of_one_page([one, other])
    ps = [cell(table, row, "p") for table in one.tables() for row in ("local", "harmony")]
    ps.append(cell(next(other.tables()), "harmony", "p"))
    assert ps == ["<0.001" if p < 0.001 else f"{p:.3f}" for p in holm(plain)] and float(ps[-1]) > before
    studies = [study(tmp_path / "a"), study(tmp_path / "b", axes=axes)]
    whole = results.page("rivals", studies, ["`c.yaml`"], tmp_path)
    assert whole.count("over all 7 comparisons of this page") == 2 and whole.endswith("Not run yet: `c.yaml`.\n")
    assert [word in whole for word in ps] == [True] * 7
    assert "\n![parse less each other row, with 95 % intervals:" in whole
    assert "(pictures/rivals/mine.svg)" in whole and (tmp_path / "pictures" / "rivals" / "mine.svg").exists()


def test_claims_of_a_page_are_corrected_with_all_others_and_what_has_no_tests_says_nothing_of_them(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
    axes = {"data": {"one": SETS["one"]}, "method": ["parse", "harmony"]}
    claim = {"says": "it helps", "of": "all", "first": "parse", "second": "harmony"}
    one, many = study(tmp_path / "a", axes=axes, claims=[claim]), study(tmp_path / "b")
    none = study(tmp_path / "c", axes=axes, seeds=[0])
    before = one.comparisons.found[0, 0].p
    of_one_page([none, one, many])
    plain = float(stats.ttest_1samp(lead("one", "harmony"), 0).pvalue)
    assert before == pytest.approx(2 * plain) and one.comparisons.found[0, 0].p > before
    assert one.comparisons.number == 2 + 6 and "Holm" not in "\n".join(written(none, list(none.tables())))


def test_a_claim_has_no_say_in_a_table_that_lacks_what_it_is_of(tmp_path, monkeypatch):
    outcome = Made.outcome

    def measured(self, job):
        found = outcome(self, job)
        return replace(found, measures={"extra": float(job.seed)} if dict(job.labels)["data"] == "two" else {})

    monkeypatch.setattr(Made, "outcome", measured)
    claim = {"says": "it helps", "of": "extra", "first": "parse", "second": "harmony"}
    made = study(tmp_path, claims=[claim])
    [row] = next(made.claims()).body
    assert row[1::2] == ["–", "–"] and row[2].startswith("+0.000") and made.comparisons.number == 6 + 1
    with pytest.raises(ConfigError, match=r"mine\.yaml: claims: there is no 'extras'.*'extra'"):
        list(study(tmp_path, claims=[{**claim, "of": "extras"}]).claims())


def test_rows_on_equal_bytes_have_a_column_of_rounds_and_their_differences_are_those_of_whole_runs(
    tmp_path, monkeypatch
):
    table = next(study(tmp_path, equal_bytes=True).tables())
    assert [cell(table, row, "rounds") for row in COSTS] == ["2", "2", "3"]  # 3 x 600 of 2 x 1000 bytes
    assert cell(table, "harmony", "kB a round") == "0.6"
    assert list(table.first[-2:]) == ["rounds", "kB a round"], "a narrow terminal has room for it first"
    assert cell(table, "harmony", "parse less this row").startswith(
        f"{statistics.mean(lead('one', 'harmony')):+.3f} ± "
    )
    assert [name for name in table.head if "bytes" in name] == []
    monkeypatch.setitem(COSTS, "harmony", 1.0)
    assert cell(next(study(tmp_path, equal_bytes=True).tables()), "harmony", "rounds") == "20 (capped)"
    monkeypatch.setitem(COSTS, "harmony", 2001.0)
    assert cell(next(study(tmp_path, equal_bytes=True).tables()), "harmony", "rounds") == "1 (too dear)"
    monkeypatch.setitem(COSTS, "harmony", 2000.0)
    assert cell(next(study(tmp_path, equal_bytes=True).tables()), "harmony", "rounds") == "1"
    assert "rounds" not in next(study(tmp_path).tables()).head


def test_a_page_says_what_the_rounds_of_rows_on_equal_bytes_are(tmp_path):
    def page(made):
        return "\n".join(written(made, list(made.tables())))

    said = (
        "do not exceed those of parse, and one that sends nothing has as many as parse; '(too dear)' marks a row of "
        "which one round costs more than that, and '(capped)' one with 10 times the rounds of parse"
    )
    assert said in page(study(tmp_path, equal_bytes=True)) and "(capped)" not in page(study(tmp_path))


def test_a_table_begins_with_the_tests_and_a_narrow_terminal_shows_them_alone(tmp_path):
    table = next(study(tmp_path, tune={"values": [0.1]}).tables())
    tests = ["", "all agents", "parse less this row", "p", "g"]
    assert table.head == [*tests, "kB a round", "worst agent", "lr"]
    [title, columns] = shown(table)
    assert title.endswith("one") and columns.shown(200) == table.head
    assert columns.shown(80) == tests
    assert columns.shown(60)[-1] == "parse less this row"


def test_rows_that_are_sentences_are_folded_and_lose_no_column(tmp_path):
    claim = {"says": "it helps " * 12, "of": "all", "first": "harmony", "second": "local"}
    [table] = study(tmp_path, claims=[claim]).claims()
    out = io.StringIO()
    for part in shown(table):
        Console(file=out, width=80).print(part)
    assert all(name in out.getvalue() for name in table.head)
