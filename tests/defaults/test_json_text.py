"""Editing JSON where it stands."""

from __future__ import annotations

import json

import pytest

from lmstrix.defaults import json_text

SPREAD = '{\r\n\t"a" : [1.50, {"b":1e3}],\r\n\t"c" : []\r\n}\r\n'


def edit(text: str, *keys: str, data: object) -> str:
    """Add `data` as item to the list, or as member `new` to the object, that `keys` lead to."""
    value = json_text.root_of(text)
    for key in keys:
        inner = json_text.member(text, value, key)
        assert inner is not None
        value = inner
    if isinstance(value.data, list):
        return json_text.with_item(text, value, data)
    return json_text.with_member(text, value, "new", data)


def test_a_value_is_replaced_and_all_around_it_stays():
    text = '{"a" :\t1.50 , "b":[ 2e0,3 ] , "c":null}'
    b = json_text.member(text, json_text.root_of(text), "b")
    assert b is not None
    first, _ = json_text.items(text, b)
    assert json_text.with_value(text, first, "x") == '{"a" :\t1.50 , "b":[ "x",3 ] , "c":null}'


def test_an_item_joins_others_in_their_manner():
    assert edit('{"a":[1,2]}', "a", data={"k": 3}) == '{"a":[1,2,{"k":3}]}'
    assert edit('{"a": [1, 2]}', "a", data={"k": 3}) == '{"a": [1, 2, {"k": 3}]}'
    assert edit('{\n "a": [\n  1\n ]\n}', "a", data=[2]) == (
        '{\n "a": [\n  1,\n  [\n   2\n  ]\n ]\n}'
    )


def test_an_empty_list_is_spread_as_the_rest_is():
    text = edit(SPREAD, "c", data={"k": 1})
    spread = '[\r\n\t\t{\r\n\t\t\t"k": 1\r\n\t\t}\r\n\t]'
    assert text == SPREAD.replace("[]", spread)
    assert edit('{"c":[]}', "c", data=1) == '{"c":[1]}'


def test_a_member_is_added_to_an_object_empty_or_not():
    assert edit("{}", data=1) == '{"new": 1}'
    assert edit('{"a":1}', data=2) == '{"a":1,"new":2}'
    assert json.loads(edit(SPREAD, data="ü")) == {"a": [1.5, {"b": 1000.0}], "c": [], "new": "ü"}
    assert '"ü"' in edit(SPREAD, data="ü")


def test_of_equal_keys_the_one_that_is_read_is_given():
    text = '{"a": 1, "a": 2}'
    value = json_text.member(text, json_text.root_of(text), "a")
    assert value is not None
    assert value.data == 2
    assert json_text.with_value(text, value, 3) == '{"a": 1, "a": 3}'


def test_a_byte_order_mark_stays():
    assert edit('\ufeff{"a": 1}', data=2) == '\ufeff{"a": 1, "new": 2}'


@pytest.mark.parametrize("text", ["", " ", "{", '{"a":1} x', '{"a":1}{}', "[" * 100_000, "\0\0\0"])
def test_what_is_no_json_is_refused(text: str):
    with pytest.raises(ValueError, match=r"."):
        json_text.root_of(text)
