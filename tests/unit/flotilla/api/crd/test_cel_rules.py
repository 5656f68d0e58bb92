"""Rules in CEL: what they see, when they are asked, and how their failures are reported."""

from __future__ import annotations

from typing import Any

import pytest

from flotilla.api.crd.rules import OUT_OF_BUDGET, RuleRun, compile_rules
from flotilla.api.crd.structural import read_schema
from flotilla.api.crd.validation import MISSING
from flotilla.api.errors import FieldError
from flotilla.api.objects import KubeObject

_STRING = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_MAP = {"type": "object", "additionalProperties": {"type": "integer"}}
_NUMBERS = {"type": "array", "items": {"type": "integer"}}


def _root(*rules: KubeObject | str, **properties: Any) -> KubeObject:
    listed = [{"rule": rule} if isinstance(rule, str) else rule for rule in rules]
    return {"type": "object", "properties": properties, "x-kubernetes-validations": listed}


def _compile_faults(schema: KubeObject) -> list[str]:
    errors: list[FieldError] = []
    compile_rules(read_schema(schema), "", errors)
    return [str(error) for error in errors]


def _judged(schema: KubeObject, obj: KubeObject, old: Any = MISSING) -> list[str]:
    errors: list[FieldError] = []
    rules = compile_rules(read_schema(schema), "", errors)
    assert errors == []
    assert rules is not None
    return [str(error) for error in RuleRun().judge(obj, old, rules)]


@pytest.mark.parametrize(
    ("rule", "schema", "value"),
    [
        ("self.a <= self.b", {"a": {"type": "integer"}, "b": {"type": "integer"}}, {"a": 1, "b": 2}),
        ("!has(self.a) || self.a == 'x'", {"a": _STRING}, {}),
        ("self.a.all(x, x.startsWith('y'))", {"a": {"type": "array", "items": _STRING}}, {"a": ["y1", "y2"]}),
        ("self.m['a b'] == 1", {"m": _MAP}, {"m": {"a b": 1}}),
        ("self.n == 1.0 && self.n < 2", {"n": {"type": "number"}}, {"n": 1}),
        ("self.at > timestamp('2026-01-01T00:00:00Z')", {"at": _TIME}, {"at": "2026-02-01T00:00:00Z"}),
        ("self.d < duration('2h')", {"d": _STRING | {"format": "duration"}}, {"d": "90m"}),
        ("self.day < timestamp('2026-03-01T00:00:00Z')", {"day": _STRING | {"format": "date"}}, {"day": "2026-02-01"}),
        ("self.raw == b'hello'", {"raw": _STRING | {"format": "byte"}}, {"raw": "aGVsbG8="}),
        ("self.p == '80' || self.p == 80", {"p": {"x-kubernetes-int-or-string": True}}, {"p": 80}),
        ("self.metadata.name.startsWith('w') && self.kind == 'Widget'", {}, {}),
        ("self.__namespace__ == 'x' && self.a__dash__b == 1 && self.c__underscores__d == 2",
         {"namespace": _STRING, "a-b": {"type": "integer"}, "c__d": {"type": "integer"}},
         {"namespace": "x", "a-b": 1, "c__d": 2}),
        ("self.?a.orValue('z') == 'z'", {"a": _STRING}, {}),
        ("self.a.matches('^[a-z]+$') && self.a.find('[0-9]') == ''", {"a": _STRING}, {"a": "abc"}),
        ("self.a.lowerAscii().split(',').size() == 2", {"a": _STRING}, {"a": "A,B"}),
        ("self.a.replace('a', 'b').substring(1).trim().upperAscii() == 'BC'", {"a": _STRING}, {"a": "xac"}),
        ("['a', 'b'].join('-') == 'a-b' && 'a'.charAt(0) == 'a' && 'abc'.indexOf('c') == 2", {}, {}),
        ("'%s is %d'.format([self.a, 3]) == 'x is 3'", {"a": _STRING}, {"a": "x"}),
        ("[1, 2, 3].isSorted() && [1, 2].sum() == 3 && [4, 2].min() == 2 && [4, 2].max() == 4", {}, {}),
        ("[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2", {}, {}),
        ("sets.contains([1, 2], [2]) && sets.equivalent([1], [1, 1]) && !sets.intersects([1], [2])", {}, {}),
        ("quantity(self.q).isGreaterThan(quantity('500Mi'))", {"q": _STRING}, {"q": "1Gi"}),
        ("quantity('1') == quantity('1000m') && isQuantity('1Gi') && !isQuantity('x')", {}, {}),
        ("quantity('2').add(1).asInteger() == 3 && quantity('-1').sign() == -1", {}, {}),
        ("quantity('1').compareTo(quantity('2')) == -1 && quantity('5').sub(quantity('3')).isInteger()", {}, {}),
        ("isIP('10.0.0.1') && ip('::1').family() == 6 && ip('127.0.0.1').isLoopback()", {}, {}),
        ("cidr('10.0.0.0/8').containsIP('10.1.1.1') && cidr('10.0.0.0/8').prefixLength() == 8", {}, {}),
        ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0')", {}, {}),
        ("ip.isCanonical('::1') && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')", {}, {}),
        ("url('https://h:80/a?b=c').getHost() == 'h:80' && isURL('https://x') && !isURL('x')", {}, {}),
        ("url('https://h:8/a').getPort() == '8' && url('https://h/a?q=1').getQuery()['q'][0] == '1'", {}, {}),
        ("semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').isLessThan(semver('1.0.0'))", {}, {}),
        ("isSemver('1.2.3') && !isSemver('v1.2') && semver('v1.2', true).minor() == 2", {}, {}),
        ("!format.dns1123Label().validate(self.a).hasValue()", {"a": _STRING}, {"a": "ab-c"}),
        ("format.dns1123Label().validate('(').value()[0].startsWith('a lowercase')", {}, {}),
        ("format.named('x').hasValue() == false && format.named('uri').hasValue()", {}, {}),
        ("format.named(self.a).optMap(f, f.validate('no)').orValue([]).size()).orValue(7) == 1",
         {"a": _STRING}, {"a": "uuid"}),
        ("self.l.all(x, !format.qualifiedName().validate(x).hasValue())",
         {"l": {"type": "array", "items": _STRING}}, {"l": ["a/b", "c"]}),
    ],
)  # fmt: skip
def test_rules_see_typed_values(rule: str, schema: KubeObject, value: KubeObject) -> None:
    """A rule that holds must pass: values have the types of their schema, Kubernetes' functions are there."""
    obj = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}} | value
    assert _judged(_root(rule, **schema), obj) == []


