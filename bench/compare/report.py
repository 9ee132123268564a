"""What a run of the comparison looks like: a table, JSON, a chart."""

import dataclasses
from xml.sax.saxutils import escape

OURS = "rangecache"
LIMITS = ("native", "curl", "aria2c -x16", "curl, each file")


@dataclasses.dataclass
class Result:
    case: object
    scale: object
    figures: dict    # contender -> figure -> {median, min, max}
    failures: dict   # contender -> why

    def value(self, name, figure=None):
        return self.figures[name][figure or self.case.shown]["median"]

    def ratio(self, name):
        """How many times as good as `name` we are."""
        ours, theirs = self.value(OURS), self.value(name)
        return ours / theirs if self.case.more_is_better else theirs / ours

    def best(self, names):
        names = [name for name in names if name in self.figures and not name.startswith(OURS)]
        pick = max if self.case.more_is_better else min
        return pick(names, key=self.value) if names else None

    def as_json(self):
        return {"case": self.case.name, "origin": self.case.origin, "figure": self.case.shown,
                "unit": self.case.unit, "contenders": self.figures, "failures": self.failures}


def number(value):
    if value >= 10_000:
        return f"{value / 1000:,.0f} K"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(result):
    case = result.case
    lines = [f"\n{case.name}",
             f"  {'':28}{case.unit:>10}  {'range':>15}  {'requests':>8}  {'origin MB':>9}"
             f"  {'of asked':>8}  {'CPU s':>6}  {'MiB':>5}"]
    asked = case.asked(result.scale)
    for name, figures in result.figures.items():
        shown = figures[case.shown]
        moved = figures["origin_bytes"]["median"]
        share = f"{moved / asked:.2f}x" if asked else ""
        lines.append(
            f"  {name:28}{number(shown['median']):>10}"
            f"  {number(shown['min']) + ' - ' + number(shown['max']):>15}"
            f"  {figures['origin_requests']['median']:>8.0f}  {moved / 1e6:>9.1f}  {share:>8}"
            f"  {figures['cpu_s']['median']:>6.2f}"
            f"  {figures['memory_bytes']['median'] / (1 << 20):>5.0f}"
            + "".join(f"  {also} {number(figures[also]['median'])}" for also in case.also))
    lines += [f"  {name:28}failed: {why}" for name, why in result.failures.items()]
    if OURS in result.figures:
        peers = result.best([name for name in result.figures if name not in LIMITS])
        limit = result.best(LIMITS)
        verdicts = [f"{result.ratio(name):.2f}x of {name}" for name in (peers, limit) if name]
        if verdicts:
            lines.append(f"  => {OURS}: {', '.join(verdicts)}")
    return "\n".join(lines)


def markdown(results):
    """For the README: one line a case."""
    lines = ["| work | rangecache | best other cache | limit |", "| --- | --- | --- | --- |"]
    for result in results:
        if OURS not in result.figures:
            continue
        def cell(name, result=result):
            if not name:
                return ""
            shown = f"{number(result.value(name))} {result.case.unit}"
            return f"{shown} ({name})" if name != OURS else shown
        def ratio(name, result=result):
            return f"{cell(name)}: **{result.ratio(name):.2f}×**" if name else ""
        peers = result.best([name for name in result.figures if name not in LIMITS])
        lines.append(f"| {result.case.name} | {cell(OURS)} | {ratio(peers)} | "
                     f"{ratio(result.best(LIMITS))} |")
    return "\n".join(lines) + "\n"


def chart(results):
    """Bars of how good we are for each of the others, on one line a case: 1 is as good."""
    row, left, width, most = 26, 300, 460, 3.0
    shown = [result for result in results if OURS in result.figures
             and result.best(result.figures)]
    height = row * len(shown) + 70
    scale = width / most
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" height="{height}" '
           'font-family="sans-serif" font-size="13">',
           '<rect width="100%" height="100%" fill="white"/>',
           '<text x="10" y="22" font-size="15" font-weight="bold">rangecache against the best of '
           'the others (1 = as good, longer is better)</text>']
    for i, result in enumerate(shown):
        peers = result.best([name for name in result.figures if name not in LIMITS])
        limit = result.best(LIMITS)
        y = 40 + i * row
        out.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">'
                   f'{escape(result.case.name)}</text>')
        if peers:
            ratio = result.ratio(peers)
            out.append(f'<rect x="{left}" y="{y + 2}" width="{min(ratio, most) * scale:.0f}" '
                       f'height="{row - 10}" fill="{"#2a7f62" if ratio >= 1 else "#b5533c"}"/>')
            out.append(f'<text x="{left + min(ratio, most) * scale + 6:.0f}" y="{y + 14}">'
                       f'{ratio:.1f}× {escape(peers)}</text>')
        if limit:
            x = left + min(result.ratio(limit), most) * scale
            out.append(f'<line x1="{x:.0f}" y1="{y}" x2="{x:.0f}" y2="{y + row - 6}" '
                       'stroke="#222" stroke-width="3"/>')
    x = left + scale
    out += [f'<line x1="{x}" y1="34" x2="{x}" y2="{height - 26}" stroke="#999" '
            'stroke-dasharray="3 3"/>',
            f'<text x="10" y="{height - 10}" fill="#555">bar: the best other cache; black mark: the '
            'limit (a native file, or the best downloader)</text>', '</svg>']
    return "\n".join(out) + "\n"
