"""CSV and Parquet files, as a person's own programs write them: right ones come back, others get a sentence each."""

import datetime
import decimal
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from parse_p2p.core.errors import ConfigError
from parse_p2p.data.sources import csv, parquet

LINES = ["v1_a,who,v1_b,sound,y", "1,eva,2.5,-1,dog", "3,ada,4,1e3,cat", "5,eva,6,0,dog"]
COLUMNS = {"view": "v1_*", "audio": "sound"}
TABLE = {
    "v1_a": [1, 3, 5],
    "who": ["eva", "ada", "eva"],
    "v1_b": [2.5, 4, 6],
    "sound": [-1, 1000, 0],
    "y": ["dog", "cat", "dog"],
}


def opened_csv(tmp_path, lines=LINES, name="mine.csv", end="\n", encoding="utf-8", **options):
    path = tmp_path / name
    path.write_bytes(end.join([*lines, ""]).encode(encoding))
    return csv.open(csv.Options(**{"path": path, "columns": COLUMNS} | options), 0)


def written(path, table=TABLE, **changes):
    """A Parquet file, with some columns replaced or added."""
    pq.write_table(table if isinstance(table, pa.Table) else pa.table({**table, **changes}), path)
    return path


def opened_parquet(path, **options):
    return parquet.open(parquet.Options(**{"path": path, "columns": COLUMNS} | options), 0)


def is_the_table(dataset):
    assert dataset.modalities == ("audio", "view")
    assert dataset.labels == ("cat", "dog") and dataset.targets.tolist() == [1, 0, 1]
    assert dataset.inputs["view"].tolist() == [[1, 2.5], [3, 4], [5, 6]], "in the order of the file"
    assert dataset.inputs["audio"].tolist() == [[-1], [1000], [0]]


