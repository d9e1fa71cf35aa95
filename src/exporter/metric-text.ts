// Prometheus text put together metric by metric: samples of one metric stand together below one head, whatever order
// they come in, and no series comes twice.
import { headOf, seriesName } from './names.ts';

export interface MetricText {
  /** `null` is absent and is left out. */
  add(
    name: string,
    kind: 'gauge' | 'counter',
    help: string,
    labels: Readonly<Record<string, string>>,
    value: number | null,
  ): void;
  text(): string;
}

export function createMetricText(): MetricText {
  const metrics = new Map<string, { readonly head: string; readonly series: Map<string, number> }>();
  return {
    add(name, kind, help, labels, value) {
      if (value === null || !Number.isFinite(value)) return;
      let metric = metrics.get(name);
      if (metric === undefined) {
        metric = { head: headOf(name, kind, help), series: new Map() };
        metrics.set(name, metric);
      }
      const series = seriesName(name, labels);
      if (!metric.series.has(series)) metric.series.set(series, value);
    },
    text() {
      let text = '';
      for (const { head, series } of metrics.values()) {
        text += head;
        for (const [name, value] of series) text += `${name} ${value}\n`;
      }
      return text;
    },
  };
}
