from urllib.parse import unquote

import pytest

from gateway._router import Clash, Match, Router
from gateway._template import parse_template


def find(router: Router[str], method: str, path: str) -> Match[str] | None:
    return router.find(method, unquote(path), path.encode())


def router_of(*rules: tuple[str, str]) -> Router[str]:
    router: Router[str] = Router()
    for method, template in rules:
        router.add(method, parse_template(template), template)
    return router


@pytest.mark.parametrize(
    ("templates", "path", "found", "captures"),
    [
        (["/a/b", "/a/{x}"], "/a/b", "/a/b", ()),
        (["/a/{x}", "/a/b"], "/a/b", "/a/b", ()),
        (["/a/{x}", "/a/b"], "/a/c", "/a/{x}", ("c",)),
        (["/a/{x=**}", "/a/{x}"], "/a/c", "/a/{x}", ("c",)),
        (["/a/{x=**}", "/a/{x}"], "/a/c/d", "/a/{x=**}", ("c/d",)),
        (["/a/{x=**}"], "/a", "/a/{x=**}", ("",)),
        (["/a/*/c", "/a/b/*"], "/a/b/c", "/a/b/*", ()),
        (["/a/*/c", "/a/b/d"], "/a/b/c", "/a/*/c", ()),
        (["/a/{x}/c/{y}"], "/a/1/c/2", "/a/{x}/c/{y}", ("1", "2")),
        (["/{x=a/*}/{y}"], "/a/1/2", "/{x=a/*}/{y}", ("a/1", "2")),
        (["/a/{x}:go", "/a/{x}"], "/a/1:go", "/a/{x}:go", ("1",)),
        (["/a/{x}:go", "/a/{x}"], "/a/1:stop", "/a/{x}", ("1:stop",)),
        (["/a:go"], "/a:go", "/a:go", ()),
        (["/a/{x}"], "/a/%41%2Fb", "/a/{x}", ("A/b",)),
        (["/a/{x}"], "/a/%C3%A9", "/a/{x}", ("é",)),
        (["/a/{x=**}"], "/a/b%2Fc/%41", "/a/{x=**}", ("b%2Fc/A",)),
        (["/a/b"], "/a/%62", "/a/b", ()),
        (["/a/%2A"], "/a/*", "/a/%2A", ()),
        (["/a/{x=b}"], "/a/b", "/a/{x=b}", ("b",)),
        (["/{x=a/b}/{y=c}:go"], "/a/b/c:go", "/{x=a/b}/{y=c}:go", ("a/b", "c")),
    ],
)
def test_path_finds_its_template(templates: list[str], path: str, found: str, captures: tuple[str, ...]) -> None:
    match = find(router_of(*(("GET", template) for template in templates)), "GET", path)
    assert match == Match(found, captures)


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/a/b", "/a/b/"),
        ("/a/b", "/a//b"),
        ("/a/b", "/a%2Fb"),
        ("/a/b", "/A/b"),
        ("/a/{x}", "/a/"),
        ("/a/{x}", "/a"),
        ("/a/{x}", "/a/b/c"),
        ("/a/{x}:go", "/a/:go"),
        ("/a/{x}:go", "/a/b"),
        ("/a/*", "/"),
    ],
)
def test_path_beside_the_template_is_not_found(template: str, path: str) -> None:
    assert find(router_of(("GET", template)), "GET", path) is None


def test_capture_that_is_not_utf8_is_refused() -> None:
    match = find(router_of(("GET", "/a/{x}")), "GET", "/a/%ff")
    assert match is not None
    assert "UTF-8" in str(match.refusal)


def test_head_finds_the_rule_of_get() -> None:
    router = router_of(("GET", "/a"), ("GET", "/b/{x}"))
    assert find(router, "HEAD", "/a") == Match("/a")
    assert find(router, "HEAD", "/b/1") == Match("/b/{x}", ("1",))


def test_rule_for_any_method_comes_after_those_that_name_theirs() -> None:
    router: Router[str] = Router()
    router.add("*", parse_template("/a"), "any")
    router.add("GET", parse_template("/a"), "get")
    assert [find(router, method, "/a") for method in ("GET", "HEAD", "LINK")] == [
        Match("get"),
        Match("get"),
        Match("any"),
    ]


def test_method_without_a_rule_is_not_found_but_the_others_are_known() -> None:
    router = router_of(("GET", "/a/{x}"), ("PUT", "/a/b"), ("POST", "/c"))
    assert find(router, "DELETE", "/a/b") is None
    assert router.allowed(b"/a/b") == {"GET", "PUT"}
    assert router.allowed(b"/d") == frozenset()


@pytest.mark.parametrize(("first", "second"), [("/a/{x}", "/a/{y}"), ("/a/*", "/a/{y}"), ("/a/b", "/a/%62")])
def test_two_rules_of_one_shape_are_a_clash_that_names_both(first: str, second: str) -> None:
    router: Router[str] = Router()
    router.add("GET", parse_template(first), "First")
    router.add("POST", parse_template(second), "Other")
    with pytest.raises(Clash, match="First and Second both serve GET /a/"):
        router.add("GET", parse_template(second), "Second")
