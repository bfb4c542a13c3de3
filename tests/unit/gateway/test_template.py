import pytest

from gateway._template import BadTemplate, Segment, Template, Variable, Wildcard, parse_template

ONE, REST = Wildcard.ONE, Wildcard.REST


@pytest.mark.parametrize(
    ("text", "segments", "variables", "verb"),
    [
        ("/v1", ("v1",), (), ""),
        ("/v1/instances/me", ("v1", "instances", "me"), (), ""),
        ("/v1/_search", ("v1", "_search"), (), ""),
        ("/v1/*/me", ("v1", ONE, "me"), (), ""),
        ("/v1/**", ("v1", REST), (), ""),
        ("/v1/{name}", ("v1", ONE), (Variable("name", 1, 2),), ""),
        ("/v1/{name=*}", ("v1", ONE), (Variable("name", 1, 2),), ""),
        ("/v1/{a.b_c.d}", ("v1", ONE), (Variable("a.b_c.d", 1, 2),), ""),
        ("/v1/{name=**}", ("v1", REST), (Variable("name", 1, 2, multi=True),), ""),
        ("/v1/{name=a/*}", ("v1", "a", ONE), (Variable("name", 1, 3, multi=True),), ""),
        ("/v1/{name=a}", ("v1", "a"), (Variable("name", 1, 2),), ""),
        ("/v1/{a}/x/{b=c/**}", ("v1", ONE, "x", "c", REST), (Variable("a", 1, 2), Variable("b", 3, 5, multi=True)), ""),
        ("/v1/{name=a/*/b/*}:cancel", ("v1", "a", ONE, "b", ONE), (Variable("name", 1, 5, multi=True),), "cancel"),
        ("/v1/things:batchGet", ("v1", "things"), (), "batchGet"),
        ("/v1/**:undo", ("v1", REST), (), "undo"),
        ("/v1/a%20b", ("v1", "a b"), (), ""),
        ("/v1/%2A", ("v1", "*"), (), ""),
    ],
)
def test_template_of_the_grammar_parses(
    text: str, segments: tuple[Segment, ...], variables: tuple[Variable, ...], verb: str
) -> None:
    assert parse_template(text) == Template(segments, variables, verb)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v1",
        "/",
        "//",
        "/v1/",
        "/v1//a",
        "/v1/{",
        "/v1/{}",
        "/v1/{a",
        "/v1/{a}}",
        "/v1/{a=}",
        "/v1/{a=b/{c}}",
        "/v1/{1a}",
        "/v1/{a.}",
        "/v1/{.a}",
        "/v1/{a..b}",
        "/v1/{a}b",
        "/v1/{a}{b}",
        "/v1/{a}/{a}",
        "/v1/**/b",
        "/v1/{a=**}/b",
        "/v1/{a=**/b}",
        "/v1/***",
        "/v1/a*",
        "/v1/a:",
        "/v1/a:b:c",
        "/v1/a:b/c",
        "/v1/a:{b}",
        "/v1/a b",
        "/v1/a?b",
        "/v1/a#b",
        "/v1/%zz",
        "/v1/é",
    ],
)
def test_template_beside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(BadTemplate):
        parse_template(text)


def test_error_says_where_the_template_is_wrong() -> None:
    with pytest.raises(BadTemplate, match=r"'/v1/\{a=b' is wrong at character 8: '\}' is missing"):
        parse_template("/v1/{a=b")


def test_shape_leaves_out_the_names_of_variables() -> None:
    assert parse_template("/v1/{a=x/*}/{b}:go").shape == "/v1/x/*/*:go"
