"""Texts that would do something if they were taken for more than text, each of which would set `window.pwned`."""

from __future__ import annotations

RUN = "window.pwned=1"
STRINGS = {
    "script": f"<script>{RUN}</script>",
    "onerror": f'<img src=x onerror="{RUN}">',
    "onload": f"<svg onload={RUN}>",
    "quotes": f"\"><img src=x onerror='{RUN}'>",
    "attribute": f"' onmouseover='{RUN}' autofocus onfocus='{RUN}' x='",
    "closing": f"</td></tr></table></div><script>{RUN}</script>",
    "closing title": f"</title></svg></text><script>{RUN}</script>",
    "closing code": f"</textarea></code></pre></script><script>{RUN}</script>",
    "comment": f"--><script>{RUN}</script><!--",
    "style": "<style>.sage, .jp-OutputArea { display: none }</style>",
    "style attribute": '<b style="position:fixed;inset:0">over all</b>',
    "url": f'<a href="javascript:{RUN}">javascript:{RUN}</a>',
    "frame": f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    "formula": f"$$\\href{{javascript:{RUN}}}{{press}}$$ and $x^2$",
    "template": f"{{{{constructor.constructor('{RUN}')()}}}} ${{{RUN}}} <%= 1 %>",
    "entity": f"&lt;script&gt;{RUN}&lt;/script&gt; &#60;b&#62;",
    "markdown": f"[press](javascript:{RUN}) ![x](x) <details open ontoggle={RUN}>",
    "latex": "\\input{/etc/passwd} \\write18{id} %_&#~^",
    "nul": "before\x00after \x07\x1b[31mred\x1b[0m",
    "turned": "\u202egnp.txt\u202c \u2066mixed\u2069 \u200f\u0639\u0631\u0628\u064a\u200f",
    "surrogate": "half a pair \ud83d and \udcff",
    "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1ea\U0001f1fa e\u0301\u0301 \ufdfd \U0001d569",
    "separators": "one\u2028two\u2029three\u0085four",
    "long": "x" * 100_000,
    "long line": f"<b>{'word & ' * 14_000}</b>",
}