def test_failures_are_reported_as_the_rule_says() -> None:
    """Message, expression, reason and place of a failure must be those of the rule."""
    spec = _root(
        "self.a > 0",
        {"rule": "self.a > 0", "message": "too small"},
        {"rule": "self.a > 0", "messageExpression": "'is ' + string(self.a)"},
        {"rule": "self.a > 0", "messageExpression": "self.none", "message": "fallback"}
        | {"messageExpression": "['x'][self.a + 5]"},
        {"rule": "self.a > 0", "message": "must", "reason": "FieldValueRequired", "fieldPath": ".b"},
        {"rule": "self.a > 0", "message": "not so", "reason": "FieldValueForbidden"},
        {"rule": "self.a > 0", "reason": "FieldValueDuplicate"},
        a={"type": "integer"},
        b=_STRING,
    )
    assert _judged({"type": "object", "properties": {"spec": spec}}, {"spec": {"a": 0}}) == [
        'spec: Invalid value: "object": failed rule: self.a > 0',
        'spec: Invalid value: "object": too small',
        'spec: Invalid value: "object": is 0',
        'spec: Invalid value: "object": fallback',
        "spec.b: Required value: must",
        "spec: Forbidden: not so",
        'spec: Duplicate value: "object"',
    ]


def test_a_rule_without_a_value_fails() -> None:
    """A rule that can't be evaluated must refuse the object and say why."""
    (fault,) = _judged(_root("self.a == 1", a={"type": "integer"}), {})
    assert fault == '<nil>: Invalid value: "object": no such key: a evaluating rule: self.a == 1'


