// Reading a Prometheus page as a scraper would: series name with labels -> value.

export function parsePage(text: string): ReadonlyMap<string, number> {
  const series = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const at = line.lastIndexOf(' ');
    series.set(line.slice(0, at), Number(line.slice(at + 1)));
  }
  return series;
}

/** Series of one metric with exactly one label: value of the label -> value. */
export function labelled(page: ReadonlyMap<string, number>, metric: string): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [name, value] of page) {
    const match = /^(?<metric>\w+)\{\w+="(?<label>(?:[^"\\]|\\.)*)"\}$/.exec(name);
    if (match?.groups?.metric === metric) found[match.groups.label ?? ''] = value;
  }
  return found;
}