def refused(open, *arguments, **options):
    with pytest.raises(ConfigError) as caught:
        open(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# what is right


def test_columns_of_either_file_become_modalities(tmp_path):
    for dataset in (opened_csv(tmp_path), opened_parquet(written(tmp_path / "mine.parquet"))):
        is_the_table(dataset)
        assert dataset.groups is None
    assert (opened_csv(tmp_path).name, dataset.name) == ("mine.csv", "mine.parquet")
    for dataset in (opened_csv(tmp_path, group="who"), opened_parquet(tmp_path / "mine.parquet", group="who")):
        assert dataset.groups.tolist() == [1, 0, 1]


def test_text_is_read_however_it_is_written(tmp_path):
    is_the_table(opened_csv(tmp_path, end="\r\n"))
    is_the_table(opened_csv(tmp_path, end="\r"))
    is_the_table(opened_csv(tmp_path, encoding="utf-8-sig"))
    is_the_table(opened_csv(tmp_path, end="\n\n"))
    tabs = [line.replace(",", "\t") for line in LINES]
    is_the_table(opened_csv(tmp_path, tabs, name="mine.TSV"))
    is_the_table(opened_csv(tmp_path, tabs, delimiter="\t"))
    quoted = ['"v1_a","who","v1_b","sound","y"', *('"{}"'.format(line.replace(",", '","')) for line in LINES[1:])]
    is_the_table(opened_csv(tmp_path, quoted))


def test_labels_are_read_in_the_encoding_that_is_named(tmp_path):
    lines = ["x,y", "1,Bär", "2,Amsel"]
    for encoding in ("latin-1", "utf-16"):
        path = tmp_path / "mine.csv"
        path.write_bytes("\n".join(lines).encode(encoding))
        assert csv.open(csv.Options(path=path, columns={"x": "x"}, encoding=encoding), 0).labels == ("Amsel", "Bär")


def test_words_that_stand_for_nothing_in_other_files_are_classes(tmp_path):
    lines = ["x,y", "1,NA", "2,null", "3,nan"]
    assert opened_csv(tmp_path, lines, columns={"x": "x"}).labels == ("NA", "nan", "null")


def test_numbers_and_truth_values_are_classes_too(tmp_path):
    lines = ["x,y", "1,10", "2,9", "3,10"]
    assert opened_csv(tmp_path, lines, columns={"x": "x"}).labels == ("9", "10")
    lines = ["x,y", "true,true", "false,false", "true,true"]
    dataset = opened_csv(tmp_path, lines, columns={"x": "x"}, labels={True: "on"})
    assert dataset.labels == ("false", "on") and dataset.inputs["x"].tolist() == [[1], [0], [1]]


def test_digits_of_labels_and_groups_of_text_stay_as_they_are(tmp_path):
    dataset = opened_csv(tmp_path, ["x,y,who", "1,01,007", "2,02,7", "3,01,007"], columns={"x": "x"}, group="who")
    assert dataset.labels == ("01", "02") and dataset.groups.tolist() == [0, 1, 0]
    quoted = ["x,y", '1,"01"', '"2","02"']
    assert opened_csv(tmp_path, quoted, columns={"x": "x"}, classes=["01", "02"]).targets.tolist() == [0, 1]


def test_lines_are_counted_past_line_breaks_in_cells(tmp_path):
    lines = ["x,y", *['1,"a\nb"'] * 3, "2"]
    assert "line 8 of" in refused(opened_csv, tmp_path, lines, columns={"x": "x"})


def test_columns_by_name_come_in_the_order_that_is_given(tmp_path):
    dataset = opened_csv(tmp_path, columns={"view": ["sound", "v1_*"], "one": ["v1_b"]}, target="y")
    assert dataset.inputs["view"].tolist() == [[-1, 1, 2.5], [1000, 3, 4], [0, 5, 6]]
    assert dataset.inputs["one"].tolist() == [[2.5], [4], [6]]


def test_columns_and_labels_may_be_called_by_numbers(tmp_path):
    dataset = opened_csv(tmp_path, ["0,1,2", "5,6,1", "7,8,0"], columns={"m": [1, 0], "n": 1}, target=2)
    assert dataset.inputs["m"].tolist() == [[6, 5], [8, 7]] and dataset.inputs["n"].tolist() == [[6], [8]]


def test_a_pattern_takes_neither_class_nor_group(tmp_path):
    lines = ["who,x,y,z", "1,2,0,3", "1,4,1,5"]
    assert opened_csv(tmp_path, lines, columns={"all": "*"}, group="who").inputs["all"].tolist() == [[2, 3], [4, 5]]
    assert opened_csv(tmp_path, lines, columns={"all": "*"}).inputs["all"].tolist() == [[1, 2, 3], [1, 4, 5]]
    assert "no input column 'y' in" in refused(opened_csv, tmp_path, lines, columns={"all": "y"})


def test_a_name_with_the_signs_of_a_pattern_is_a_name_first(tmp_path):
    lines = ["x[1],x1,y", "1,2,0", "3,4,1"]
    assert opened_csv(tmp_path, lines, columns={"m": "x[1]"}).inputs["m"].tolist() == [[1], [3]]


def test_lists_are_vectors(tmp_path):
    vectors = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    for kind in (pa.list_(pa.float32()), pa.list_(pa.int64(), 2), pa.large_list(pa.float64())):
        path = written(tmp_path / "mine.parquet", vec=pa.array(vectors, kind))
        dataset = opened_parquet(path, columns={"m": "vec", "both": ["vec", "sound"]})
        assert dataset.inputs["m"].tolist() == vectors
        assert dataset.inputs["both"].tolist() == [[1, 2, -1], [3, 4, 1000], [5, 6, 0]]


def test_columns_take_the_shape_that_is_asked_for(tmp_path):
    path = written(tmp_path / "mine.parquet", vec=[list(map(float, range(k, k + 6))) for k in range(3)])
    dataset = opened_parquet(path, columns={"m": "vec"}, shape={"m": [2, 3]})
    assert dataset.shape("m") == (2, 3) and dataset.inputs["m"][1].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert "'m' has 6 numbers per row in" in (
        said := refused(opened_parquet, path, columns={"m": "vec"}, shape={"m": [2, 4]})
    )
    assert said.endswith("mine.parquet, and [2, 4] takes 8; correct it or data.columns")
    with pytest.raises(ValidationError, match="'mm' has no columns; did you mean 'm'"):
        parquet.Options(path=path, columns={"m": "vec"}, shape={"mm": [2, 3]})


def test_all_numbers_and_shared_labels_are_read(tmp_path):
    numbers = [pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.bool_()]
    columns = {str(kind): pa.array([1, 0, 1]).cast(kind) for kind in numbers}
    labels = pa.array(["dog", "cat", "dog"]).dictionary_encode()
    dataset = opened_parquet(written(tmp_path / "mine.parquet", columns, y=labels), columns={"m": "*"})
    assert dataset.inputs["m"].tolist() == [[1] * 6, [0] * 6, [1] * 6] and dataset.labels == ("cat", "dog")
    for labels in (pa.array(TABLE["y"], pa.large_string()), pa.array(TABLE["y"], pa.string_view())):
        is_the_table(opened_parquet(written(tmp_path / "mine.parquet", y=labels)))


def test_files_of_a_folder_follow_one_another(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    written(folder / "b.parquet", pa.table(TABLE).slice(1))
    written(folder / "a.parquet", pa.table(TABLE).slice(0, 1))
    written(folder / "c.parquet", pa.table(TABLE).slice(0, 0))
    (folder / "_SUCCESS").touch()
    dataset = opened_parquet(folder, group="who")
    is_the_table(dataset)
    assert dataset.name == "site" and dataset.groups.tolist() == [1, 0, 1]
    written(folder / "d.parquet", vec=[[1.0]] * 3)
    for part in "abc":
        written(folder / f"{part}.parquet", vec=[[1.0, 2.0]] * 3)
    said = refused(opened_parquet, folder, columns={"m": "vec"})
    assert "'m' has 1 numbers per row in" in said and "d.parquet, but 2 in a.parquet; give all files" in said


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters='",'), min_size=1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(rows=st.lists(st.tuples(st.floats(width=32, allow_nan=False, allow_infinity=False), TEXT), min_size=1))
def test_what_is_written_is_what_is_read(tmp_path, rows):
    numbers, labels = [row[0] for row in rows], [f"_{row[1]}" for row in rows]
    lines = ["x,y", *(f"{number!r},{label}" for number, label in rows_of(numbers, labels))]
    path = written(tmp_path / "mine.parquet", {"x": numbers, "y": labels})
    for dataset in (opened_csv(tmp_path, lines, columns={"m": "x"}), opened_parquet(path, columns={"m": "x"})):
        assert dataset.inputs["m"][:, 0].tolist() == numbers
        assert [dataset.labels[t] for t in dataset.targets] == labels


def rows_of(*columns):
    return zip(*columns, strict=True)


def test_lines_are_counted_far_down(tmp_path):
    lines = ["x,y", *(f"{i},{i % 3}" for i in range(200_000))]
    dataset = opened_csv(tmp_path, lines, columns={"m": "x"})
    assert len(dataset) == 200_000 and dataset.inputs["m"][-1] == 199_999
    lines[150_000] = "0.5,1"
    assert opened_csv(tmp_path, lines, columns={"m": "x"}).inputs["m"][149_999] == 0.5, "a column is what all of it is"
    lines[180_000] = "oops,1"
    assert "has the text 'oops' in line 180001;" in refused(opened_csv, tmp_path, lines, columns={"m": "x"})
    lines[180_000] = "1,1,1"
    assert "line 180001 of" in refused(opened_csv, tmp_path, lines, columns={"m": "x"})


# what is wrong in a CSV file

ROW = "7,eva,8,9,cat"
WRONG_LINES = {
    "a row too short": ([*LINES, "7,eva"], "line 5 of {} has 2 cells, but its first line 5; give every line as many"),
    "a row too long": ([*LINES, "", ROW + ","], "line 6 of {} has 6 cells, but its first line 5; give"),
    "an empty cell": (
        [*LINES, "7,eva,,9,cat"],
        "column 'v1_b' of {} has a value that is empty, NaN or infinite in float32 in line 5; fill it, leave out the "
        "row, or empty all its cells of 'view'",
    ),
    "an empty label": ([*LINES, "", "7,eva,8,9,"], "column 'y' of {} has an empty cell in line 6; fill it or"),
    "an empty column": ([*LINES[:1], "1,2,3,,dog"], "column 'audio' of {} has no values at all; leave it out"),
    "text": ([*LINES, "7,eva,8,loud,cat"], "column 'sound' of {} has the text 'loud' in line 5; give numbers, such as"),
    "missing": ([*LINES, "7,eva,8,NA,cat"], "column 'sound' of {} has the text 'NA' in line 5"),
    "not a number": ([*LINES, "nan,eva,8,9,cat"], "column 'v1_a' of {} has a value that is empty, NaN or infinite"),
    "infinite": ([*LINES, "7,eva,8,1e39,cat"], "infinite in float32 in line 5; fill it, leave out the row, or"),
    "a date": ([*LINES[:1], "1,eva,2,2024-02-03,dog"], "column 'sound' of {} is date32[day]; give whole numbers, fl"),
    "a time": ([*LINES[:1], "1,eva,2,2024-02-03 10:00,dog"], "column 'sound' of {} is timestamp[s]; give"),
    "a label that is measured": ([*LINES[:1], "1,eva,2,3,0.5"], "column 'y' of {} is double; give whole numbers or"),
    "twice": (["v1_a,sound,v1_a,y", "1,2,3,a"], "column 'v1_a' stands twice in {}; give each column a name of its own"),
    "nothing": ([], "data file {} is empty; its first line names the columns"),
    "nothing but names": (LINES[:1], "data file {} has no rows; give at least one below the names"),
    "no label": (
        ["v1_a,sound,Y", "1,2,a"],
        "there is no column 'y' in {}: say which it is with data.target; Kn",
    ),
    "no input": (["v1_a,sond,y", "1,2,a"], "no input column 'sound' in {} for 'audio'; did you mean 'sond'? Known: so"),
    "no pattern": (["v2_a,sound,y", "1,2,a"], "data.columns: there is no input column 'v1_*' in {} for 'view'; "),
    "unlabelled": ([*LINES[:1], "1,eva,2,3,-1"], "column 'y' of {} has the label '-1', as where there is no class"),
}


@pytest.mark.parametrize(("lines", "said"), WRONG_LINES.values(), ids=WRONG_LINES)
def test_a_wrong_line_is_named_with_its_column(tmp_path, lines, said):
    assert said.format(tmp_path / "mine.csv") in refused(opened_csv, tmp_path, lines)


def test_a_last_line_may_end_or_not(tmp_path):
    path = tmp_path / "mine.csv"
    options = csv.Options(path=path, columns=COLUMNS)
    for lines in (LINES, LINES[:2]):
        path.write_text("\n".join(lines))
        assert len(csv.open(options, 0)) == len([*filter(None, lines)]) - 1
    path.write_text(LINES[0])
    assert f"data file {path} has no rows; give at least one" in refused(csv.open, options, 0)


def test_inputs_are_to_be_named(tmp_path):
    assert refused(opened_csv, tmp_path, columns={}, group="who") == (
        f"data.columns does not say which columns of {tmp_path / 'mine.csv'} are inputs; besides y and who it has "
        "v1_a, v1_b, sound: write such as columns: {features: [v1_a, v1_b]}"
    )
    wide = [",".join([*(f"c{i}" for i in range(99)), "y"]), ",".join("0" * 100)]
    said = refused(opened_csv, tmp_path, wide, columns={})
    assert "c18, c19 and 79 more: write" in said and "c20" not in said
    said = refused(opened_csv, tmp_path, wide, columns={"m": "c777"})
    assert "did you mean 'c77'? Known: " in said and said.count(",") < 25


def test_a_group_must_be_there(tmp_path):
    assert "there is no column 'whom' in" in (said := refused(opened_csv, tmp_path, group="whom"))
    assert "did you mean 'who'?" in said


def test_the_wrong_encoding_is_named_with_its_line(tmp_path):
    path = tmp_path / "mine.csv"
    said = refused(opened_csv, tmp_path, [*LINES, ROW.replace("cat", "bär")], encoding="latin-1")
    assert said == f"line 5 of {path} is not utf-8; give its encoding as data.encoding"
    with pytest.raises(ConfigError, match=r"^data\.encoding: there is no encoding 'utf-9'"):
        csv.open(csv.Options(path=path, encoding="utf-9", columns=COLUMNS), 0)


def test_a_csv_file_that_cannot_be_read_at_all(tmp_path):
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(ConfigError, match=rf"^data file {path} cannot be read \(.*\); correct the path"):
            csv.open(csv.Options(path=path, columns=COLUMNS), 0)
    assert "mine.csv cannot be read as CSV (ArrowInvalid: " in refused(opened_csv, tmp_path, delimiter="\n")


def test_a_line_may_be_very_long(tmp_path):
    wide = ["x,y," + "z" * 2_000_000, "1,2,3"]
    assert opened_csv(tmp_path, wide, columns={"m": "x"}).inputs["m"].tolist() == [[1]]


def test_weights_are_a_column_of_their_own(tmp_path):
    found = opened_csv(
        tmp_path, columns={"view": "v1_*"}, weight="sound", target="y", lines=[LINES[0], "1,eva,2,0.5,a", "2,eva,3,2,b"]
    )
    assert found.weights.tolist() == [0.5, 2] and found.modalities == ("view",)
    lines = [LINES[0], "1,eva,2,1,a", "2,eva,3,0,b"]
    found = opened_csv(tmp_path, columns={"view": "*"}, official="sound", group="who", target="y", lines=lines)
    assert found.official.tolist() == [True, False] and found.natural_groups == {"eva": 0}
    path = written(tmp_path / "mine.parquet", w=[1, 2, 3])
    assert opened_parquet(path, weight="w").weights.tolist() == [1, 2, 3]
    assert "the weight -1.0 in row 0, from 0" in refused(opened_csv, tmp_path, weight="sound", columns={"v": "v1_a"})
    said = refused(opened_parquet, path, weight="ww")
    assert "there is no column 'ww' in" in said and "say which it is with data.weight; did you mean 'w'?" in said
    path = written(tmp_path / "mine.parquet", w=[1, None, 3])
    assert "has the weight nan in row 1" in refused(opened_parquet, path, weight="w")
    path = written(tmp_path / "mine.parquet", w=[[1, 2], [1, 2], [3, 2]])
    assert "is float32 with 2 axes" in refused(opened_parquet, path, weight="w")


# what is missing

GAPS = ["v1_a,who,v1_b,sound,y", "1,eva,2,-1,dog", ",ada,,1e3,cat", "5,eva,6,,dog", "nan,eva,,3,cat"]


@pytest.mark.filterwarnings("ignore::parse_p2p.core.errors.DataWarning")
def test_a_row_whose_cells_of_a_modality_are_all_empty_lacks_it(tmp_path):
    found = opened_csv(tmp_path, GAPS)
    assert found.present["view"].tolist() == [True, False, True, False]
    assert found.present["audio"].tolist() == [True, True, False, True]
    assert found.inputs["view"].tolist() == [[1, 2], [0, 0], [5, 6], [0, 0]]
    assert found.inputs["audio"].flatten().tolist() == [-1, 1000, 0, 3]
    lists = written(tmp_path / "mine.parquet", sound=[[1.0, 2.0], None, [3.0, 4.0]])
    found = opened_parquet(lists)
    assert found.inputs["audio"].tolist() == [[1, 2], [0, 0], [3, 4]]
    assert found.present["audio"].tolist() == [True, False, True] and "view" not in found.present


@pytest.mark.filterwarnings("ignore::parse_p2p.core.errors.DataWarning")
def test_lines_are_counted_with_those_that_lack_something(tmp_path):
    said = refused(opened_csv, tmp_path, [*GAPS, "1,eva,2,x,dog"])
    assert "column 'sound' of" in said and "has the text 'x' in line 6" in said
    path = written(tmp_path / "mine.parquet", sound=[None, [1.0], [1.0, 2.0]])
    assert "has lists of 1 numbers, but of 2 in row 3" in refused(opened_parquet, path)


# what is wrong in a Parquet file

WRONG_COLUMNS = {
    "an empty cell": ({"v1_b": [1, None, 2]}, "column 'v1_b' of {} has a value that is empty, NaN or infinite in"),
    "an empty label": ({"y": ["a", "b", None]}, "column 'y' of {} has an empty cell in row 3"),
    "an empty shared label": ({"y": pa.array(["a", None, "a"]).dictionary_encode()}, "'y' of {} has an empty cell in"),
    "not a number": ({"v1_b": [1, 2, np.nan]}, "has a value that is empty, NaN or infinite in float32 in row 3"),
    "a decimal": ({"sound": [decimal.Decimal(1)] * 3}, "column 'sound' of {} is decimal128(1, 0); give whole numbers"),
    "a time": ({"sound": [datetime.datetime(2024, 1, 1)] * 3}, "column 'sound' of {} is timestamp[us]; give whole"),
    "bytes": ({"y": [b"a", b"b", b"a"]}, "column 'y' of {} is binary; give whole numbers or text"),
    "text": ({"sound": ["1", "2", "x"]}, "column 'sound' of {} has the text 'x' in row 3; give numbers"),
    "numbers as text": ({"sound": ["1", "2", "3"]}, "column 'sound' of {} has the text '1' in row 1; give numbers"),
    "unequal lists": ({"sound": [[1], [2], [3, 4]]}, "has lists of 1 numbers, but of 2 in row 3; cut or pad them"),
    "a gap in a list": ({"sound": [[1.0, 2.0], [None, 3.0], [2.0, 4.0]]}, "empty, NaN or infinite in float32 in row 2"),
    "empty lists": ({"sound": pa.array([[], [], []], pa.list_(pa.int8()))}, "'sound' of {} has empty lists; give at"),
    "lists of lists": ({"sound": [[[1]], [[1]], [[1]]]}, "column 'sound' of {} is list<"),
    "lists of text": ({"sound": [["a"], ["1"], ["1"]]}, "column 'sound' of {} has the text 'a' in row 1"),
    "a struct": ({"sound": [{"a": 1}] * 3}, "column 'sound' of {} is struct<a: int64>; give"),
}


@pytest.mark.parametrize(("changes", "said"), WRONG_COLUMNS.values(), ids=WRONG_COLUMNS)
def test_a_wrong_column_is_named_with_its_row(tmp_path, changes, said):
    path = written(tmp_path / "mine.parquet", **changes)
    assert said.format(path) in refused(opened_parquet, path)


def test_a_parquet_file_that_is_not_whole(tmp_path):
    path = written(tmp_path / "mine.parquet")
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"PAR1", whole[:4] + bytes(len(whole) - 100) + whole[-96:]):
        path.write_bytes(data)
        said = refused(opened_parquet, path)
        assert said.startswith(f"{path} cannot be read as a whole Parquet file (") and said.endswith("); save it again")


