// Aligned columns for people. Every cell is escaped here, so no name or reason can move the cursor.
import { clip, displayWidth, escapeText, padEnd, padStart } from './text.ts';

export interface TableColumn<Row> {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** Shown with `-o wide` only. */
  readonly wide?: boolean;
  cell(row: Row): string;
  /** SGR parameter of the cell, e.g. `32` for green; only where colour is on. */
  colour?(row: Row): string | null;
}

export interface TableStyle {
  /** Columns of the terminal, or null where lines may be of any length. */
  readonly width: number | null;
  readonly colour: boolean;
  readonly wide: boolean;
}

/** The table as lines. The last column takes what the terminal leaves; the others are never cut. */
export function renderTable<Row>(
  columns: readonly TableColumn<Row>[],
  rows: readonly Row[],
  style: TableStyle,
): string[] {
  const shown = columns.filter((column) => style.wide || column.wide !== true);
  const cells = rows.map((row) => shown.map((column) => escapeText(column.cell(row))));
  const widths = shown.map((column, index) =>
    cells.reduce(
      (widest, line) => Math.max(widest, displayWidth(line[index] ?? '')),
      displayWidth(column.title),
    ),
  );
  const last = shown.length - 1;
  const before = widths.slice(0, last).reduce((sum, width) => sum + width + 2, 0);
  // Even a narrow terminal gets the start of the last column.
  const lastWidth = style.width === null ? null : Math.max(10, style.width - before);

  const layOut = (line: readonly string[], colours: readonly (string | null)[]): string =>
    shown
      .map((column, index) => {
        const text = line[index] ?? '';
        const width = widths[index] ?? 0;
        let padded = column.align === 'right' ? padStart(text, width) : padEnd(text, width);
        if (index === last) padded = column.align === 'right' ? padded : text;
        if (index === last && lastWidth !== null) padded = clip(padded, lastWidth);
        const colour = colours[index] ?? null;
        return colour === null || !style.colour ? padded : `\u001b[${colour}m${padded}\u001b[0m`;
      })
      .join('  ')
      .trimEnd();

  const header = layOut(
    shown.map((column) => column.title),
    shown.map(() => null),
  );
  return [
    header,
    ...rows.map((row, index) =>
      layOut(
        cells[index] ?? [],
        shown.map((column) => column.colour?.(row) ?? null),
      ),
    ),
  ];
}

/** `name  value` lines for one thing. */
export function renderFields(fields: readonly (readonly [string, string])[]): string[] {
  const width = fields.reduce((widest, [name]) => Math.max(widest, displayWidth(name)), 0);
  return fields.map(([name, value]) => `${padEnd(name, width)}  ${escapeText(value)}`.trimEnd());
}
