"""The table of pictures and captions, and the line above it, as HTML. All that is a stranger's is
escaped here."""

from __future__ import annotations

from html import escape

from .album import Album, Entry, State

#: Of a component whose value is a list of `table_rows`, so that only rows that change are sent.
TEMPLATE = """
<div class="frame" role="region" aria-label="Pictures and captions" tabindex="0">
<table role="table"><thead role="rowgroup"><tr role="row">
<th role="columnheader" scope="col">Picture</th>
<th role="columnheader" scope="col">Name</th>
<th role="columnheader" scope="col">Caption</th>
</tr></thead><tbody role="rowgroup">${
  (value || []).map(cells => '<tr role="row">' + cells.join('') + '</tr>').join('')
}</tbody></table></div>
"""
CSS = """
.frame { max-height: 70vh; overflow-y: auto; border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-lg); background: var(--background-fill-primary); }
table { width: 100%; border-collapse: collapse; font-size: var(--text-md); }
thead th { position: sticky; top: 0; z-index: 1; text-align: left; padding: 8px 12px;
  font-size: var(--text-sm); font-weight: 600; color: var(--body-text-color-subdued);
  background: var(--background-fill-secondary); }
td { padding: 8px 12px; vertical-align: middle; border-top: 1px solid var(--border-color-primary);
  overflow-wrap: anywhere; white-space: pre-wrap; }
td.picture { width: 80px; }
td.name { width: 30%; color: var(--body-text-color-subdued); font-size: var(--text-sm); }
.thumbnail { display: block; width: 56px; height: 56px; object-fit: cover;
  border-radius: var(--radius-md); background: var(--background-fill-secondary); }
.error { color: var(--error-icon-color); }
div.thumbnail { display: grid; place-items: center; font-weight: 600; }
.note { color: var(--body-text-color-subdued); font-size: var(--text-sm); }
@media (max-width: 640px) {
  .frame { max-height: none; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody { display: block; }
  table { padding: 0; }
  tr { display: grid; grid-template-columns: 56px 1fr; column-gap: 12px; padding: 8px 12px;
    border-top: 1px solid var(--border-color-primary); }
  tr:first-child { border-top: 0; }
  tr, td { margin: 0; }
  td { border: 0; padding: 0; width: auto !important; }
  td.picture { grid-row: 1 / span 2; }
}
"""
PROGRESS_CSS = """
.line { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: baseline; }
.line strong { font-weight: 600; }
.bar { height: 6px; margin-top: 8px; border-radius: 3px; overflow: hidden;
  background: var(--border-color-primary); }
.bar div { height: 100%; border-radius: 3px; background: var(--color-accent);
  transition: width 0.3s; }
.quiet, .line span { color: var(--body-text-color-subdued); }
.quiet { margin: 8px 0 0; font-size: var(--text-sm); overflow-wrap: anywhere; }
.error, .line .error { color: var(--error-icon-color); }
@media (prefers-reduced-motion: reduce) { .bar div { transition: none; } }
"""


def table_rows(album: Album) -> list[list[str]]:
    """Of each picture its cells."""
    return [[_picture(entry), _name(entry), _caption(entry)] for entry in album.entries]


def progress_line(album: Album, rate: float | None = None, fault: str | None = None) -> str:
    """rate: pictures a second, of what runs or ran. fault: why it ended early."""
    total = len(album.entries)
    failed = album.num_failed
    done = album.count(State.CAPTIONED) + failed
    if not total:
        line = "<span>Captions appear here, beside their pictures.</span>"
        return f'<div class="line">{line}</div>{_sentences(album, fault)}'
    parts = [f"<strong>{done} of {total}</strong>"]
    if rate is not None:
        parts.append(f"<span>{rate:.1f} pictures/s</span>")
    if failed:
        parts.append(f'<span class="error">{failed} failed</span>')
    bar = (
        f'<div class="bar" role="progressbar" aria-label="Pictures done" aria-valuemin="0" '
        f'aria-valuemax="{total}" aria-valuenow="{done}">'
        f'<div style="width: {100 * done / total:.1f}%"></div></div>'
    )
    line = f'<div class="line" role="status">{"".join(parts)}</div>'
    return f"{line}{bar}{_sentences(album, fault)}"


def _sentences(album: Album, fault: str | None) -> str:
    ended = "" if fault is None else f'<p class="quiet error">Ended early: {escape(fault)}</p>'
    return ended + "".join(f'<p class="quiet">{escape(said)}</p>' for said in album.notices)


def _picture(entry: Entry) -> str:
    if entry.thumbnail:
        inner = f'<img class="thumbnail" loading="lazy" alt="" src="{entry.thumbnail}">'
    else:
        mark = "" if entry.error is None else "!"
        inner = f'<div class="thumbnail error" aria-hidden="true">{mark}</div>'
    return f'<td role="cell" class="picture">{inner}</td>'


def _name(entry: Entry) -> str:
    return f'<td role="cell" class="name"><bdi>{escape(entry.name)}</bdi></td>'


def _caption(entry: Entry) -> str:
    if entry.error is not None:
        inner = f'<span class="error">{escape(entry.error)}</span>'
    elif entry.caption is not None:
        cut = ' <span class="note">(cut off: the most tokens)</span>' if entry.is_cut_off else ""
        inner = f"<bdi>{escape(entry.caption)}</bdi>{cut}"
    else:
        inner = f'<span class="note">{"…" if entry.state is State.ASKED else ""}</span>'
    return f'<td role="cell" class="caption">{inner}</td>'
