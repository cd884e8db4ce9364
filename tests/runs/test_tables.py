import csv
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazytorch.runs import RunDirectory


def test_a_table_comes_back_with_numbers_in_full(run):
    rows = [
        {"alpha": 0.1 + 0.2, "n": 2**60 + 1, "name": "a,b"},
        {"alpha": math.inf, "n": -3, "name": 'say "x"\nand\r\ny'},
        {"alpha": -math.inf, "n": 0, "name": "é"},
        {"alpha": 1e-300, "n": None, "name": "nano"},
    ]
    run.write_table("rates", rows)
    assert run.table("rates") == rows
    assert run.tables == ["rates"]
    assert all(type(a["n"]) is type(b["n"]) for a, b in zip(rows, run.table("rates"), strict=True))


def test_a_table_is_plain_csv(run):
    run.write_table("t", [{"b": 0.1, "a": None}, {"c": True, "b": math.nan, "a": "x"}])
    assert (run.path / "t.csv").read_bytes() == b"b,a,c\n0.1,,\nnan,x,True\n"
    row = run.table("t")[1]
    assert math.isnan(row["b"]) and row["a"] == "x" and row["c"] is True


def test_there_may_be_no_table_and_no_row(run):
    assert run.table("rates") == [] and run.tables == []
    run.write_table("rates", [])
    assert run.table("rates") == [] and run.tables == ["rates"]


def test_a_single_empty_cell_is_a_row(run):
    run.write_table("t", [{"a": None}, {"a": ""}, {"a": 1}])
    assert run.table("t") == [{"a": None}, {"a": None}, {"a": 1}]


numbers = st.integers() | st.floats(allow_nan=False) | st.booleans()
words = st.text().map(lambda text: "x" + text.replace("\0", ""))


@given(st.lists(st.fixed_dictionaries({"a": numbers, "b b": words, 'c,"': st.none() | numbers})))
def test_any_table_comes_back(tmp_path_factory, rows):
    run = RunDirectory(tmp_path_factory.getbasetemp() / "any")
    run.write_table("t", rows)
    assert run.table("t") == rows


@pytest.mark.parametrize("text", ["1_000", "0x10", "12e4567", "infinity", "1e", "٣", "-", "1 2", "true", "null"])
def test_a_string_that_is_no_number_stays_a_string(run, text):
    run.write_table("t", [{"a": text}])
    assert run.table("t") == [{"a": text}]


def test_an_integer_of_any_length_is_read(run):
    (run.path / "t.csv").write_text("a,b\n" + "1" * 5000 + ",1e5\n")
    assert run.table("t") == [{"a": "1" * 5000, "b": 1e5}]


@pytest.mark.parametrize("value", [[1], {}, 1j, b"x", object])
def test_other_values_are_refused_by_name_and_the_former_table_stays(run, value):
    run.write_table("t", [{"a": 1}])
    with pytest.raises(TypeError, match=f"a is a {type(value).__name__}; use"):
        run.write_table("t", [{"a": value}])
    assert run.table("t") == [{"a": 1}]


@pytest.mark.parametrize("text", ["a\0b", "x" * (csv.field_size_limit() + 1)])
def test_a_string_that_could_not_be_read_is_not_written(run, text):
    with pytest.raises(ValueError, match="a is .*; a table holds no"):
        run.write_table("t", [{"a": text}])
    assert run.tables == []


def test_rows_without_columns_are_refused(run):
    with pytest.raises(ValueError, match="the rows of .*t.csv are empty"):
        run.write_table("t", [{}, {}])


@pytest.mark.parametrize("name", ["", ".hidden", "../up", "a/b", "a\0", "a\n", "-a"])
def test_a_name_is_one_plain_file(run, name):
    for use in (run.table, lambda name: run.write_table(name, [])):
        with pytest.raises(ValueError, match="is no name of a table"):
            use(name)
