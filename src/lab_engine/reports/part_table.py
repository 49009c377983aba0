"""The metrics that have a value for each part, in the report of a run."""

import math
from collections.abc import Mapping

from markupsafe import Markup

from lab_engine.artifacts.results import by_part
from lab_engine.base.wording import metric
from lab_engine.training.interface import Section

TABLE = Markup("""
<section>
  <h2 id="parts">{title}</h2>
  <div class="scroll" role="region" aria-labelledby="parts" tabindex="0">
  <table>
    <thead><tr><th scope="col">name</th>{heads}</tr></thead>
    <tbody>{rows}</tbody>
  </table>
  </div>
</section>
""")
HEAD, CELL = Markup('<th scope="col" class="numeric">{}</th>'), Markup('<td class="numeric">{}</td>')
ROW = Markup('<tr><th scope="row">{}</th>{}</tr>')


def part_sections(metrics: Mapping[str, float], title: str) -> list[Section]:
    """Return a table with a row for each part, and a column for each metric that has values for them.

    Args:
        metrics: as in `metrics.json`; those with the names `test/NAME/PART` and `val/NAME/PART` are shown.
        title: what the parts are.

    Returns:
        A section; none if no metric has such values.
    """
    stages = {stage: by_part(metrics, stage) for stage in ("test", "val")}
    parts = dict.fromkeys(part for found in stages.values() for part in found)
    columns = dict.fromkeys(
        (stage, name) for stage, found in stages.items() for values in found.values() for name in values
    )
    if not parts:
        return []
    empty = Markup("")
    heads = empty.join(HEAD.format(f"{stage} {name}") for stage, name in columns)
    rows = empty.join(
        ROW.format(
            part, empty.join(CELL.format(_shown(stages[stage].get(part, {}).get(name))) for stage, name in columns)
        )
        for part in parts
    )
    return [Section(TABLE.format(title=title, heads=heads, rows=rows))]


def _shown(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else metric("", value, ())
