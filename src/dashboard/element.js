// Small helpers that build and change elements. Text reaches the page through textContent only.

export const byId = (id) => document.getElementById(id);

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

export function make(tag, className = '', text = '') {
  const element = document.createElement(tag);
  if (className !== '') element.className = className;
  if (text !== '') element.textContent = text;
  return element;
}

/** Rows are kept by key, so that what is selected or focused stays so. */
export function rowsOf(table, keys, build) {
  const body = byId(table).tBodies[0];
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  keys.forEach((key, at) => {
    let row = known.get(key);
    known.delete(key);
    if (row === undefined) {
      row = build();
      row.dataset.key = key;
    }
    if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] ?? null);
  });
  for (const row of known.values()) row.remove();
  return [...body.rows];
}

export function cells(count, classes) {
  const row = make('tr');
  for (let at = 0; at < count; at += 1) row.append(make('td', classes[at] ?? ''));
  return row;
}

export function meterInto(cell, ratio, text) {
  if (cell.firstElementChild === null) {
    const meter = make('span', 'meter');
    meter.append(make('i'));
    cell.append(meter, make('span'));
  }
  const bar = cell.firstElementChild.firstElementChild;
  cell.firstElementChild.hidden = ratio === null;
  bar.style.width = `${Math.round(Math.min(1, ratio ?? 0) * 100)}%`;
  setClass(bar, ratio !== null && ratio > 0.9 ? 'high' : '');
  setText(cell.lastElementChild, text);
}
