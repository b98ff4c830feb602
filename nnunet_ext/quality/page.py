"""The page: a table of all cases, suspicious ones first, in one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from nnunet_ext.quality.case_quality import CaseQuality, suspicious_first
from nnunet_ext.quality.picture import colour
from nnunet_ext.quality.reason import THRESHOLD, Reason
from nnunet_ext.quality.wording import amount

# a browser that finds a mistake of ours in the escaping still loads and sends nothing
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; form-action 'none'"
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; color: #1c1c1c }
table { border-collapse: collapse; width: 100% }
th { text-align: left; position: sticky; top: 0; background: #fff; border-bottom: 2px solid #444; padding: .4rem }
th button { font: inherit; font-weight: 600; border: 0; background: none; padding: 0; cursor: pointer }
td { vertical-align: top; border-bottom: 1px solid #ddd; padding: .5rem .4rem }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap }
tr.suspicious td.number { color: #b3261e; font-weight: 600 }
img { display: block; background: #000 }
ul { margin: 0; padding-left: 1.1rem }
li.weak { color: #6b6b6b }
.bar { height: 6px; width: 90px; background: #e4e4e4 }
.bar span { display: block; height: 6px; background: #b3261e }
.legend span { display: inline-block; margin-right: 1rem }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .3em }
.sizes { white-space: nowrap; font-variant-numeric: tabular-nums }
"""
SCRIPT = """
document.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => {
  const key = button.dataset.key, body = document.querySelector("tbody");
  const down = button.dataset.down !== "true";
  button.dataset.down = down;
  const value = row => key === "case" ? row.dataset.case : Number(row.dataset[key]);
  const rows = [...body.rows].sort((a, b) => {
    const one = value(a), other = value(b);
    const order = key === "case" ? other.localeCompare(one, undefined, {numeric: true}) : one - other;
    return down ? -order : order;
  });
  body.append(...rows);
}));
"""
COLUMNS = {"suspicion": "suspicion", "case": "case", "reasons": "reasons", "size": "size of classes"}


def page(
    cases: Sequence[CaseQuality],
    names: Mapping[int, str],
    *,
    title: str,
    facts: Mapping[str, str],
    widest: int = 256,
) -> str:
    """Return the page as HTML.

    It is sorted; the headers sort it otherwise, if the browser runs scripts.

    Args:
        cases: In any order.
        names: Class names by the labels in the pictures, for the legend.
        title: Heading.
        facts: Lines below the heading, such as the model and the folders.
        widest: Pixels that a picture is shown in at most.

    Returns:
        HTML in which all text is escaped, with pictures, style and script inside.
    """
    suspicious = sum(case.is_suspicious for case in cases)
    summary = (
        f"{suspicious} of {len(cases)} cases have a suspicion of {THRESHOLD:g} or more. Suspicion is that of a case's "
        f"strongest reason; weaker ones are grey. It tells where to look first, not what is wrong."
    )
    facts_html = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())
    legend = "".join(
        f'<span><i style="background:{colour(label)}"></i>{escape(name)}</span>' for label, name in names.items()
    )
    heads = "".join(
        f'<th><button data-key="{key}" type="button">{heading}</button></th>' for key, heading in COLUMNS.items()
    )
    rows = "\n".join(map(_row, suspicious_first(list(cases))))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<style>{STYLE}img {{ max-width: {widest}px }}
</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{escape(summary)}</p>
<dl>{facts_html}</dl>
<p class="legend">{legend}</p>
<table>
<thead><tr>{heads}<th>picture</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _row(case: CaseQuality) -> str:
    name, reasons = escape(case.name), case.strongest_first()
    total = sum(case.sizes.values())
    listed = "".join(map(_item, reasons)) or "<li class=weak>nothing unusual</li>"
    sizes = "<br>".join(f"{escape(each)}: {amount(size)} {escape(case.unit)}" for each, size in case.sizes.items())
    image = "" if case.picture is None else f'<img alt="slice of {name}" src="{case.picture}">'
    return (
        f'<tr class="{"suspicious" if case.is_suspicious else "usual"}" data-case="{name}" '
        f'data-suspicion="{case.suspicion:.4f}" data-reasons="{len(reasons)}" data-size="{total:.6g}">'
        f'<td class="number">{case.suspicion:.2f}<div class="bar"><span style="width:{100 * case.suspicion:.0f}%">'
        f"</span></div></td><td>{name}</td><td><ul>{listed}</ul></td>"
        f'<td class="sizes">{sizes}</td><td>{image}</td></tr>'
    )


def _item(reason: Reason) -> str:
    weak = "" if reason.suspicion >= THRESHOLD else ' class="weak"'
    return f"<li{weak}>{escape(reason.text)}</li>"
