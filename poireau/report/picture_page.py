"""A drawing as a page of its own: no network, no library, nothing that anybody has named is ever code.

The script is always the same, the page's policy names it by its hash, and no other may run.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape

from poireau.report import picture_svg
from poireau.report.pictures import Drawing

_STYLE = (
    "body{margin:0;background:var(--paper);color:var(--ink)}svg{display:block;max-width:100%;height:auto}"
    "svg.wide{max-width:none;height:revert-layer}form:not([hidden]){position:fixed;right:16px;bottom:12px;display:flex;"
    "gap:8px;align-items:center;font:12px system-ui,sans-serif;padding:6px 10px;border-radius:8px;"
    "background:var(--paper);border:1px solid var(--rule)}input,button{font:inherit;color:inherit;"
    "background:transparent;border:1px solid var(--rule);border-radius:5px;padding:3px 8px}"
    "output{color:var(--faint);min-width:1em}.b{cursor:pointer}.above{opacity:.5}"
    ".found .b:not(.hit) rect{opacity:.25}.other{opacity:.25}"
)


# Boxes are laid out anew for the window's width and for what was clicked; a box's parent comes before it.
_SCRIPT = """'use strict';
const svg = document.querySelector('svg'), edge = 16, cell = +svg.dataset.cell;
const boxes = [...svg.querySelectorAll('.b')].map(g => {
  const rects = [...g.querySelectorAll('rect')], r = rects[0], title = g.querySelector('title').textContent;
  let text = g.querySelector('text');
  return {g, rects, text, x: +r.getAttribute('x') - edge, w: +r.getAttribute('width'), y: +r.getAttribute('y'),
          h: +r.getAttribute('height'), parent: +g.dataset.p, name: title.split('\\n')[0], title};
});
if (boxes.length) {
  const root = boxes[0], full = root.w + 1, form = document.querySelector('form'), said = form.querySelector('output');
  form.hidden = false;
  for (const b of boxes) if (b.w > 2) b.w += 1;
  let at = root;
  const lay = () => {
    const wide = Math.max(document.documentElement.clientWidth - 2 * edge, 400), k = wide / at.w;
    svg.setAttribute('width', wide + 2 * edge);
    svg.setAttribute('viewBox', `0 0 ${wide + 2 * edge} ${svg.viewBox.baseVal.height}`);
    svg.classList.add('wide');
    svg.querySelector(':scope > rect').setAttribute('width', wide + 2 * edge);
    const above = new Set();
    for (let b = at; b !== root; ) above.add(b = boxes[b.parent]);
    for (const b of boxes) {
      const up = above.has(b), x = up ? 0 : (b.x - at.x) * k, w = up ? wide : b.w * k;
      const out = !up && (b.y < at.y || x < -0.01 || x + w > wide + 1 || w < 0.25);
      b.g.style.display = out ? 'none' : '';
      b.g.classList.toggle('above', up);
      if (out) continue;
      for (const r of b.rects) { r.setAttribute('x', edge + x); r.setAttribute('width', Math.max(w - (w > 3), 0.1)); }
      const n = Math.floor((w - 7) / cell);
      if (n >= 3 && !b.text) {
        b.text = document.createElementNS(svg.namespaceURI, 'text');
        b.text.setAttribute('y', b.y + b.h - 5);
        b.g.append(b.text);
      }
      if (!b.text) continue;
      b.text.setAttribute('x', edge + x + 4);
      b.text.textContent = n < 3 ? '' : b.name.length <= n ? b.name : b.name.slice(0, n - 1) + '…';
    }
  };
  const search = () => {
    const wanted = form.q.value.toLowerCase();
    let share = 0;
    svg.classList.toggle('found', wanted !== '');
    for (const b of boxes) {
      const hit = wanted !== '' && b.title.toLowerCase().includes(wanted);
      b.g.classList.toggle('hit', hit);
      const within = b !== root && boxes[b.parent].within;
      if (hit && !within) share += b.w / root.w;
      b.within = hit || within;
    }
    said.textContent = wanted ? (100 * Math.min(share, 1)).toFixed(1) + ' %' : '';
  };
  const go = b => { at = b; form.up.disabled = at === root; lay(); };
  svg.addEventListener('click', e => { const g = e.target.closest('.b'); if (g) go(boxes.find(b => b.g === g)); });
  form.q.addEventListener('input', search);
  form.up.addEventListener('click', () => go(root));
  form.addEventListener('submit', e => e.preventDefault());
  addEventListener('keydown', e => {
    if (e.key === 'Escape') { form.q.value = ''; search(); go(root); }
    if (e.key === '/' && e.target !== form.q) { e.preventDefault(); form.q.focus(); }
  });
  addEventListener('resize', lay);
  go(root);
}
const bands = [...svg.querySelectorAll('[data-b]')];
for (const one of bands) {
  const dim = on => bands.forEach(b => b.classList.toggle('other', on && b.dataset.b !== one.dataset.b));
  one.addEventListener('pointerenter', () => dim(true));
  one.addEventListener('pointerleave', () => dim(false));
}
"""
_FORM = (
    '<form hidden><input name="q" type="search" placeholder="search  /" aria-label="search" autocomplete="off">'
    '<output></output><button name="up" type="button">all  Esc</button></form>'
)


def of(drawing: Drawing) -> str:
    style = picture_svg.style(drawing, True) + _STYLE
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_hash(_SCRIPT)}'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(drawing.name)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">\n'
        f"<style>{style}</style></head>\n<body>{''.join(picture_svg.lines(drawing, page=True))}{_FORM}\n"
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def _hash(script: str) -> str:
    return b64encode(sha256(script.encode()).digest()).decode()
