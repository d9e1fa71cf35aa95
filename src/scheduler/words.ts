// Pieces of sentences: sizes and enumerations.

/** Names given one by one before the rest is only counted. */
const NAMES_SHOWN = 3;
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** `1.5 GiB`; exact in bytes below 1 KiB. */
export function describeBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Math.round(value * 100) / 100} ${UNITS[unit] ?? ''}`;
}

/** `a`, `a and b`, `a, b and c`, `a, b, c and 4 more`. */
export function list(names: readonly string[], most = NAMES_SHOWN): string {
  const shown = names.slice(0, most);
  const rest = names.length - shown.length;
  if (rest > 0) return `${shown.join(', ')} and ${rest} more`;
  const last = shown.pop();
  return shown.length === 0 ? (last ?? 'nobody') : `${shown.join(', ')} and ${last}`;
}

/** `12 s`, `3 min`, `5 h`, `2 d`: whole units, rounded down. */
export function describeSeconds(seconds: number): string {
  if (seconds < 120) return `${Math.floor(seconds)} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}