def test_transition_rules_are_asked_on_updates_only() -> None:
    """A rule about oldSelf must be asked where there is an old value, also in lists that are maps."""
    immutable = _STRING | {"x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "immutable"}]}
    items = {"type": "object", "properties": {"name": _STRING, "value": immutable}}
    lists = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    schema = {"type": "object", "properties": {"a": immutable, "l": {"type": "array", "items": items} | lists}}
    assert _judged(schema, {"a": "x"}) == []
    assert _judged(schema, {"a": "x"}, {}) == []
    assert _judged(schema, {"a": "x"}, {"a": "x"}) == []
    assert _judged(schema, {"a": "y"}, {"a": "x"}) == ['a: Invalid value: "string": immutable']
    old = {"l": [{"name": "p", "value": "1"}, {"name": "q", "value": "2"}]}
    assert _judged(schema, {"l": list(reversed(old["l"]))}, old) == []
    changed = {"l": [{"name": "q", "value": "3"}, {"name": "n", "value": "9"}]}
    assert _judged(schema, changed, old) == ['l[0].value: Invalid value: "string": immutable']


def test_optional_old_values() -> None:
    """With optionalOldSelf a rule must be asked always, its old value being an optional."""
    rule = {"rule": "!oldSelf.hasValue() || self.a >= oldSelf.value().a", "optionalOldSelf": True}
    schema = _root(rule, a={"type": "integer"})
    assert _judged(schema, {"a": 1}) == []
    assert _judged(schema, {"a": 2}, {"a": 1}) == []
    assert len(_judged(schema, {"a": 1}, {"a": 2})) == 1
    only_at_creation = {"rule": "oldSelf.hasValue() || self.a == 1", "optionalOldSelf": True}
    assert len(_judged(_root(only_at_creation, a={"type": "integer"}), {"a": 2})) == 1


def test_unchanged_values_are_not_asked_about() -> None:
    """A rule that came later must not keep an old object from being edited elsewhere."""
    schema = {"type": "object", "properties": {"spec": _root("self.a > 5", a={"type": "integer"}), "x": _STRING}}
    assert _judged(schema, {"spec": {"a": 1}, "x": "y"}, {"spec": {"a": 1}, "x": "z"}) == []
    assert len(_judged(schema, {"spec": {"a": 2}}, {"spec": {"a": 1}})) == 1


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({"rule": ""}, ".x-kubernetes-validations[0].rule: Required value: rule is not specified"),
        ({"rule": "self.a >"}, "compilation failed: ERROR: <input>:1:9: Syntax error"),
        ({"rule": "self.a"}, ""),
        ({"rule": "1 + 1"}, "must evaluate to a bool"),
        ({"rule": "nothing(self)"}, "undeclared reference to 'nothing'"),
        ({"rule": "self.zzz == 1"}, "undefined field 'zzz'"),
        ({"rule": "has(self.zzz)"}, "undefined field 'zzz'"),
        ({"rule": "self.o.b.c == 'self.zzz'"}, "undefined field 'c'"),
        ({"rule": "self.a == 1", "messageExpression": "1"}, ".messageExpression: Invalid value"),
        ({"rule": "self.a == 1", "message": "a\nb"}, "message must not contain line breaks"),
        ({"rule": "self.a ==\n1"}, "message must be specified if rule contains line breaks"),
        ({"rule": "self.a == 1", "reason": "Because"}, '.reason: Unsupported value: "Because"'),
        ({"rule": "self.a == 1", "fieldPath": ".none"}, ".fieldPath: Invalid value"),
    ],
)
def test_bad_rules_are_refused_with_the_definition(rule: KubeObject, fault: str) -> None:
    """A rule that could never be evaluated must be found when it is written."""
    found = _compile_faults(_root(rule, a={"type": "integer"}, o={"type": "object", "properties": {"b": _root()}}))
    assert (not found) if not fault else any(fault in each for each in found), found


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("dns1123Label", "a-b", "a.b"),
        ("dns1123Subdomain", "a.b", "a_b"),
        ("dns1035Label", "a1", "1a"),
        ("qualifiedName", "example.com/A_b", "a/b/c"),
        ("dns1123LabelPrefix", "web-", "-web"),
        ("dns1123SubdomainPrefix", "a.web-", "a..b"),
        ("dns1035LabelPrefix", "web-", "12-"),
        ("labelValue", "", "a b"),
        ("uri", "http://h/p", "h p"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
        ("byte", "aGVsbG8=", "?"),
        ("date", "2026-01-02", "2026-13-01"),
        ("datetime", "2026-01-02T03:04:05Z", "2026-01-02"),
    ],
)
def test_named_formats(name: str, good: str, bad: str) -> None:
    """Each format must take what Kubernetes takes, and say what is wrong with the rest."""
    rule = f"format.{name}().validate(self.a)"
    schema = _root({"rule": f"!{rule}.hasValue()", "messageExpression": f"{rule}.value().join('; ')"}, a=_STRING)
    assert _judged(schema, {"a": good}) == []
    (fault,) = _judged(schema, {"a": bad})
    assert "format." not in fault


def test_old_values_need_a_counterpart() -> None:
    """A transition rule inside of a list whose items can't be told apart must be refused."""
    items = {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}
    found = _compile_faults({"type": "object", "properties": {"l": {"type": "array", "items": items}}})
    assert len(found) == 1
    assert "oldSelf cannot be used on the uncorrelatable portion of the schema" in found[0]


def test_a_rule_can_not_hold_the_loop() -> None:
    """A rule that walks through too much must end in a fault, soon."""
    schema = _root(
        "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))", l={"type": "array", "items": {"type": "integer"}}
    )
    faults = _judged(schema, {"l": list(range(1000))})
    assert faults == [f'<nil>: Invalid value: "object": {OUT_OF_BUDGET}']


def test_what_functions_build_is_bounded() -> None:
    """A function must not make a huge text out of a small one."""
    schema = _root("self.a.replace('', self.a).size() > 0", a=_STRING)
    (fault,) = _judged(schema, {"a": "x" * 100_000})
    assert "the result is too long" in fault
