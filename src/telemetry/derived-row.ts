// The columns that are computed from the others of the same window. They stand last in it; each derivation is told
// once per list of columns where those are that it needs.
import type { Derivation, DerivationSource, DerivationWindow, FindColumn } from '../device/derivation.ts';
import type { Column } from '../protocol/columns.ts';

export interface DerivedRow {
  /** Grows when the columns must be asked for anew. */
  revision(): number;
  /** The columns that are derived from `base`; asks the derivations. */
  bind(base: readonly Column[], slowFrom: number): readonly Column[];
  /** Hot: every window. Writes behind the columns of the last `bind`. */
  writeInto(values: Float64Array, reasons: Uint8Array, durationMs: number): void;
}

interface Bound {
  readonly derivation: Derivation;
  readonly from: number;
}

export function createDerivedRow(source: DerivationSource | undefined): DerivedRow {
  let bound: readonly Bound[] = [];
  // One object for all windows: this runs in each.
  const window: { -readonly [Key in keyof DerivationWindow]: DerivationWindow[Key] } = {
    values: new Float64Array(0),
    reasons: new Uint8Array(0),
    slowFrom: 0,
    durationMs: 0,
  };
  return {
    revision: () => source?.revision() ?? 0,
    bind(base, slowFrom) {
      window.slowFrom = slowFrom;
      if (source === undefined) return [];
      const places = new Map<string, number>();
      base.forEach(({ family, owner, label }, at) => {
        const key = keyOf(family, owner, label);
        if (!places.has(key)) places.set(key, at);
      });
      const find: FindColumn = (family, owner, label) =>
        places.get(keyOf(family, owner, label ?? null)) ?? -1;
      const columns: Column[] = [];
      bound = source.list().map((derivation) => {
        const from = base.length + columns.length;
        columns.push(...derivation.bind(find));
        return { derivation, from };
      });
      return columns;
    },
    writeInto(values, reasons, durationMs) {
      window.values = values;
      window.reasons = reasons;
      window.durationMs = durationMs;
      for (const { derivation, from } of bound) derivation.write(window, from);
    },
  };
}

function keyOf(family: string, owner: number | string, label: string | null): string {
  return `${owner} ${family} ${label ?? ''}`;
}
