"""Agent files, made up by a seed: what people write into their heads, in every combination."""

from __future__ import annotations

import random

DESCRIPTIONS = (
    "Does the work.",
    'Use it after an edit. Example: user: "I\'m done" assistant: "I\'ll look"',
    "Use this: when asked",
    "[draft] checks things",
    "{braces} and more",
    "Fixes issue #12 at once",
    "Half # with a comment",
    "*always* use it",
    "&anchored text",
    "!important work",
    "| a pipe",
    "> quoted",
    "%percent first",
    "@mentioned first",
    "`code` first",
    "-dash",
    "- dash and blank",
    "? asked",
    ": colon first",
    ", comma first",
    '"quoted whole"',
    "'single, it''s quoted'",
    '"half quoted',
    "it's half quoted",
    '"quoted" and more',
    "'quoted' and more",
    "back\\slash \\n and \\t",
    '"escaped \\"inside\\" it"',
    "null",
    "yes",
    "true",
    "12",
    "1.5",
    "2024-01-01",
    "0x1F",
    "~",
    "",
    "Prüft Änderungen — gründlich…",
    "検査する：変更",
    "emoji 🚀 here",
    "a --- b",
    "two  blanks\tand a tab",
    "trailing blanks   ",
    "<example>Context: a test. user: 'x'</example>",
    "https://example.com/a: b",
    "ends with a colon:",
    "|\n  A block: of text\n  # with signs",
    ">-\n  A folded: block\n  of text",
    "\n  on the next line",
    "\n  on the next line: with a colon",
    "begins here\n  and goes on: there",
    "begins here\nand goes on at the margin",
    '"two\n  lines"',
    "&a text",
    "*alias",
    "!!str 12",
    "[a, b]",
    "{a: b}",
)
MORE = (
    "",
    "tools: Read, Grep",
    "tools: [Read, Grep]",
    "tools:\n  - Read\n  - Grep",
    'tools: ["Read", "Grep"]',
    "tools: Read, Bash(git log:*), Grep",
    "tools: '*'",
    "tools: *",
    "tools: []",
    "tools:",
    "tools: Read Grep",
    "tools: [Read, Grep",
    "tools: Read # alone",
    'tools: "Read, Grep"',
    "tools: Read\ntools: Bash",
    "tools: mcp__server__tool, Read",
    "Tools: Read",
    "allowed-tools: Read",
    "allowedTools: Read",
    "disallowedTools: Bash",
    "disallowed_tools: Bash",
    "model: sonnet",
    "model: SONNET",
    "model: inherit",
    "model: claude-sonnet-5 # fast",
    "model:",
    "model: sonnet\ntools: Read",
    "color: red",
    "color: 7",
    "mode: subagent\nversion: 2",
    "permission: {edit: deny}",
    "permissionMode: plan",
    "permissionMode: all",
    "effort: high",
    "effort: HIGH",
    "effort: fast",
    "maxTurns: 5",
    'maxTurns: "5"',
    "maxTurns: 0",
    "memory: project",
    "background: true",
    'background: "true"',
    "skills: [a, b]",
    "hooks:\n  Stop:\n    - hooks:\n        - {type: command, command: 'true'}",
    "hooks: {pre: x}",
    "mcpServers: [one]",
    "mcpServers:\n  - srv: {command: 'true'}",
    "mcpServers: [{srv: 3}]",
    "# a comment",
    "\ttools: Read",
    "metadata:\n  tools: Read",
    "a line without a field",
    "x-note: \"a 'b' c",
)
NAMES = (
    "{}", "{}", "{}", "{}", "'{}'", '"{}"', "two {}", "परीक्षक-{}", "pru\u0308fer-{}", "{}.x_y",
    "_{}", "a/{}", "-{}", "a:{}", "{} # not the name",
)  # fmt: skip
ENDS = ("\n---\nDo it.\n",) * 6 + (
    "\n---\n",
    "\n--- \n\nDo it.\n",
    "\n",
    "\n---\nDo.\n---\nMore.\n",
)
FRAMES = ("{}",) * 8 + ("\ufeff{}", "\n{}", "CRLF{}", "# Title\n{}")


def made_up(number: int, seed: int) -> dict[str, bytes]:
    """Return so many agent files by their names: each oddity alone, then in combination."""
    dice = random.Random(seed)
    alone = [(text, "", "{}") for text in DESCRIPTIONS]
    alone += [("Does the work.", more, "{}") for more in MORE]
    alone += [("Does the work.", "tools: Read", name) for name in NAMES[4:]]
    found = {}
    for place in range(number):
        few = [dice.choice(DESCRIPTIONS), dice.choice(MORE), dice.choice(NAMES)]
        text, more, name = alone[place] if place < len(alone) else few
        lines = [
            f"name: {name.format(f'a{place:03}')}",
            f"description: {text}",
            *filter(None, [more]),
        ]
        end, frame = ENDS[0], FRAMES[0]
        if place >= len(alone):
            end, frame = dice.choice(ENDS), dice.choice(FRAMES)
            dice.shuffle(lines)
        file = frame.replace("{}", "---\n" + "\n".join(lines) + end)
        if file.startswith("CRLF"):
            file = file.removeprefix("CRLF").replace("\n", "\r\n")
        found[f"a{place:03}.md"] = file.encode()
    return found
