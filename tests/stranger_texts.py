"""Names that strangers may have given a layer or a file: what a log, Markdown, HTML or a terminal reads as more."""

from hypothesis import strategies

MARKUP = [
    "@octocat", "@octo-org/team", "a@b.example", "https://evil.example/x", "HTTP://EVIL.EXAMPLE", "www.evil.example",
    "ftp://x.example", "mailto:a@b.example", "<https://evil.example>", "#12", "GH-12", "octo/repo#3",
    "octo/repo@1a2b3c4", "0123456789abcdef0123456789abcdef01234567", ":smile:", ":+1:", "[a](https://evil.example)",
    "![a](x.png)", "[x]: https://evil.example", "[^1]", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    "<!-- c -->", "</details>", "</td></tr></table>", "a|b", "\\|", "\\\\|", "`code`", "``", "`", "\\", "\\`",
    "$x^2$", "$`x`$", "$$", "**bold**", "_it_", "__b__", "~~gone~~", "~", "&lt;b&gt;", "&#64;octocat", "&amp;",
    "\\@octocat", "# head", "- item", "1. one", "> quote", "---", "| a | b |", "```", "    code", "* * *", "=",
    "[ ] task", "_www.evil.example", "{{ x }}", "${{ github.token }}",
]  # fmt: skip
COMMANDS = [
    "::error::x", "::set-output name=a::b", "::add-mask::x", "::stop-commands::x", "##[error]x",
    "##[set-output name=a;]b", "##[add-mask]secret", "%0A::error::x", "%25", "%3A%3A", "\n::error::x",
    "\r\n::error::x", "\x1b[31m", "\u2028::error::x", "\u202e", "\x85::error::x", ",file=x", ",line=9", "title=x",
    "a:b,c=d", "::", "##[", "]]>",
]  # fmt: skip
ORDINARY = [
    "conv1", "block1_conv1", "layers.0.conv", "/model/stem/Conv", "größe", "卷积", "weights: 3 of 9", "1,024", "a b",
]  # fmt: skip

FRAGMENTS = [*MARKUP, *COMMANDS, *ORDINARY]
texts = strategies.lists(strategies.sampled_from(FRAGMENTS) | strategies.text(max_size=6), max_size=5).map("".join)
"""Fragments, one behind the other, with anything between."""