def test_a_parquet_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "absent.parquet", tmp_path):
        assert refused(opened_parquet, path) == (
            f"there is no Parquet file at {path}; correct the path or save the table there"
        )


def test_columns_are_asked_for_by_the_names_of_the_file(tmp_path):
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([0])], ["a", "a", "y"])
    assert "column 'a' stands twice in" in refused(opened_parquet, written(tmp_path / "mine.parquet", twice))
    path = written(tmp_path / "mine.parquet")
    assert "there is no column 'label' in" in refused(opened_parquet, path, target="label")
    assert "are inputs; besides y it has v1_a, who, v1_b, sound: write" in refused(opened_parquet, path, columns={})
    empty = written(tmp_path / "mine.parquet", pa.table(TABLE).slice(0, 0))
    assert f"data file {path} has no rows" in refused(opened_parquet, empty)


# by the way


def test_files_of_these_kinds_are_known_by_their_names(tmp_path):
    assert all(csv.recognises(tmp_path / name) for name in ("a.csv", "a.TSV"))
    assert not any(csv.recognises(tmp_path / name) for name in ("a.txt", "csv", ""))
    assert all(parquet.recognises(tmp_path / name) for name in ("a.parquet", "a.PQ"))
    assert not any(parquet.recognises(path) for path in (tmp_path, tmp_path / "absent", tmp_path / "a.csv"))
    written(tmp_path / "a.parquet")
    assert parquet.recognises(tmp_path)


@pytest.mark.parametrize(("module", "kind"), [(csv, "csv"), (parquet, "parquet")])
def test_without_pyarrow_its_package_is_named(tmp_path, monkeypatch, module, kind):
    monkeypatch.setitem(sys.modules, f"pyarrow.{kind}", None)
    with pytest.raises(ConfigError) as caught:
        module.open(module.Options(path=tmp_path), 0)
    assert str(caught.value) == f"{kind} needs the package pyarrow: pip install 'parse-p2p[tables]'"
