"""What one rendering may cost."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from active_call.agent.playbook.templates import render

DOUBLED = "{% set a = 'x' %}"


@pytest.mark.parametrize(
    "template",
    [
        DOUBLED + "{% set a = a ~ a %}" * 24 + "{{ a | length }}",
        DOUBLED + "{% set a = a + a %}" * 24 + "{{ a | length }}",
        DOUBLED + "{% set a %}{{ a }}{{ a }}{% endset %}" * 24 + "{{ a | length }}",
        DOUBLED + "{% set a = [a, a] | join %}" * 24,
        DOUBLED + "{% set a = a | replace('x', 'xx') %}" * 24,
        "{% set a = [1] %}" + "{% set a = a + a %}" * 24 + "{{ a | length }}",
        "{% set a = [1] %}" + "{% set a = [a, a] %}" * 30 + "{{ a }}",
        "{% set a = [1] %}" + "{% set a = {'x': a, 'y': a} %}" * 30 + "{{ a | tojson }}",
        "{% set a = [1] %}" + "{% set a = (a, a) %}" * 30 + "{{ a == a }}",
        "{% set a %}{% for i in range(1000) %}{% for j in range(1000) %}"
        + "y" * 500
        + "{% endfor %}{% endfor %}{% endset %}{{ a | length }}",
        "{% for i in range(1000) %}{% for j in range(1000) %}{% set b = i * j %}{% endfor %}{% endfor %}",
        "{{ '{:>99999999}'.format('a') }}",
        "{{ '%*d' | format(99999999, 1) }}",
        "{{ (1).to_bytes(99999999, 'big') }}",
        "{{ 1.5 | round(99999999, 'floor') }}",
        "{{ ['a', 'b'] | sum(start='') }}",
        "{{ [[1], [2]] | sum(start=[]) }}",
        "{{ 'x' | center(99999999) }}{{ 'x' | indent(99999999) }}",
        "{{ _meter.spend(-1) }}",
        "{% block a %}{{ self.b() }}{{ self.b() }}{% endblock %}{% block b %}x{% endblock %}",
        "{{ v | replace('x', v) }}",
        "{{ (v ~ v) | urlencode }}",
        "{% set _meter = 1 %}{{ 1 }}",
        "{% for i in range(1000) %}{% set b = v.split('x') %}{% endfor %}",
        "{% for i in range(1000) %}{% for j in range(9) %}{% set b = v.upper() %}{% endfor %}{% endfor %}",
        "{% for i in range(1000) %}{% for j in range(9) %}{% set b = 'x'.find(v) %}{% endfor %}{% endfor %}",
        "{% for i in range(1000) %}{% for j in range(9) %}{% if 'xxxxxxxxxxxxxxxy' in v %}{% endif %}{% endfor %}{% endfor %}",
        "{% for i in range(1000) %}{% for j in range(9) %}{% if v in 'xy' %}{% endif %}{% endfor %}{% endfor %}",
        "{% for i in range(1000) %}{% for j in range(9) %}{% set b = v[1:] %}{% endfor %}{% endfor %}",
        "{% set l = v.split('x') %}{% for i in range(100) %}{% if l.index('y') %}{% endif %}{% endfor %}",
        "{% set l = v.replace('x', 'x ').split() %}{% for i in range(1000) %}{% if 'y' in l %}{% endif %}{% endfor %}",
        "{{ v }}" * 2000,
        "{{ " + "v ~ " * 10_000 + "v }}",
    ],
)
def test_greedy_template_costs_little_and_is_told(template):
    render("{{ 1 }}", {}, {})
    tracemalloc.start()
    before = time.process_time()
    found = render("Hello. " + template, {"v": "x" * 60_000}, {})
    spent = time.process_time() - before
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.error
    assert peak < 12_000_000
    assert spent < 5.0  # tracing is slow


def test_ordinary_template_that_compares_and_looks_up_is_rendered_in_full():
    template = (
        "{% for slot in slots %}{% if slot.name not in taken and slot.name[:1].upper() == 'S' %}{{ slot.name }} {% endif %}{% endfor %}"
    )
    slots = [{"name": f"s{n}"} for n in range(300)]
    found = render(template, {"slots": slots, "taken": [f"s{n}" for n in range(0, 300, 2)]}, {})
    assert found.error == "" and len(found.text.split()) == 150
    prompt = "word " * 12_000
    assert render("{% if 'word' in p and p.split()|length > 9 %}{{ p.split()[1] }}{% endif %}", {"p": prompt}, {}).text == "word"


def test_ordinary_template_is_rendered_in_full():
    template = "{% for f in flowers | sort %}{{ loop.index }}/{{ loop.length }} {{ f.name | title }}{{ ', ' if not loop.last }}{% endfor %}"
    assert (
        render(template.replace(" | sort", ""), {"flowers": [{"name": "red rose"}, {"name": "tulip"}]}, {}).text
        == "1/2 Red Rose, 2/2 Tulip"
    )
    assert (
        render("{{ [1, 2, 3] | sum }} {{ ['a', 'b'] | join(', ') }} {{ 'a' + 'b' }} {{ {'a': 1}.a }} {{ (1, 2)[1] }}", {}, {}).text
        == "6 a, b ab 1 2"
    )
    assert render("{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", {"d": {"a": 1, "b": 2}}, {}).text == "a=1;b=2;"
    assert (
        render("{{ l | map('upper') | join }}{{ 2.345 | round(1) }}{{ l | map(attribute=0) | list }}", {"l": ["ab"]}, {}).text
        == "AB2.3['a']"
    )
